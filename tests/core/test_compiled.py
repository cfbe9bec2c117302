"""Records compiled for the request: what a bad one does, and that a credential is never shown."""

import msgspec
import pytest
from rich.pretty import pretty_repr

from proxy.core.compiled import BadRecordError, CompiledSetting, check_key, compile_key, compile_setting
from shared.records import CostMap, KeyRecord, Limit, SettingRecord
from shared.secrets import Secrets

SECRETS = Secrets(bytes(32))
DIGEST = bytes(range(32))
DETAIL = (
    b'{"name": "team", "tags": ["a"], "setting_ids": ["s2", "s1", "gone", "s2"],'
    b' "allowed_paths": [{"path": "/v1/x", "method": "post"}]}'
)
LIMITS = b'[["l1","requests","m",3,1,0],["l2","cost","d",5000,2,7]]'


def make_key_record(**over: object) -> KeyRecord:
    record = KeyRecord("k1", "acme", "web", DIGEST, False, 0, LIMITS, DETAIL)
    return msgspec.structs.replace(record, **over)


def make_setting_record(detail: object = None, **over: object) -> SettingRecord:
    sealed = SECRETS.seal(b'{"apikey": "sk-very-secret"}', "s1")
    record = SettingRecord("s1", "acme", "openai", sealed, msgspec.json.encode(detail or {}))
    return msgspec.structs.replace(record, **over)


def make_setting(setting_id: str, provider: str = "openai") -> CompiledSetting:
    return CompiledSetting(setting_id, "acme", provider, None, {}, frozenset(), None, None, True)


def test_a_compiled_key_holds_what_the_request_asks() -> None:
    """Settings in the operator's order, each once, those that exist; methods upper case; limits by what they limit."""
    settings = {"s1": make_setting("s1"), "s2": make_setting("s2"), "s3": make_setting("s3")}
    stored, why = check_key(make_key_record())
    key = compile_key(stored, DIGEST, settings)

    assert why == ""
    assert (key.id, key.account_id, key.project_id, key.digest, key.name, key.tags) == (
        "k1", "acme", "web", DIGEST, "team", ("a",),
    )  # fmt: skip
    assert [setting.id for setting in key.settings] == ["s2", "s1"]
    assert key.allowed_paths == {("POST", "/v1/x")}
    assert key.limits == (Limit("l1", "requests", "m", 3, 1, 0), Limit("l2", "cost", "d", 5000, 2, 7))
    assert (key.is_limited, key.has_cost_limit, key.is_closed) == (True, True, False)


def test_settings_are_found_by_provider() -> None:
    """In the operator's order; a provider without a setting has none."""
    settings = {"s1": make_setting("s1", "other"), "s2": make_setting("s2")}
    key = compile_key(check_key(make_key_record())[0], DIGEST, settings)

    assert key.settings_for("openai") == (settings["s2"],)
    assert key.settings_for("other") == (settings["s1"],)
    assert key.settings_for("nobody") == ()


@pytest.mark.parametrize(
    ("limits", "is_limited", "has_cost_limit"),
    [
        (b"[]", False, False),
        (b'[["l","requests","s",1,1,0]]', True, False),
        (b'[["l","cost","total",1,1,0]]', True, True),
    ],
)
def test_a_key_knows_what_limits_it(limits: bytes, is_limited: bool, has_cost_limit: bool) -> None:
    """Two flags spare the request a loop."""
    key = compile_key(check_key(make_key_record(limits=limits))[0], DIGEST, {})

    assert (key.is_limited, key.has_cost_limit) == (is_limited, has_cost_limit)


