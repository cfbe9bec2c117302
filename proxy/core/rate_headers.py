"""The figures of the tightest limit on requests, in every family of headers that callers read. One source: RateState.

The contract's `x-ratelimit-*`, IETF's `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11), and what the SDKs of the
endpoint's dialect know. Pure.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from proxy.core.limits import RateState
from proxy.wire.errors import Dialect
from shared.records import Window

RawHeaders = list[tuple[bytes, bytes]]

_WINDOW_SECONDS: dict[Window, int] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

EXPOSED = (
    b"x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, ratelimit, ratelimit-policy, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"anthropic-ratelimit-requests-limit, anthropic-ratelimit-requests-remaining, anthropic-ratelimit-requests-reset"
)


def rate_headers(rate: RateState, dialect: Dialect) -> RawHeaders:
    """The headers of an answer, or of a refusal, that a limit on requests stood behind."""
    limit, remaining = b"%d" % rate.limit, b"%d" % rate.remaining
    return [
        (b"x-ratelimit-limit", limit),
        (b"x-ratelimit-remaining", remaining),
        (b"x-ratelimit-reset", b"%d" % rate.reset_epoch_seconds),
        (b"ratelimit-policy", _policy(rate.limit, rate.window)),
        (b"ratelimit", b'"requests-%b";r=%b;t=%d' % (rate.window.encode(), remaining, rate.reset_seconds)),
        *_FAMILIES[dialect](rate, limit, remaining),
    ]


@lru_cache(maxsize=1024)
def _policy(limit: int, window: Window) -> bytes:
    return b'"requests-%b";q=%d;w=%d' % (window.encode(), limit, _WINDOW_SECONDS.get(window, 0))


def _openai(rate: RateState, limit: bytes, remaining: bytes) -> RawHeaders:
    return [
        (b"x-ratelimit-limit-requests", limit),
        (b"x-ratelimit-remaining-requests", remaining),
        (b"x-ratelimit-reset-requests", duration_text(rate.reset_seconds).encode()),
    ]


def _anthropic(rate: RateState, limit: bytes, remaining: bytes) -> RawHeaders:
    reset = datetime.fromtimestamp(rate.reset_epoch_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        (b"anthropic-ratelimit-requests-limit", limit),
        (b"anthropic-ratelimit-requests-remaining", remaining),
        (b"anthropic-ratelimit-requests-reset", reset.encode()),
    ]


_FAMILIES: dict[Dialect, Callable[[RateState, bytes, bytes], RawHeaders]] = {
    "openai_api": _openai,
    "anthropic_api": _anthropic,
}


def duration_text(seconds: int) -> str:
    """A time as OpenAI's headers write it: `1s`, `6m0s`, `23h59m2s`."""
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    if hour:
        return f"{hour}h{minute}m{second}s"
    return f"{minute}m{second}s" if minute else f"{second}s"
