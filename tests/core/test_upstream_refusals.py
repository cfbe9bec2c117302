"""Whose no it is, and how long upstream wants to be left alone, from its status, headers and code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.upstream_refusals import (
    ASIDE_SECONDS,
    DEFAULT_SECONDS,
    LEAST_SECONDS,
    MOST_RESET_SECONDS,
    MOST_SECONDS,
    QUOTA_CODES,
    QUOTA_SECONDS,
    UpstreamRefusal,
    error_codes,
    read_refusal,
    told_seconds,
)

# Sat, 21 Nov 2026 12:00:00 GMT
NOW_MS = 1_795_262_400_000


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "30", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:20 GMT"}, 20),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:20 GMT"}, 0),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:20 GMT", "date": "Sat, 21 Nov 2026 12:00:05 GMT"}, 15),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan", "retry-after-ms": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"x-ratelimit-reset-requests": "12ms"}, 0.012),
        ({"x-ratelimit-reset-tokens": "7.66s"}, 7.66),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, MOST_RESET_SECONDS),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "26s"}, 26),
        # The one that is used up says it, not the one that is merely refilling.
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "26s",
          "x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "100"}, 1),
        ({"x-ratelimit-reset-requests": "1", "x-ratelimit-limit-requests": "60"}, 1),
        ({"x-ratelimit-reset-tokens": "-1"}, None),
        ({"x-ratelimit-reset": "1795262403"}, 3),
        ({"x-ratelimit-reset": "1795262404500"}, 4.5),
        ({"ratelimit-reset": "9"}, 9),
        ({"anthropic-ratelimit-requests-reset": "2026-11-21T12:00:11Z"}, 11),
        ({"anthropic-ratelimit-requests-reset": "2026-11-21T12:00:11Z",
          "anthropic-ratelimit-input-tokens-reset": "2026-11-21T13:00:31+01:00",
          "anthropic-ratelimit-requests-remaining": "4",
          "anthropic-ratelimit-input-tokens-remaining": "0"}, 31),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-21T11:59:00Z"}, 0),
        ({"anthropic-ratelimit-tokens-reset": "tomorrow"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-resettled": "9s"}, None),
    ],
)  # fmt: skip
def test_the_wait_that_headers_ask_for(headers: dict[str, str], seconds: float | None) -> None:
    """Whoever wrote them, and with whatever clock."""
    assert told_seconds(headers, NOW_MS) == (None if seconds is None else pytest.approx(seconds))


QUOTA_BODY = b'{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":null}}'
PACE_BODY = b'{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}'


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (401, {}, b"", UpstreamRefusal("credential", True, ASIDE_SECONDS)),
        (401, {"retry-after": "1"}, b"", UpstreamRefusal("credential", True, ASIDE_SECONDS)),
        (403, {}, b"", UpstreamRefusal("credential", False, ASIDE_SECONDS)),
        (429, {}, b"", UpstreamRefusal("rate", False, DEFAULT_SECONDS)),
        (429, {}, PACE_BODY, UpstreamRefusal("rate", False, DEFAULT_SECONDS)),
        (429, {"retry-after-ms": "3"}, PACE_BODY, UpstreamRefusal("rate", False, LEAST_SECONDS)),
        (429, {"retry-after": "20"}, PACE_BODY, UpstreamRefusal("rate", False, 20)),
        (429, {"retry-after": "86400"}, PACE_BODY, UpstreamRefusal("rate", False, MOST_SECONDS)),
        (429, {}, QUOTA_BODY, UpstreamRefusal("rate", True, QUOTA_SECONDS)),
        (429, {"retry-after": "20"}, QUOTA_BODY, UpstreamRefusal("rate", True, QUOTA_SECONDS)),
        (429, {"retry-after": "90"}, QUOTA_BODY, UpstreamRefusal("rate", True, 90)),
        (402, {}, b"", UpstreamRefusal("rate", True, QUOTA_SECONDS)),
    ],
)
def test_a_refusal_says_whose_it_is_and_for_how_long(
    status: int, headers: dict[str, str], body: bytes, expected: UpstreamRefusal
) -> None:
    """A credential is put aside, a pace rests for a model, money for everything."""
    assert read_refusal(status, headers, body, NOW_MS) == expected


@pytest.mark.parametrize("status", [200, 400, 404, 408, 409, 413, 422, 500, 502, 503, 504, 529])
def test_every_other_answer_says_nothing_of_the_credential(status: int) -> None:
    """Not even with the headers of one that does."""
    assert read_refusal(status, {"retry-after": "9"}, QUOTA_BODY, NOW_MS) is None


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (QUOTA_BODY, ("insufficient_quota",)),
        (b'{"type":"error","error":{"type":"rate_limit_error","details":{"error_code":"enforced_spend_limit_reached"}}}',
         ("rate_limit_error", "enforced_spend_limit_reached")),
        (b'{"error":{"code":429,"type":["x"],"details":[1]}}', ()),
        (b'{"error":"insufficient_quota"}', ()),
        (b"[]", ()),
        (b"null", ()),
        (b"\xff", ()),
        (b"[" * 100_000, ()),
        (b"[" * 10_000, ()),
        (b"<html>", ()),
        (b"", ()),
    ],
)  # fmt: skip
def test_codes_are_read_where_they_stand(body: bytes, codes: tuple[str, ...]) -> None:
    """And nothing that upstream may send instead breaks the call."""
    assert error_codes(body) == codes
    assert bool(QUOTA_CODES.intersection(codes)) == (body == QUOTA_BODY or "enforced_spend_limit_reached" in codes)


@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "date", "x-ratelimit-reset-tokens",
                         "anthropic-ratelimit-requests-reset", "x-ratelimit-remaining-tokens"]),
        st.text(max_size=30) | st.sampled_from(["1e400", "9" * 30, "0001-01-01", "9999-12-31T23:59:59-23:59",
                                                "Sat, 21 Nov 99999 12:00:00 GMT", "1_0", "٣"]),
    ),
    st.binary(max_size=50),
    st.sampled_from([401, 402, 403, 429]),
)  # fmt: skip
def test_no_header_breaks_a_call_or_puts_a_setting_to_sleep_for_long(
    headers: dict[str, str], body: bytes, status: int
) -> None:
    """Whatever upstream writes, the wait is within its bounds."""
    refusal = read_refusal(status, headers, body, NOW_MS)
    assert refusal is not None
    assert LEAST_SECONDS <= refusal.seconds <= MOST_SECONDS