@pytest.mark.parametrize(
    "over",
    [
        pytest.param({"detail": b"{"}, id="cut JSON"),
        pytest.param({"detail": b""}, id="nothing"),
        pytest.param({"detail": b"[" * 100_000}, id="deep JSON"),
        pytest.param({"detail": b'{"name": "\xff"}'}, id="not UTF-8"),
        pytest.param({"detail": b'{"name": "n", "tags": [null]}'}, id="a tag that is null"),
        pytest.param({"detail": b'{"name": "n", "allowed_paths": "all"}'}, id="paths of another shape"),
        pytest.param({"limits": b'[["l","requests","y",1,1,0]]'}, id="a window that does not exist"),
    ],
)
def test_a_key_whose_json_is_bad_is_closed_and_keeps_its_typed_part(over: dict[str, object]) -> None:
    """What it allows is not known; that it is revoked or expired is."""
    stored, why = check_key(make_key_record(is_revoked=True, expires_at_ms=9, **over))
    key = compile_key(stored, DIGEST, {"s1": make_setting("s1")})

    assert why.startswith("closed: ")
    assert (key.is_closed, key.is_revoked, key.expires_at_ms) == (True, True, 9)
    assert (key.settings, key.limits, key.allowed_paths) == ((), (), frozenset())


def test_a_setting_is_opened_and_typed() -> None:
    """The credential is in clear only here."""
    detail = {
        "name": "main",
        "params": {"url": "https://api.example.com/openai/v1/"},
        "allowed_models": ["m1"],
        "cost_map": {"promptCostPerModel": {"m1": 5}},
        "unpriced": "free",
    }
    setting, why = compile_setting(make_setting_record(detail), SECRETS)

    assert why == ""
    assert setting == CompiledSetting(
        "s1", "acme", "openai", "https://api.example.com/openai", {"apikey": "sk-very-secret"}, frozenset({"m1"}),
        CostMap(prompt_cost_per_model={"m1": 5}), "free", True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "base_url"),
    [
        ("", None),
        ("  ", None),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("https://host/v1", "https://host"),
        ("https://host/v1/", "https://host"),
        ("https://host/prefix/v1//", "https://host/prefix"),
        ("https://host/v1beta", "https://host/v1beta"),
        ("https://v1", "https://v1"),
    ],
)
def test_a_base_url_has_no_version_and_no_slash_at_its_end(url: str, base_url: str | None) -> None:
    """Endpoints bring both; an operator may write them or not."""
    assert compile_setting(make_setting_record({"params": {"url": url}}), SECRETS)[0].base_url == base_url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "host",
        "https://",
        "http://[::1",
        "http://a b/",
        "http://h:99999/",
        "http://me:pw@h/",
        "http://h/?x=1",
        "http://h/#x",
        "http://h\n/",
    ],
)
def test_a_url_that_leads_nowhere_is_a_bad_record(url: str) -> None:
    """It is rejected where it is read, not at the first call."""
    with pytest.raises(BadRecordError, match="url"):
        compile_setting(make_setting_record({"params": {"url": url}}), SECRETS)


@pytest.mark.parametrize(
    "detail", [b"{", b'{"params": {"url": 5}}', b'{"cost_map": {"promptCostPerModel": {"m": "1"}}}']
)
def test_a_setting_whose_json_is_bad_is_a_bad_record(detail: bytes) -> None:
    """The last good one can stay then."""
    with pytest.raises(BadRecordError):
        compile_setting(msgspec.structs.replace(make_setting_record(), detail=detail), SECRETS)


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param(Secrets(bytes([1]) * 32).seal(b'{"apikey": "x"}', "s1"), id="another master key"),
        pytest.param(SECRETS.seal(b'{"apikey": "x"}', "s2"), id="moved from another row"),
        pytest.param(SECRETS.seal(b"sk-very-secret", "s1"), id="no JSON inside"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_secret_that_does_not_open_makes_the_setting_unusable(sealed: bytes) -> None:
    """The reason is told without any of the secret."""
    setting, why = compile_setting(make_setting_record(sealed=sealed), SECRETS)

    assert not setting.is_usable
    assert setting.credential == {}
    assert why
    assert "sk-" not in why


def test_a_credential_is_never_shown() -> None:
    """Neither by repr, nor by rich, nor in an error's text."""
    setting, _ = compile_setting(make_setting_record(), SECRETS)
    key = compile_key(check_key(make_key_record())[0], DIGEST, {"s1": setting})

    assert setting.credential == {"apikey": "sk-very-secret"}
    for shown in (repr(setting), str(setting), repr(key), pretty_repr(setting), pretty_repr(key)):
        assert "sk-very-secret" not in shown
