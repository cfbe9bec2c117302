"""Bodies in the journal: they never cost an event its place, on disk or in memory."""

from pathlib import Path

import pytest

from proxy.adapters.journal import DiskJournal
from proxy.core import journal as records
from shared.events import Event, event_decoder
from tests.attempts import ADMITTED_US, make_attempt, make_event, make_order
from tests.journal_rig import ManualClock, files_limited_to, opened_ids

KIB = 1 << 10
BODIES = {"request": b"q" * (64 * KIB), "response": b"\x00\xff" * (32 * KIB)}


def journal_in(root: Path, **over: int) -> DiskJournal:
    arguments = {"max_bytes": 1 << 30} | over
    return DiskJournal(root, "worker-1", ManualClock(ADMITTED_US), lambda _: None, **arguments)


def waiting(journal: DiskJournal) -> list[Event]:
    """Every event that waits to be shipped, oldest first."""
    events: list[Event] = []
    while batch := journal.backlog.next_batch():
        events += map(event_decoder.decode, batch.documents)
        journal.backlog.acknowledge(batch)
    return events


def is_bare(event: Event) -> bool:
    """Without bodies, and saying so."""
    return not event.request and not event.response and event.is_request_cut and event.is_response_cut


async def test_bodies_come_back_as_they_were(tmp_path: Path) -> None:
    """From disk, in the order of the calls."""
    journal = journal_in(tmp_path)
    events = [make_event(**BODIES), make_event(), make_event(response=b"\x00")]
    for event in events:
        journal.close(event, make_order(event))

    assert waiting(journal) == events
    assert journal.lost == 0


async def test_past_half_of_the_room_only_events_are_kept(tmp_path: Path) -> None:
    """What Postgres does not take must not turn calls away for what was said in them."""
    journal = journal_in(tmp_path, max_bytes=4 << 20)
    events = [make_event(**BODIES) for _ in range(200)]
    for event in events:
        journal.close(event, None)

    assert journal.bytes_on_disk < 3 << 20
    kept = waiting(journal)
    assert [event.id for event in kept] == [event.id for event in events]
    with_bodies = [event for event in kept if event.request]
    assert 5 < len(with_bodies) < 50
    assert kept[: len(with_bodies)] == events[: len(with_bodies)]
    assert all(map(is_bare, kept[len(with_bodies) :]))


async def test_a_disk_that_takes_the_event_but_not_its_bodies(tmp_path: Path) -> None:
    """The event is on disk, in its place, and nothing fails."""
    journal = journal_in(tmp_path)
    with files_limited_to(100 * KIB):
        journal.close(make_event(**BODIES), None)
        depth, size = journal.depth, journal.bytes_on_disk

    assert (depth, journal.lost) == (1, 0)
    assert 0 < size < 10 * KIB
    (event,) = waiting(journal)
    assert is_bare(event)


async def test_memory_keeps_events_without_bodies(tmp_path: Path) -> None:
    """With no disk at all, room for thousands of calls stays room for thousands."""
    journal = journal_in(tmp_path, memory_bytes=1 << 20)
    events = [make_event(**BODIES) for _ in range(500)]
    with files_limited_to(0):
        for event in events:
            journal.close(event, None)

        assert (journal.depth, journal.lost) == (500, 0)
    kept = waiting(journal)
    assert [event.id for event in kept] == [event.id for event in events]
    assert all(map(is_bare, kept))
    assert events[0].request == BODIES["request"]  # the caller's own event is as it was


async def test_a_counted_refusal_keeps_no_bodies(tmp_path: Path) -> None:
    """Ten rows with what was asked; the one that stands for the others has none, in memory nor on disk."""
    journal = journal_in(tmp_path)
    for _ in range(15):
        journal.record_refusal(make_event(outcome="refused", error_kind="rate_limited", request=b"please"))
    journal.flush_refusals()

    assert [(event.refusals, event.request) for event in waiting(journal)] == [(1, b"please")] * 10 + [(5, b"")]


async def test_an_open_has_no_bodies(tmp_path: Path) -> None:
    """Its heir bills the call and knows nothing of what was said."""
    journal = journal_in(tmp_path)
    attempt = make_attempt(**BODIES)
    journal.open(attempt)

    assert journal.bytes_on_disk < 2 * KIB
    assert opened_ids(journal.folder.path) == {attempt.event.id}
    assert attempt.event.request == BODIES["request"]


@pytest.mark.parametrize("text", ["short", "m" * 100_000])
def test_texts_and_bodies_are_cut_each_for_itself(text: str) -> None:
    """Bodies of the largest setting stay beside an event's texts, which are cut as if there were none."""
    event = make_event(requested_model=text, request=b"q" * (1024 * KIB), response=b"\xff" * (1024 * KIB))

    found = event_decoder.decode(records.encode_event(event))

    assert (found.request, found.response) == (event.request, event.response)
    assert found.requested_model == text[: records.LONGEST_TEXT]
    assert not found.is_request_cut


@pytest.mark.parametrize("size", [6 << 20, 9 << 20])
def test_what_no_record_can_hold_loses_its_bodies_never_the_event(size: int) -> None:
    """Marked; and whatever was written can be read back."""
    event = make_event(request=b"q" * size, response=b"a" * size, custom_id="\ud800\x00")

    (frame,) = records.split_frames(records.encode_close(event, make_order(event))).frames

    closed = records.decode_close(frame.payload)
    found = event_decoder.decode(closed.document)
    assert (found.id, found.charged_cost_nano) == (event.id, event.charged_cost_nano)
    assert is_bare(found)
    assert closed.order == make_order(event)
