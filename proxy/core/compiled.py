"""Records compiled for the request: everything a check or a plan asks of a key is one attribute away.

A record is decoded here and nowhere else on the data plane. Bad JSON in a key closes the key; a bad provider setting is
rejected, so that its last good form can stay (design §5). Nothing here knows where records come from.
"""

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from shared.records import (
    CostMap,
    KeyDetail,
    KeyRecord,
    Limit,
    SettingDetail,
    SettingRecord,
    Unpriced,
    key_detail_decoder,
    limits_decoder,
    setting_detail_decoder,
)
from shared.secrets import SecretError, Secrets

RecordKind = Literal["key", "provider_setting", "price"]

_credential_decoder = msgspec.json.Decoder(dict[str, str])
_NO_CREDENTIAL: dict[str, str] = {}
_NO_DETAIL = KeyDetail(name="")
# msgspec raises the second for nesting beyond Python's own depth, UnicodeDecodeError (a ValueError) for bad UTF-8.
_BAD_JSON = (msgspec.DecodeError, RecursionError, ValueError)


class BadRecordError(Exception):
    """A record cannot be used. The message holds nothing of the record's content that could be secret."""


class CompiledSetting(msgspec.Struct, frozen=True, gc=False):
    """A provider setting, ready to be a candidate."""

    id: str
    account_id: str
    provider: str
    base_url: str | None
    """Where upstream is, without a trailing `/` or `/v1`. None: the provider's own."""
    credential: dict[str, str]
    """Secret parameters in clear (`apikey` ...). Never shown, never logged."""
    allowed_models: frozenset[str]
    """Empty: every model."""
    cost_map: CostMap | None
    unpriced: Unpriced | None
    is_usable: bool
    """False: the secret does not open with the configured master keys."""

    def __repr__(self) -> str:
        """Names the setting without its credential."""
        return f"CompiledSetting(id={self.id!r}, provider={self.provider!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for rich's tracebacks, for which msgspec would generate one that shows the credential."""
        return [("id", self.id), ("provider", self.provider)]


class CompiledKey(msgspec.Struct, frozen=True, gc=False):
    """A gateway key, ready for checks, limits and planning."""

    id: str
    account_id: str
    project_id: str
    digest: bytes
    is_revoked: bool
    expires_at_ms: int
    """Unix milliseconds from which the key is refused. 0: never."""
    is_closed: bool
    """True: its JSON part does not decode, so what it allows is not known and it is refused."""
    name: str
    tags: tuple[str, ...]
    settings: tuple[CompiledSetting, ...]
    """In the operator's order; ids that name no setting are left out."""
    allowed_paths: frozenset[tuple[str, str]]
    """(method, endpoint template). Empty: every endpoint."""
    limits: tuple[Limit, ...]
    is_limited: bool
    has_cost_limit: bool
    is_rotated: bool
    """Calls are spread over the settings that may serve them."""
    logs_request: bool
    """An event keeps the request's body. `logs_response`: the answer's."""
    logs_response: bool
    settings_by_provider: dict[str, tuple[CompiledSetting, ...]]

    def settings_for(self, provider: str) -> tuple[CompiledSetting, ...]:
        """The key's settings of one provider, in the operator's order."""
        return self.settings_by_provider.get(provider, ())


class StoredKey(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A key as it lies in memory by the hundred thousand: checked, without field names and without its digest."""

    id: str
    account_id: str
    project_id: str
    is_revoked: bool
    expires_at_ms: int
    is_closed: bool
    name: str
    tags: tuple[str, ...]
    setting_ids: tuple[str, ...]
    allowed_paths: tuple[tuple[str, str], ...]
    limits: tuple[Limit, ...]
    is_rotated: bool = False
    logs_request: bool = False
    logs_response: bool = False


def check_key(record: KeyRecord) -> tuple[StoredKey, str]:
    """What is stored of a key, and why it is closed ("" when it is not)."""
    why = ""
    try:
        detail, limits = key_detail_decoder.decode(record.detail), limits_decoder.decode(record.limits)
    except _BAD_JSON as error:
        detail, limits, why = _NO_DETAIL, (), f"closed: {error}"
    stored = StoredKey(
        record.id,
        record.account_id,
        record.project_id,
        record.is_revoked,
        record.expires_at_ms,
        bool(why),
        detail.name,
        detail.tags,
        detail.setting_ids,
        tuple((allowed.method.upper(), allowed.path) for allowed in detail.allowed_paths),
        limits,
        detail.rotation,
        detail.should_log_request,
        detail.should_log_response,
    )
    return stored, why


def compile_key(stored: StoredKey, digest: bytes, settings: Mapping[str, CompiledSetting]) -> CompiledKey:
    """What the request needs of a key."""
    named = tuple(settings[name] for name in dict.fromkeys(stored.setting_ids) if name in settings)
    by_provider: dict[str, tuple[CompiledSetting, ...]] = {}
    for setting in named:
        by_provider[setting.provider] = (*by_provider.get(setting.provider, ()), setting)
    return CompiledKey(
        id=stored.id,
        account_id=stored.account_id,
        project_id=stored.project_id,
        digest=digest,
        is_revoked=stored.is_revoked,
        expires_at_ms=stored.expires_at_ms,
        is_closed=stored.is_closed,
        name=stored.name,
        tags=stored.tags,
        settings=named,
        allowed_paths=frozenset(stored.allowed_paths),
        limits=stored.limits,
        is_limited=bool(stored.limits),
        has_cost_limit=any(limit.resource == "cost" for limit in stored.limits),
        is_rotated=stored.is_rotated,
        logs_request=stored.logs_request,
        logs_response=stored.logs_response,
        settings_by_provider=by_provider,
    )


def compile_setting(record: SettingRecord, secrets: Secrets) -> tuple[CompiledSetting, str]:
    """A setting and why its secret is not usable ("" when it is). Raises BadRecordError when its JSON part is bad."""
    try:
        detail: SettingDetail = setting_detail_decoder.decode(record.detail)
    except _BAD_JSON as error:
        raise BadRecordError(str(error)) from None
    credential, unusable_why = _NO_CREDENTIAL, ""
    try:
        credential = _credential_decoder.decode(secrets.open(record.sealed, record.id))
    except SecretError as error:
        unusable_why = str(error)
    except _BAD_JSON:
        unusable_why = "the sealed value is not a JSON object of strings"  # the decoder's own words might quote it
    setting = CompiledSetting(
        id=record.id,
        account_id=record.account_id,
        provider=record.provider,
        base_url=_base_url(detail.params.get("url", "")),
        credential=credential,
        allowed_models=frozenset(detail.allowed_models),
        cost_map=detail.cost_map,
        unpriced=detail.unpriced,
        is_usable=not unusable_why,
    )
    return setting, unusable_why


def _base_url(url: str) -> str | None:
    """An operator's URL without the trailing `/` and `/v1` that endpoints add themselves. Raises BadRecordError."""
    url = url.strip()
    if not url:
        return None
    if not url.isascii() or not url.isprintable() or " " in url:
        raise BadRecordError("url is not printable ASCII")
    try:
        parts = urlsplit(url)
        is_destination = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise BadRecordError("url is not a URL") from None
    if not is_destination or parts.query or parts.fragment or parts.username is not None:
        raise BadRecordError("url is not an http or https URL without user, query or fragment")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1').rstrip('/')}"
