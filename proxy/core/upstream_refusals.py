"""What upstream's own no says about our credential: whose no it is, and how long it wants to be left alone. Pure.

Read of the status, the headers and the error's code; never of its message. It knows no provider: one may write any of
these headers, and what none of them says has a default.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

from proxy.providers import classify
from shared.durations import parse_seconds

LEAST_SECONDS = 1.0
# Where upstream says nothing. In the field: LiteLLM 5 s, Codex proxies 30 s; a limit by the minute has had 1/6 of its
# window back by then, and one call in ten seconds that is refused costs nobody anything.
DEFAULT_SECONDS = 10.0
# Money is put in by people: asking again each minute notices it soon enough.
QUOTA_SECONDS = 60.0
# OpenAI's resets say when a limit is whole again, which is later than when it admits the next call.
MOST_RESET_SECONDS = 60.0
# A wait of hours may have been lifted by the operator meanwhile: look now and then.
MOST_SECONDS = 300.0
ASIDE_SECONDS = 300.0
"""How long a credential that was refused is not the first choice. Then one call tries it."""

# Error codes and types of a rate status that mean money, not pace: it is used up for every model.
QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
        "enforced_spend_limit_reached",
        "billing_error",
        "billing_not_active",
        "billing_hard_limit_reached",
    }
)
_PAYMENT_REQUIRED = 402
_UNAUTHORIZED = 401
_LONGEST_BODY = 65_536

# x-ratelimit-reset-tokens, x-ratelimit-reset, ratelimit-reset, <provider>-ratelimit-input-tokens-reset
_RESET = re.compile(r"(?:^|-)ratelimit-(?:reset(?:-.+)?|.+-reset)$")
_EPOCH_SECONDS, _EPOCH_MS = 1e9, 1e12
_BAD_JSON = (msgspec.DecodeError, RecursionError, ValueError)


class UpstreamRefusal(msgspec.Struct, frozen=True, gc=False):
    """A no to our credential."""

    kind: Literal["credential", "rate"]
    is_whole: bool
    """True: of the setting, whatever is asked for. False: of this model or path only."""
    seconds: float
    """How long to leave it alone."""


def read_refusal(status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> UpstreamRefusal | None:
    """None: the answer is no refusal of our credential or its pace. `now_ms` is the wall clock's."""
    kind = classify(status)
    if kind == "credential":
        # Who we are is refused as a whole (401); what we may do (403), by model or path.
        return UpstreamRefusal("credential", status == _UNAUTHORIZED, ASIDE_SECONDS)
    if kind != "rate":
        return None
    told = told_seconds(headers, now_ms)
    if status == _PAYMENT_REQUIRED or not QUOTA_CODES.isdisjoint(error_codes(body)):
        return UpstreamRefusal("rate", True, _bounded(max(told or 0.0, QUOTA_SECONDS)))
    return UpstreamRefusal("rate", False, _bounded(DEFAULT_SECONDS if told is None else told))


def _bounded(seconds: float) -> float:
    return min(max(seconds, LEAST_SECONDS), MOST_SECONDS)


class _Detail(msgspec.Struct):
    error_code: object = None


class _Error(msgspec.Struct):
    code: object = None
    type: object = None
    details: object = None


class _Body(msgspec.Struct):
    error: object = None


_body_decoder = msgspec.json.Decoder(_Body)


def error_codes(body: bytes) -> tuple[str, ...]:
    """`code`, `type` and `details.error_code` of an error body, as far as they are text. Never raises."""
    if len(body) > _LONGEST_BODY:
        return ()
    try:
        error = msgspec.convert(_body_decoder.decode(body).error, _Error)
    except _BAD_JSON:
        return ()
    try:
        detail = msgspec.convert(error.details, _Detail)
    except _BAD_JSON:
        detail = _Detail()
    return tuple(code for code in (error.code, error.type, detail.error_code) if isinstance(code, str))


def told_seconds(headers: Mapping[str, str], now_ms: int) -> float | None:
    """The wait that upstream's headers ask for, None when they do not say.

    `retry-after-ms`, then `retry-after` (seconds or a date, RFC 9110 §10.2.3), then the resets of limits that are used
    up, then of all limits. Moments are compared with upstream's own `date`, for clocks differ.
    """
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return milliseconds / 1000
    now = (_http_date(headers.get("date", "")) or now_ms / 1000) if headers else 0.0
    if after := headers.get("retry-after"):
        if (seconds := _number(after)) is not None:
            return seconds
        if (moment := _http_date(after)) is not None:
            return max(moment - now, 0.0)
    resets = [
        (seconds, _number(headers.get(name.replace("reset", "remaining"), "")) == 0)
        for name, value in headers.items()
        if _RESET.search(name) and (seconds := _reset_seconds(value, now)) is not None
    ]
    used_up = [seconds for seconds, is_used_up in resets if is_used_up] or [seconds for seconds, _ in resets]
    return min(max(used_up), MOST_RESET_SECONDS) if used_up else None


def _reset_seconds(value: str, now: float) -> float | None:
    """Seconds, a duration (`6m0s`, `12ms`), a Unix time in seconds or milliseconds, or an RFC 3339 time."""
    number = _number(value)
    if number is None:
        try:
            return parse_seconds(value)
        except ValueError:
            moment = _rfc3339(value)
    elif number < _EPOCH_SECONDS:
        return number
    else:
        moment = number if number < _EPOCH_MS else number / 1000
    return None if moment is None else max(moment - now, 0.0)


def _number(text: str) -> float | None:
    """A number that is not negative: `-1` is how some say that they do not know."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _http_date(text: str) -> float | None:
    try:
        return _timestamp(parsedate_to_datetime(text)) if text else None
    except (ValueError, OverflowError):
        return None


def _rfc3339(text: str) -> float | None:
    try:
        return _timestamp(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _timestamp(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
