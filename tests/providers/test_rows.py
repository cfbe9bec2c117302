"""Provider rows: every one complete, and the two functions that read them."""

import pytest

from proxy.providers import AUTH_SCHEMES, PROVIDERS, Provider, classify, upstream_url
from proxy.providers.rows import STATUS_KINDS
from shared.settings import BY_NAME

# Of the caller's: what would carry its credential, its cookies or the connection's own matters upstream.
NEVER_FORWARDED = {
    "authorization", "x-api-key", "api-key", "cookie", "proxy-authorization", "host", "connection", "content-length",
    "transfer-encoding", "te", "upgrade", "keep-alive", "accept-encoding", "content-encoding", "forwarded", "expect",
    "x-forwarded-for", "x-real-ip", "x-request-timeout", "x-custom-event-id", "x-metadata", "x-weir-hop",
    # Sent, but never as they come.
    "content-type", "idempotency-key",
}  # fmt: skip
# Of upstream's: cookies, hop-by-hop headers, and what the operator's account may do.
NEVER_RETURNED = {
    "set-cookie", "connection", "transfer-encoding", "content-length", "keep-alive", "www-authenticate", "server",
    "openai-organization", "openai-project", "x-weir-request-id", "strict-transport-security", "alt-svc", "cf-ray",
    "anthropic-organization-id", "anthropic-workspace-id",
}  # fmt: skip


@pytest.fixture(params=PROVIDERS.values(), ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> Provider:
    return request.param


def test_a_row_is_found_by_its_own_name(row: Provider) -> None:
    assert PROVIDERS[row.name] is row
    assert row.name == row.name.lower().strip()


def test_a_row_names_a_setting_that_holds_a_base_url_or_its_settings_must(row: Provider) -> None:
    if row.base_url_setting:
        assert BY_NAME[row.base_url_setting].default.startswith("https://")
    assert bool(row.base_url_setting) != ("url" in row.required_params)


def test_a_row_has_an_auth_scheme_that_needs_only_what_the_row_requires(row: Provider) -> None:
    headers = AUTH_SCHEMES[row.auth_scheme]({name: f"value-of-{name}" for name in row.required_params})

    assert bool(headers) == any(name in row.secret_params for name in row.required_params)


def test_what_a_row_authenticates_with_is_all_that_is_secret(row: Provider) -> None:
    names = {*row.required_params, *row.secret_params, "url"}
    sent = "".join(value for _, value in AUTH_SCHEMES[row.auth_scheme]({name: f"<{name}>" for name in names}))

    assert {name for name in names if f"<{name}>" in sent} == set(row.secret_params)


def test_a_row_sends_by_itself_only_what_a_caller_may_send(row: Provider) -> None:
    assert {name for name, _ in row.default_headers} <= {text for _, text in row.forwarded}
    assert all(value for _, value in row.default_headers)


def test_a_row_caps_the_output_by_a_member_of_the_body(row: Provider) -> None:
    assert row.output_cap.isidentifier()


def test_a_row_forwards_names_in_lower_case_and_nothing_that_must_stay_here(row: Provider) -> None:
    names = [text for _, text in row.forwarded]

    assert [name.decode() for name, _ in row.forwarded] == names == [name.lower() for name in names]
    assert len(set(names)) == len(names)
    assert not NEVER_FORWARDED & set(names)
    assert {"accept", "user-agent", "traceparent"} <= set(names)
    credential = dict.fromkeys((*row.required_params, *row.secret_params), "x")
    assert not {name for name, _ in AUTH_SCHEMES[row.auth_scheme](credential)} & set(names)


def test_a_row_returns_names_in_lower_case_and_nothing_that_must_stay_here(row: Provider) -> None:
    assert [name.lower() for name in row.returned] == list(row.returned)
    assert len(set(row.returned)) == len(row.returned)
    assert not NEVER_RETURNED & set(row.returned)
    assert not [name for name in row.returned if name.startswith(("x-ratelimit", "access-control", "cf-"))]
    assert {"content-type", "x-request-id"} <= set(row.returned)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "none"),
        (201, "none"),
        (204, "none"),
        (400, "caller"),
        (401, "credential"),
        (402, "rate"),
        (403, "credential"),
        (404, "missing"),
        (405, "caller"),
        (408, "busy"),
        (409, "busy"),
        (413, "caller"),
        (422, "caller"),
        (429, "rate"),
        (500, "server"),
        (502, "busy"),
        (503, "busy"),
        (504, "busy"),
        (529, "busy"),
        (599, "server"),
        # Redirects are not followed and nothing else belongs here: upstream is broken.
        (301, "server"),
        (101, "server"),
        (0, "server"),
        (999, "server"),
    ],
)
def test_a_status_says_whose_move_it_is(status: int, kind: str) -> None:
    assert classify(status) == kind


def test_no_success_is_listed_as_a_failure() -> None:
    assert not [status for status in STATUS_KINDS if status < 400]


CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://api.openai.com", CHAT, "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/", CHAT, "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1", CHAT, "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1/", CHAT, "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1//", CHAT, "https://api.openai.com/v1/chat/completions"),
        ("http://127.0.0.1:8080", "/v1/models", "http://127.0.0.1:8080/v1/models"),
        ("http://[::1]:8080/v1", "/v1/models", "http://[::1]:8080/v1/models"),
        ("https://host/prefix", CHAT, "https://host/prefix/v1/chat/completions"),
        ("https://host/prefix/v1", CHAT, "https://host/prefix/v1/chat/completions"),
        ("https://host/v1/tenant", CHAT, "https://host/v1/tenant/v1/chat/completions"),
        ("https://host/prefix-v1", CHAT, "https://host/prefix-v1/v1/chat/completions"),
        ("https://host/v1beta", CHAT, "https://host/v1beta/v1/chat/completions"),
        ("https://host/v2", CHAT, "https://host/v2/v1/chat/completions"),
        ("https://v1", CHAT, "https://v1/v1/chat/completions"),
        ("https://host", "/v1", "https://host/v1"),
        ("https://host/v1", "/v1/models/a%2Fb", "https://host/v1/models/a%2Fb"),
    ],
)
def test_the_version_stands_in_the_url_exactly_once(base: str, path: str, url: str) -> None:
    assert upstream_url(base, path) == url
