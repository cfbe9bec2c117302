"""Headers, both ways: what is read of the caller's, what goes upstream, what comes back. Pure.

Upstream gets an allow-list (the provider's row), our own credential and nothing else of the caller's: never a
credential, a cookie or a hop-by-hop header. The caller gets an allow-list of upstream's: never its rate headers.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode

import msgspec

from proxy.core import rate_headers
from proxy.core.limits import RateState
from proxy.providers import AUTH_SCHEMES, Provider
from proxy.wire.errors import Dialect
from shared.durations import parse_seconds
from shared.errors import Refusal
from shared.keys import mask_key

RawHeaders = list[tuple[bytes, bytes]]

HOP = b"x-weir-hop"
"""Set on every upstream request; a request that carries it has come back to a gateway: 508."""

_CREDENTIALS = (b"x-api-key", b"api-key")
_IDEMPOTENCY_KEY = b"idempotency-key"
_CHARSET = re.compile(rb";\s*charset\s*=\s*([^;]*)", re.IGNORECASE)
_UTF_8 = frozenset({b"utf-8", b"utf8"})
LARGEST_HEADERS = 65_536
_LONGEST_SHOWN_NAME = 64
_LONGEST_TIMEOUT_SECONDS = 86_400.0

EXPOSED = (
    b"x-weir-request-id, x-weir-output-cap, x-request-id, request-id, openai-processing-ms, retry-after, "
    b"x-should-retry, " + rate_headers.EXPOSED
)
# Where the SDKs of a dialect look for a request's id; on our own answers it is ours (design §4).
_REQUEST_ID: dict[Dialect, bytes] = {"openai_api": b"x-request-id", "anthropic_api": b"request-id"}


class RequestHeaders(msgspec.Struct, frozen=True, gc=False):
    """What the path acts on. The first value of a repeated header counts."""

    values: dict[bytes, bytes]
    credential: str
    """The gateway key as presented; empty when there is none."""
    timeout_seconds: float | None

    @property
    def content_length(self) -> bytes | None:
        """The declared size of the body."""
        return self.values.get(b"content-length")

    @property
    def credential_mask(self) -> str:
        """What may be shown of the key."""
        return mask_key(self.credential)

    def text(self, name: bytes, longest: int) -> str:
        """A header's value as text, cut to `longest` characters, empty when absent."""
        value = self.values.get(name)
        if not value:
            return ""
        try:
            return value.decode()[:longest]
        except UnicodeDecodeError:
            return value.decode("latin-1")[:longest]


def read_headers(raw: RawHeaders) -> RequestHeaders:
    """Index and check the caller's headers.

    Raises Refusal: headers_too_large, bad_request (not exactly one Host, RFC 9112 §3.2), loop_detected,
    encoding_unsupported, invalid_timeout (contract §4.4, step 2).
    """
    values: dict[bytes, bytes] = {}
    hosts = size = 0
    for name, value in raw:
        size += len(name) + len(value)
        if name == b"host":
            hosts += 1
        if name not in values:
            values[name] = value
    if size > LARGEST_HEADERS:
        raise Refusal("headers_too_large", f"request headers are larger than {LARGEST_HEADERS} bytes")
    if hosts != 1:
        raise Refusal("bad_request", "a request must have exactly one Host header")
    if HOP in values:
        raise Refusal("loop_detected", "the request has already passed a Weir gateway: its upstream points back here")
    if values.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refusal("encoding_unsupported", "request bodies must not be compressed (Content-Encoding)")
    if b";" in (content_type := values.get(b"content-type", b"")):
        _check_charset(content_type)
    timeout = values.get(b"x-request-timeout")
    return RequestHeaders(values, _credential(values), None if timeout is None else _timeout(timeout))


def _check_charset(content_type: bytes) -> None:
    """Each charset that is named, quoted or not: JSON is UTF-8 (RFC 8259 §8.1), and as such it is checked."""
    if not {charset.strip().strip(b'"').lower() for charset in _CHARSET.findall(content_type)} <= _UTF_8:
        raise Refusal("encoding_unsupported", "request bodies must be UTF-8 (Content-Type)")


def _credential(values: Mapping[bytes, bytes]) -> str:
    """Contract §4.3: x-api-key, api-key, then the second token of Authorization; the first that is not empty."""
    for name in _CREDENTIALS:
        if value := values.get(name):
            return value.decode("latin-1").strip()
    tokens = values.get(b"authorization", b"").split(b" ")
    return tokens[1].decode("latin-1") if len(tokens) > 1 else ""


