"""Headers both ways: what is read, what goes upstream, what comes back."""

import pytest

from proxy.core.headers import (
    caller_headers,
    preflight_headers,
    read_headers,
    read_query,
    refusal_headers,
    upstream_headers,
)
from proxy.providers import PROVIDERS
from shared.errors import Refusal

HOST = (b"host", b"weir")
OPENAI = PROVIDERS["openai"]


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ([(b"authorization", b"Bearer key")], "key"),
        ([(b"authorization", b"bearer key")], "key"),
        ([(b"authorization", b"Token key more")], "key"),
        ([(b"authorization", b"key")], ""),
        ([(b"authorization", b"Bearer ")], ""),
        ([(b"x-api-key", b"one"), (b"api-key", b"two"), (b"authorization", b"Bearer three")], "one"),
        ([(b"api-key", b"two"), (b"authorization", b"Bearer three")], "two"),
        ([(b"x-api-key", b""), (b"authorization", b"Bearer three")], "three"),
        ([(b"x-api-key", b"first"), (b"x-api-key", b"second")], "first"),
        ([], ""),
    ],
)
def test_the_credential_is_read_in_the_contract_s_order(headers: list[tuple[bytes, bytes]], credential: str) -> None:
    """x-api-key, api-key, then the second token of Authorization (contract §4.3)."""
    assert read_headers([HOST, *headers]).credential == credential


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ([], "bad_request"),
        ([HOST, (b"host", b"other")], "bad_request"),
        ([HOST, (b"x-weir-hop", b"1")], "loop_detected"),
        ([HOST, (b"content-encoding", b"gzip")], "encoding_unsupported"),
        ([HOST, (b"content-type", b"application/json; charset=utf-7")], "encoding_unsupported"),
        ([HOST, (b"content-type", b'application/json;Charset = "UTF-16"')], "encoding_unsupported"),
        ([HOST, (b"content-type", b"application/json; charset=utf-8; charset=utf-7")], "encoding_unsupported"),
        ([HOST, (b"content-type", b"application/json; charset=")], "encoding_unsupported"),
        ([HOST, (b"x-request-timeout", b"abc")], "invalid_timeout"),
        ([HOST, (b"x-request-timeout", b"-1s")], "invalid_timeout"),
        ([HOST, (b"x-request-timeout", b"0s")], "invalid_timeout"),
        ([HOST, (b"x-request-timeout", b"1000h")], "invalid_timeout"),
        ([HOST, (b"x-request-timeout", b"\xff")], "invalid_timeout"),
    ],
)
def test_bad_headers_are_refused(headers: list[tuple[bytes, bytes]], kind: str) -> None:
    """Each with its own kind."""
    with pytest.raises(Refusal) as caught:
        read_headers(headers)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json", b"application/json; charset=utf-8", b'application/json;charset="UTF-8"', b"text/plain",
        b"application/json ; charset=utf8 ; x=y", b"multipart/form-data; boundary=charset", b"",
    ],
)  # fmt: skip
def test_a_body_may_say_that_it_is_utf_8(content_type: bytes) -> None:
    """Or nothing of it: that is what it is read as."""
    assert read_headers([HOST, (b"content-type", content_type)]).values[b"content-type"] == content_type


def test_a_timeout_is_a_go_duration() -> None:
    """In seconds inside."""
    assert read_headers([HOST, (b"x-request-timeout", b"1m30s")]).timeout_seconds == 90


def test_upstream_gets_an_allow_list_and_our_credential() -> None:
    """No credential, cookie, address or hop-by-hop header of the caller reaches upstream."""
    hostile = [
        b"authorization", b"x-api-key", b"api-key", b"cookie", b"connection", b"te", b"trailer", b"upgrade",
        b"transfer-encoding", b"proxy-authorization", b"x-forwarded-for", b"x-real-ip", b"forwarded", b"host",
        b"content-length", b"x-metadata", b"x-custom-event-id", b"x-request-timeout", b"accept-encoding", b"range",
        b"expect", b"origin", b"referer", b"content-type", b"idempotency-key",
    ]  # fmt: skip
    raw = [(name, b"CALLER") for name in hostile]
    kept = [(b"openai-beta", b"x=1"), (b"traceparent", b"00-1")]
    values = dict(raw + kept)
    headers = read_headers([HOST, *[pair for pair in raw if pair[0] not in (b"host", b"x-request-timeout")], *kept])
    out = upstream_headers(headers, OPENAI, {"apikey": "sk-upstream"}, "the-id")
    assert values
    assert dict(out) == {
        "content-type": "application/json",
        "openai-beta": "x=1",
        "traceparent": "00-1",
        "accept-encoding": "identity",
        "x-weir-request-id": "the-id",
        "x-weir-hop": "1",
        "authorization": "Bearer sk-upstream",
    }


def sent(*headers: tuple[bytes, bytes], key_id: str = "", has_body: bool | None = None) -> dict[str, str]:
    """What upstream gets of these."""
    read = read_headers([HOST, *headers])
    return dict(upstream_headers(read, OPENAI, {"apikey": "sk"}, "the-id", key_id=key_id, has_body=has_body))


