"""May this key make this call: the checks that need no counter, in order, each one a visible row.

Pure: time is an argument, and a check only reads what was compiled with the snapshot. HEAD_CHECKS run before the
body is read, CALL_CHECKS after. To add one: a function that raises Refusal, and its place in the tuple.
"""

from collections.abc import Callable

import msgspec

from proxy.core.snapshot import CompiledKey, CompiledSetting
from shared.errors import Refusal
from shared.keys import mask_key


class HeadFacts(msgspec.Struct, frozen=True, gc=False):
    """What is known of a request before its body."""

    key: CompiledKey
    credential: str
    """As presented; only its mask may be shown."""
    now_ms: int
    method: str
    template: str
    provider: str


class CallFacts(msgspec.Struct, frozen=True, gc=False):
    """What is known once the body was read."""

    settings: tuple[CompiledSetting, ...]
    """Those of the key for this provider."""
    model: str


def check_closed(facts: HeadFacts) -> None:
    """A key whose stored record does not decode is closed, not open with old rights."""
    if facts.key.is_closed:
        raise Refusal("key_closed", f"key {mask_key(facts.credential)} cannot be used: its record is damaged")


def check_revoked(facts: HeadFacts) -> None:
    """Contract §4.4, step 6c."""
    if facts.key.is_revoked:
        raise Refusal("key_revoked", f"key {mask_key(facts.credential)} has been revoked")


def check_expired(facts: HeadFacts) -> None:
    """The ttl, enforced on time and without writing a row (contract §2.9: 401)."""
    if facts.key.expires_at_ms and facts.now_ms >= facts.key.expires_at_ms:
        raise Refusal("key_expired", f"key {mask_key(facts.credential)} has expired")


def check_setting(facts: HeadFacts) -> None:
    """Contract §4.4, step 6g; the mask, where BricksLLM shows the key."""
    if not facts.key.settings_for(facts.provider):
        raise Refusal("setting_missing", f"provider setting not found for key {mask_key(facts.credential)}")


def check_path(facts: HeadFacts) -> None:
    """Contract §4.4, step 9: by the endpoint's template."""
    allowed = facts.key.allowed_paths
    if allowed and (facts.method, facts.template) not in allowed:
        raise Refusal("path_forbidden", "path is not allowed")


HEAD_CHECKS: tuple[Callable[[HeadFacts], None], ...] = (
    check_closed,
    check_revoked,
    check_expired,
    check_setting,
    check_path,
)


def serving_settings(settings: tuple[CompiledSetting, ...], model: str) -> tuple[CompiledSetting, ...]:
    """The settings that may serve `model`, in the operator's order. A call without a model may use any.

    One whose secret does not open serves nothing.
    """
    return tuple(
        [s for s in settings if s.is_usable and (not model or not s.allowed_models or model in s.allowed_models)]
    )


def check_usable(facts: CallFacts) -> None:
    """Contract §4.4, step 6h: the operator's fault, and nothing a caller can do about."""
    if not any(setting.is_usable for setting in facts.settings):
        raise Refusal("setting_unusable", "internal authentication error")


def check_model(facts: CallFacts) -> None:
    """Contract §4.4, step 10, but the setting that is used is one that allows the model."""
    if not serving_settings(facts.settings, facts.model):
        raise Refusal("model_forbidden", "model is not allowed")


CALL_CHECKS: tuple[Callable[[CallFacts], None], ...] = (check_usable, check_model)
