"""A provider as data: the row type, what every row shares, and the two functions that read a row.

A quirk is a field with a reason, never a branch on a name. To add a provider: a module with one `Provider` and its
place in PROVIDERS; the tests walk the table.
"""

from typing import Literal

import msgspec

FailureKind = Literal["none", "caller", "credential", "missing", "rate", "busy", "server"]
"""What a status of upstream says about who must act.

none: it worked. caller: this request is wrong, wherever it is sent. credential: ours is refused. missing: no such
model or object there. rate: this credential has used up something. busy: try again, here or elsewhere. server: broken.
"""

# A status that is not here is judged by its hundreds.
STATUS_KINDS: dict[int, FailureKind] = {
    401: "credential",
    402: "rate",
    403: "credential",
    404: "missing",
    408: "busy",
    409: "busy",
    425: "busy",
    429: "rate",
    502: "busy",
    503: "busy",
    504: "busy",
    529: "busy",
}

_HUNDREDS: dict[int, FailureKind] = {2: "none", 4: "caller", 5: "server"}


def forward(*names: str) -> tuple[tuple[bytes, str], ...]:
    """Header names as they are looked up among the caller's and as they are sent."""
    return tuple((name.encode(), name) for name in names)


# What any provider may get of the caller's request headers: never a credential, a cookie, an address of the caller's
# or a hop-by-hop header. Tracing headers let one trace cross the gateway. Content type and idempotency key are not
# here: upstream gets its own of each.
COMMON_FORWARDED = forward("accept", "user-agent", "traceparent", "tracestate")

# What the SDKs of both houses say of themselves, for upstream's support: they come from one generator.
SDK_FORWARDED = forward(
    "x-stainless-arch",
    "x-stainless-async",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-raw-response",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
)

# What any provider's answer may tell the caller: no cookie, and none of its rate limits, which are the operator's.
# How long to wait after upstream's own 429 or 503 is for the caller's SDK to know.
COMMON_RETURNED = (
    "content-type",
    "content-encoding",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-request-id",
)


class Provider(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One provider."""

    name: str
    """As in provider settings and in paths."""
    base_url_setting: str
    """The setting that holds its base URL; a provider setting's own `url` goes before it. Empty: it is always given
    by the provider setting, whose `url` is then a required parameter."""
    auth_scheme: str
    """A row of AUTH_SCHEMES."""
    required_params: tuple[str, ...]
    """Parameters that a provider setting must have."""
    secret_params: tuple[str, ...]
    """Those of them, and optional ones, that are stored sealed and never shown."""
    output_cap: str
    """The body's member that caps the output of each choice, where the caller gave none."""
    forwarded: tuple[tuple[bytes, str], ...]
    """The caller's headers that go upstream; everything else stays here."""
    steering: frozenset[bytes] = frozenset()
    """Those of them that choose among what a credential may use: a refusal may then be the caller's own doing."""
    default_headers: tuple[tuple[str, str], ...] = ()
    """Headers without which upstream refuses, sent when the caller sends none of that name."""
    returned: tuple[str, ...]
    """Upstream's headers that go back to the caller; everything else stays here."""


def classify(status: int) -> FailureKind:
    """Whose move it is after an answer with this status."""
    return STATUS_KINDS.get(status) or _HUNDREDS.get(status // 100, "server")


def upstream_url(base_url: str, path: str) -> str:
    """Where `path` (it begins with the API's version, `/v1/...`) is under a base URL.

    The base may carry a path prefix, end in `/` or not, and end in the version or not: it is there exactly once.
    """
    scheme, separator, rest = base_url.rstrip("/").partition("://")
    version = "/" + path.split("/", 2)[1]
    return scheme + separator + rest.removesuffix(version) + path
