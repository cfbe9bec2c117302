"""The journal's records: framing, damage, and values that a store would refuse."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import journal as records
from shared.events import event_decoder
from tests.attempts import make_attempt, make_event, make_order


def _some_frames() -> list[bytes]:
    event = make_event()
    attempt = make_attempt()
    return [
        records.encode_open(attempt),
        records.encode_progress(records.Progress(attempt.event.id, 7, 1)),
        records.encode_close(event, make_order(event)),
        records.encode_close(make_event(outcome="refused"), None),
    ]


def test_records_come_back_as_they_were_written() -> None:
    """Each kind decodes to what was encoded; a close keeps its event as ready JSON."""
    attempt, event = make_attempt(), make_event(tags=("a", "b"), metadata='{"x": "é"}')
    progress = records.Progress(event.id, 42, 99)
    data = (
        records.encode_open(attempt)
        + records.encode_progress(progress)
        + records.encode_close(event, make_order(event))
    )

    frames, end, rest = records.split_frames(data)

    assert [frame.kind for frame in frames] == [records.OPEN, records.PROGRESS, records.CLOSE]
    assert (end, rest) == (len(data), "none")
    assert records.decode_open(frames[0].payload) == attempt
    assert records.decode_progress(frames[1].payload) == progress
    closed = records.decode_close(frames[2].payload)
    assert event_decoder.decode(closed.document) == event
    assert (closed.order, closed.cost_nano) == (make_order(event), event.charged_cost_nano)
    assert records.attempt_of(frames[2].payload) == event.id


def test_a_tail_cut_at_any_byte_loses_nothing_before_it() -> None:
    """Whatever the offset of the cut, every record that is whole before it is read, and no other."""
    frames = _some_frames()
    data = b"".join(frames)
    ends = [sum(map(len, frames[: count + 1])) for count in range(len(frames))]

    for cut in range(len(data) + 1):
        found = records.split_frames(data[:cut])

        whole = sum(end <= cut for end in ends)
        assert len(found.frames) == whole
        assert found.end == ([0, *ends][whole])
        assert found.rest == ("none" if cut in (0, *ends) else "cut")


def test_a_flipped_bit_ends_the_segment_there() -> None:
    """No byte of a record can change unnoticed."""
    frames = _some_frames()
    first = len(frames[0])
    dice = random.Random(7)

    for _ in range(500):
        data = bytearray(b"".join(frames))
        position = dice.randrange(first, first + len(frames[1]))
        data[position] ^= 1 << dice.randrange(8)
        found = records.split_frames(bytes(data))

        assert len(found.frames) == 1
        assert found.rest != "none"


def test_zeros_after_a_crash_of_the_machine_are_no_records() -> None:
    """A file system may leave zeros at the end; length 0 with checksum 0 would look like a record."""
    frame = _some_frames()[0]

    found = records.split_frames(frame + bytes(64))

    assert (len(found.frames), found.end, found.rest) == (1, len(frame), "damaged")


def test_offsets_count_from_the_base() -> None:
    """Bytes read from the middle of a segment give offsets in the segment."""
    frame = _some_frames()[0]

    found = records.split_frames(frame * 2, base=1000)

    assert [one.end for one in found.frames] == [1000 + len(frame), 1000 + 2 * len(frame)]


HARMFUL = [
    pytest.param({"custom_id": "a\x00b"}, {"custom_id": "a\ufffdb"}, id="nul"),
    pytest.param({"metadata": "\ud800x"}, {"metadata": "?x"}, id="lone surrogate"),
    pytest.param({"tags": ("\x00", "ok")}, {"tags": ("\ufffd", "ok")}, id="in a tag"),
    pytest.param({"charged_cost_nano": 10**30}, {"charged_cost_nano": 2**53}, id="beyond 64 bits"),
    pytest.param({"custom_id": "\\u0000"}, {"custom_id": "\\u0000"}, id="a text that only looks like nul"),
]


@pytest.mark.parametrize(("harmful", "harmless"), HARMFUL)
def test_what_a_store_would_refuse_is_made_harmless(harmful: dict[str, object], harmless: dict[str, object]) -> None:
    """Open and close of such an event are written all the same."""
    event = make_event(**harmful)
    expected = msgspec.structs.replace(event, **harmless)

    closed = records.decode_close(records.split_frames(records.encode_close(event, None)).frames[0].payload)

    assert event_decoder.decode(closed.document) == expected
    assert b"\\u0000" not in closed.document.replace(b"\\\\u0000", b"")
    attempt = make_attempt(**harmful)
    opened = records.decode_open(records.split_frames(records.encode_open(attempt)).frames[0].payload)
    assert opened.order == attempt.order
    assert records.encode_event(opened.event)


def test_a_callers_endless_text_is_cut() -> None:
    """A model name of megabytes must not fill the journal; the event's figures stay."""
    event = make_event(requested_model="m" * 5_000_000)

    document = records.encode_event(event)

    assert len(document) < records.LARGEST_EVENT
    assert event_decoder.decode(document).charged_cost_nano == event.charged_cost_nano
    assert len(records.encode_open(make_attempt(path="/" + "p" * 5_000_000))) < records.LARGEST_EVENT


@given(st.text(st.characters(exclude_categories=())), st.integers())
def test_every_event_can_be_encoded(text: str, number: int) -> None:
    """No text and no number stops an event; what is written is JSON in UTF-8 without NUL."""
    event = make_event(custom_id=text, metadata=text, output_tokens=number, charged_cost_nano=number)

    closed = records.decode_close(records.encode_close(event, make_order(event))[records.HEAD_BYTES :])

    decoded = event_decoder.decode(closed.document.decode("utf-8"))
    assert "\x00" not in decoded.custom_id
    assert decoded.charged_cost_nano == closed.cost_nano


def test_documents_join_to_one_array() -> None:
    """What is shipped is the documents as they are."""
    events = [make_event(), make_event()]

    batch = records.join_documents([records.encode_event(event) for event in events])

    assert msgspec.json.decode(batch, type=list[type(events[0])]) == events


def test_only_the_wanted_kind_is_read() -> None:
    """The shipper passes over opens and progress; offsets stay those of the segment."""
    frames = _some_frames()
    data = b"".join(frames)

    found = records.split_frames(data + b"half", base=10, only=records.CLOSE)

    assert [frame.kind for frame in found.frames] == [records.CLOSE, records.CLOSE]
    assert [frame.end for frame in found.frames] == [10 + len(data) - len(frames[3]), 10 + len(data)]
    assert (found.end, found.rest) == (10 + len(data), "cut")
