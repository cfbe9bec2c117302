"""What each provider's row puts on the wire, both ways."""

from proxy.core.headers import RequestHeaders, caller_headers, read_headers, upstream_headers
from proxy.providers import PROVIDERS

ANTHROPIC, VLLM = PROVIDERS["anthropic"], PROVIDERS["vllm"]


def request_of(**headers: str) -> RequestHeaders:
    named = {"host": "weir", "x-api-key": "sk-weir-1", "content-length": "9"} | headers
    return read_headers([(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()])


def sent_to(provider: str, credential: dict[str, str], **headers: str) -> dict[str, str]:
    pairs = upstream_headers(request_of(**headers), PROVIDERS[provider], credential, "0192")
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_anthropic_gets_the_operators_key_and_a_version() -> None:
    sent = sent_to("anthropic", {"apikey": "sk-ant"}, user_agent="curl/8")

    assert sent == {
        "user-agent": "curl/8",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "x-weir-request-id": "0192",
        "x-weir-hop": "1",
        "x-api-key": "sk-ant",
    }


def test_a_version_that_the_caller_names_is_not_replaced() -> None:
    sent = sent_to(
        "anthropic",
        {"apikey": "sk-ant"},
        anthropic_version="2099-01-01",
        anthropic_beta="context-1m-2025-08-07,fast-mode-2026-02-01",
        x_stainless_lang="python",
        anthropic_workspace_id="wrkspc_1",
        anthropic_user_profile_id="uprof_1",
        anthropic_dangerous_direct_browser_access="true",
    )

    assert sent["anthropic-version"] == "2099-01-01"
    assert sent["anthropic-beta"] == "context-1m-2025-08-07,fast-mode-2026-02-01"
    assert sent["x-stainless-lang"] == "python"
    assert not [name for name in sent if name.startswith("anthropic-") and name[10:] not in ("version", "beta")]


def test_an_empty_version_is_none() -> None:
    assert sent_to("anthropic", {"apikey": "sk-ant"}, anthropic_version="")["anthropic-version"] == "2023-06-01"


def test_the_caller_gets_anthropics_request_id_and_nothing_of_the_operators_account() -> None:
    upstream = {
        "content-type": "text/event-stream; charset=utf-8",
        "request-id": "req_1",
        "anthropic-organization-id": "0d3a",
        "anthropic-workspace-id": "wrkspc_1",
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-tokens-remaining": "1",
        "retry-after": "7",
        "set-cookie": "x=1",
    }
    names = {name for name, _ in caller_headers(upstream, ANTHROPIC, "0192", b"", None)}

    assert {b"content-type", b"request-id", b"retry-after"} <= names
    assert not [name for name in names if name.startswith((b"anthropic-", b"set-"))]


def test_vllm_gets_a_key_only_if_there_is_one() -> None:
    assert sent_to("vllm", {"apikey": "token"})["authorization"] == "Bearer token"
    bare = sent_to("vllm", {}, authorization="Bearer sk-weir-1")

    assert not {"authorization", "x-api-key", "api-key"} & set(bare)
    assert "anthropic-version" not in bare


def test_vllm_s_answers_name_what_the_caller_named() -> None:
    assert sent_to("vllm", {}, x_request_id="mine")["x-request-id"] == "mine"
    assert (b"x-request-id", b"mine") in caller_headers({"x-request-id": "mine"}, VLLM, "0192", b"", None)
