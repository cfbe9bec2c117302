"""One source of figures, three families of headers."""

import pytest

from proxy.core.limits import RateState
from proxy.core.rate_headers import duration_text, rate_headers

RATE = RateState(limit=2, remaining=1, reset_epoch_seconds=1_700_000_040, reset_seconds=12, window="m")


def test_the_openai_dialect() -> None:
    """Epoch seconds in the contract's, durations in OpenAI's, delta seconds in IETF's."""
    assert dict(rate_headers(RATE, "openai_api")) == {
        b"x-ratelimit-limit": b"2",
        b"x-ratelimit-remaining": b"1",
        b"x-ratelimit-reset": b"1700000040",
        b"x-ratelimit-limit-requests": b"2",
        b"x-ratelimit-remaining-requests": b"1",
        b"x-ratelimit-reset-requests": b"12s",
        b"ratelimit-policy": b'"requests-m";q=2;w=60',
        b"ratelimit": b'"requests-m";r=1;t=12',
    }


def test_the_anthropic_dialect() -> None:
    """A moment as RFC 3339 writes it."""
    out = dict(rate_headers(RATE, "anthropic_api"))
    assert out[b"anthropic-ratelimit-requests-limit"] == b"2"
    assert out[b"anthropic-ratelimit-requests-remaining"] == b"1"
    assert out[b"anthropic-ratelimit-requests-reset"] == b"2023-11-14T22:14:00Z"
    assert out[b"ratelimit"] == b'"requests-m";r=1;t=12'
    assert b"x-ratelimit-limit-requests" not in out


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (1, "1s"), (59, "59s"), (60, "1m0s"), (360, "6m0s"), (50_000, "13h53m20s")]
)
def test_durations_are_written_as_openai_writes_them(seconds: int, text: str) -> None:
    """So that its clients read them."""
    assert duration_text(seconds) == text