def test_a_body_goes_upstream_as_json_whatever_the_caller_calls_it() -> None:
    """Upstream must not be told to decode another body than the one that was checked."""
    odd = (b"content-type", b"text/plain; charset=utf-8")
    assert sent(odd, has_body=True)["content-type"] == "application/json"
    assert sent(has_body=True)["content-type"] == "application/json"
    assert "content-type" not in sent(odd, (b"content-length", b"2"), has_body=False)


def test_whether_there_is_a_body_is_read_from_the_framing_where_it_is_not_told() -> None:
    """A content type alone, as some clients send it with GET, makes no body."""
    assert sent((b"content-length", b"12"))["content-type"] == "application/json"
    assert sent((b"transfer-encoding", b"chunked"))["content-type"] == "application/json"
    assert "content-type" not in sent((b"content-type", b"application/json"))
    assert "content-type" not in sent((b"content-type", b"application/json"), (b"content-length", b"0"))


def test_idempotency_keys_of_two_keys_never_meet() -> None:
    """They may share one credential of upstream's, which would answer one with the other's answer."""
    header = (b"idempotency-key", b"order-1")
    ours, same, other = (sent(header, key_id=key_id)["idempotency-key"] for key_id in ("key-1", "key-1", "key-2"))
    assert ours == same != other
    assert ours.endswith("-order-1")
    assert "key-1" not in ours
    assert "idempotency-key" not in sent(header)
    assert "idempotency-key" not in sent(key_id="key-1")


def test_the_caller_gets_an_allow_list_of_upstream_s_headers() -> None:
    """Never a cookie, never upstream's rate headers or the operator's organisation."""
    upstream = {
        "content-type": "application/json",
        "x-request-id": "req_1",
        "openai-processing-ms": "12",
        "openai-organization": "acme",
        "set-cookie": "a=b",
        "x-ratelimit-remaining-requests": "3",
        "connection": "keep-alive",
        "transfer-encoding": "chunked",
        "server": "cloudflare",
    }
    out = dict(caller_headers(upstream, OPENAI, "the-id", b"https://app.example", None))
    assert out[b"x-request-id"] == b"req_1"
    assert out[b"x-weir-request-id"] == b"the-id"
    assert out[b"access-control-allow-origin"] == b"https://app.example"
    assert set(out) == {
        b"content-type", b"x-request-id", b"openai-processing-ms", b"x-weir-request-id",
        b"access-control-allow-origin", b"access-control-expose-headers", b"vary",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("retry_after", "told", "is_final"),
    [(None, None, False), (0.2, b"1", False), (1, b"1", False), (59.1, b"60", False), (60.5, b"61", True)],
)
def test_a_refusal_says_when_to_try_again(retry_after: float | None, told: bytes | None, is_final: bool) -> None:
    """Rounded up; a wait over a minute asks the SDK not to retry by itself."""
    out = dict(refusal_headers("the-id", b"", retry_after))
    assert out.get(b"retry-after") == told
    assert (out.get(b"x-should-retry") == b"false") is is_final
    assert out[b"x-request-id"] == out[b"x-weir-request-id"] == b"the-id"


def test_a_refusal_has_its_id_where_the_dialects_sdk_looks() -> None:
    """`request-id` for one, `x-request-id` for the other."""
    out = dict(refusal_headers("the-id", b"", None, None, "anthropic_api"))
    assert out[b"request-id"] == b"the-id"
    assert b"x-request-id" not in out


@pytest.mark.parametrize(
    ("query", "allowed", "forwarded"),
    [
        (b"limit=20", {"limit"}, "?limit=20"),
        (b"after=a%26b%3Dc&limit=2", {"limit", "after"}, "?after=a%26b%3Dc&limit=2"),
        (b"include[]=x&include[]=y", {"include[]"}, "?include%5B%5D=x&include%5B%5D=y"),
        (b"beta=", {"beta"}, "?beta="),
    ],
)
def test_a_query_goes_upstream_by_allow_list(query: bytes, allowed: set[str], forwarded: str) -> None:
    """Written anew, so that upstream reads in it what was read here."""
    assert read_query(query, frozenset(allowed)) == forwarded


@pytest.mark.parametrize(
    "query",
    [
        b"stream=true",
        b"limit=1&stream=true",
        b"limit",
        b"limit=%ff",
        b"limit=1;stream=1&x=1",
        b"\xff=1",
        b"&",
        b"Limit=1",
    ],
)
def test_any_other_query_is_refused(query: bytes) -> None:
    """Named, so that nobody believes it was heard."""
    with pytest.raises(Refusal) as refused:
        read_query(query, frozenset({"limit"}))
    assert refused.value.kind == "query_invalid"


def test_a_preflight_allows_what_was_asked() -> None:
    """Contract §4.4, step 1."""
    out = dict(preflight_headers({b"access-control-request-method": b"POST"}, b"https://app.example"))
    assert out[b"access-control-allow-methods"] == b"POST"
    assert out[b"access-control-allow-headers"] == b"*"
    assert out[b"access-control-max-age"] == b"3600"
