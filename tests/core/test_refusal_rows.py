"""Refusals of known keys: ten rows per key, kind and minute, then a count."""

from proxy.core.refusal_rows import ROWS_PER_MINUTE, RefusalRows
from shared.events import Event
from tests.attempts import ADMITTED_US, make_event

MINUTE_US = 60_000_000


def _refusal(at_us: int = ADMITTED_US, key_id: str = "key-1", kind: str = "rate_limited") -> Event:
    return make_event(admitted_at=at_us, ended_at=at_us + 10, outcome="refused", key_id=key_id, error_kind=kind)


def test_the_first_ten_are_rows_and_the_rest_one_row_with_a_count() -> None:
    """The sum of `refusals` is what was refused."""
    rows = RefusalRows()
    refusals = [_refusal(ADMITTED_US + i) for i in range(1000)]

    written = [row for refusal in refusals for row in rows.add(refusal)]
    counted = rows.due(ADMITTED_US + MINUTE_US)

    assert written == refusals[:ROWS_PER_MINUTE]
    assert [(row.id, row.refusals, row.ended_at) for row in counted] == [(refusals[10].id, 990, ADMITTED_US + 1009)]
    assert rows.due(ADMITTED_US + 2 * MINUTE_US) == []


def test_the_count_waits_for_the_minutes_end() -> None:
    """Nothing is due while the minute runs, and nothing is left after shutdown's `rest`."""
    rows = RefusalRows()
    for _ in range(12):
        rows.add(_refusal())

    assert rows.due(ADMITTED_US + MINUTE_US - 1) == []
    assert [row.refusals for row in rows.rest()] == [2]
    assert rows.rest() == []


def test_keys_kinds_and_minutes_are_counted_apart() -> None:
    """Each has ten rows of its own; a new minute writes the former one's count."""
    rows = RefusalRows()
    for _ in range(11):
        rows.add(_refusal())

    assert len(rows.add(_refusal(key_id="key-2"))) == 1
    assert len(rows.add(_refusal(kind="cost_limited"))) == 1
    later = rows.add(_refusal(ADMITTED_US + MINUTE_US))
    assert [row.refusals for row in later] == [1, 1]
    assert later[0].admitted_at < later[1].admitted_at


def test_memory_is_bounded_and_an_evicted_count_is_written() -> None:
    """The key untouched for longest makes room."""
    rows = RefusalRows(most_windows=3)
    for _ in range(15):
        rows.add(_refusal(key_id="first"))
    for i in range(2):
        rows.add(_refusal(key_id=f"key-{i}"))

    evicting = rows.add(_refusal(key_id="one more"))

    assert [(row.key_id, row.refusals) for row in evicting] == [("one more", 1), ("first", 5)]


def test_a_refusal_that_ends_late_counts_into_the_current_minute() -> None:
    """Out of order by a moment: it neither restarts the former minute nor goes untold."""
    rows = RefusalRows()
    for _ in range(10):
        rows.add(_refusal(ADMITTED_US + MINUTE_US))

    assert rows.add(_refusal(ADMITTED_US + MINUTE_US - 1)) == []
    assert [row.refusals for row in rows.rest()] == [1]
