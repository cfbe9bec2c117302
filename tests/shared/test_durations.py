"""Durations in Go's syntax, and days."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.durations import parse_duration, parse_seconds

MS, S, M, H, D = 1_000_000, 10**9, 60 * 10**9, 3600 * 10**9, 86_400 * 10**9


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("1ns", 1),
        ("1us", 1_000),
        ("1µs", 1_000),
        ("1μs", 1_000),
        ("500ms", 500 * MS),
        ("90s", 90 * S),
        ("10m", 10 * M),
        ("24h", 24 * H),
        ("2d", 2 * D),
        ("1h30m", 90 * M),
        ("1d2h3m4s5ms6us7ns", D + 2 * H + 3 * M + 4 * S + 5 * MS + 6_000 + 7),
        ("0.1s", 100 * MS),
        (".5s", 500 * MS),
        ("1.s", S),
        ("1.5h", 90 * M),
        ("0.1ns", 0),
        ("0.3333333333333333333s", 333_333_333),
        (" 5s ", 5 * S),
        ("1s1s", 2 * S),
        ("9223372036854775807ns", 2**63 - 1),
    ],
)
def test_a_duration_is_read_exactly(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "1.5",
        "s",
        "-5s",
        "+5s",
        "5 s",
        "5s 5m",
        "5sec",
        "1h30",
        "1e3s",
        "5S",
        ".s",
        "٥s",
        "1_0s",
        "s5",
        "1s" * 40,
    ],
)
def test_what_is_no_duration_is_refused_naming_it(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9223372036854775808ns", "300000d", "9" * 40 + "h"])
def test_a_duration_longer_than_gos_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="out of range"):
        parse_duration(text)


@given(st.integers(0, 2**63 - 1))
def test_every_whole_number_of_nanoseconds_is_exact(nanoseconds: int) -> None:
    seconds, rest = divmod(nanoseconds, S)

    assert parse_duration(f"{nanoseconds}ns") == nanoseconds
    assert parse_duration(f"{seconds}s{rest}ns") == nanoseconds
    assert parse_duration(f"{seconds}.{rest:09d}s") == nanoseconds


def test_seconds_are_for_timeouts() -> None:
    assert parse_seconds("1m500ms") == 60.5
    with pytest.raises(ValueError, match="not a duration"):
        parse_seconds("soon")