def _timeout(value: bytes) -> float:
    try:
        seconds = parse_seconds(value.decode("latin-1"))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_TIMEOUT_SECONDS:
        raise Refusal("invalid_timeout", "invalid timeout")
    return seconds


def upstream_headers(
    headers: RequestHeaders,
    provider: Provider,
    credential: Mapping[str, str],
    request_id: str,
    *,
    key_id: str = "",
    has_body: bool | None = None,
) -> tuple[tuple[str, str], ...]:
    """The headers of the upstream request, without Host and Content-Length, which belong to the client.

    `has_body`: upstream gets a body; None: as the caller's framing says. Without a key id no idempotency key is sent.
    """
    values = headers.values
    out: list[tuple[str, str]] = [
        (text, value.decode("latin-1")) for name, text in provider.forwarded if (value := values.get(name))
    ]
    out.extend([header for header in provider.default_headers if not values.get(header[0].encode())])
    if _is_framed(values) if has_body is None else has_body:
        # Never the caller's: a charset in it would make upstream decode another body than the one that was checked.
        out.append(("content-type", "application/json"))
    if key_id and (idempotency_key := values.get(_IDEMPOTENCY_KEY)):
        # Upstream knows one credential where we have many keys: those of two of them must never meet.
        out.append(("idempotency-key", f"{_key_mark(key_id)}-{idempotency_key.decode('latin-1')}"))
    out.append(("accept-encoding", "identity"))
    out.append(("x-weir-request-id", request_id))
    out.append(("x-weir-hop", "1"))
    out.extend(AUTH_SCHEMES[provider.auth_scheme](credential))
    return tuple(out)


def _is_framed(values: Mapping[bytes, bytes]) -> bool:
    return values.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in values


def _key_mark(key_id: str) -> str:
    """Stands for a key at providers: the same for each of its requests, and it does not tell the id."""
    return sha256(key_id.encode()).hexdigest()[:16]


def our_headers(request_id: str, origin: bytes) -> RawHeaders:
    """What every answer carries."""
    out = [
        (b"x-weir-request-id", request_id.encode()),
        (b"access-control-allow-origin", origin or b"*"),
        (b"access-control-expose-headers", EXPOSED),
    ]
    if origin:
        out.append((b"vary", b"origin"))
    return out


def refusal_headers(
    request_id: str,
    origin: bytes,
    retry_after: float | None,
    rate: RateState | None = None,
    dialect: Dialect = "openai_api",
) -> RawHeaders:
    """The head of an answer of our own, but for its content type."""
    out = [*our_headers(request_id, origin), (_REQUEST_ID[dialect], request_id.encode())]
    if retry_after is not None:
        seconds = max(1, -int(-retry_after // 1))
        out.append((b"retry-after", str(seconds).encode()))
        if seconds > 60:
            # The SDKs retry 429 twice by themselves; waiting so long inside a call helps nobody.
            out.append((b"x-should-retry", b"false"))
    if rate is not None:
        out.extend(rate_headers.rate_headers(rate, dialect))
    return out


def caller_headers(
    upstream: Mapping[str, str],
    provider: Provider,
    request_id: str,
    origin: bytes,
    rate: RateState | None,
    dialect: Dialect = "openai_api",
) -> RawHeaders:
    """The head of upstream's answer as the caller gets it."""
    out = [
        (name.encode(), value.encode("latin-1"))
        for name in provider.returned
        # A control character in it would cost the caller the whole answer.
        if (value := upstream.get(name)) is not None and value.isprintable()
    ]
    out.extend(our_headers(request_id, origin))
    if rate is not None:
        out.extend(rate_headers.rate_headers(rate, dialect))
    return out


def read_query(query: bytes, allowed: frozenset[str]) -> str:
    """The query for upstream, with its `?`: the caller's, of `allowed` parameters only.

    Raises Refusal query_invalid naming another: upstream might read in it what was never checked.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise Refusal("query_invalid", "the query of the URL cannot be read") from None
    for name, _ in pairs:
        if name not in allowed:
            raise Refusal("query_invalid", f"query parameter {name[:_LONGEST_SHOWN_NAME]} is not supported here")
    return f"?{urlencode(pairs)}"


def preflight_headers(values: Mapping[bytes, bytes], origin: bytes) -> RawHeaders:
    """Contract §4.4, step 1: whatever the browser asks for."""
    return [
        (b"access-control-allow-origin", origin or b"*"),
        (b"access-control-allow-methods", values.get(b"access-control-request-method", b"*")),
        (b"access-control-allow-headers", values.get(b"access-control-request-headers", b"*")),
        (b"access-control-max-age", b"3600"),
        (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
    ]
