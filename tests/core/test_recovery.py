"""What the attempts of a dead worker are billed."""

import pytest

from proxy.core import journal as records
from proxy.core.recovery import Recovery
from shared.events import Event
from tests.attempts import ADMITTED_US, make_attempt, make_event, make_order


def _recover(*frames: bytes) -> list[Event]:
    recovery = Recovery()
    for frame in records.split_frames(b"".join(frames)).frames:
        recovery.feed(frame)
    return [event for _, event in recovery.events()]


# prompt's cost, nano-USD per million output tokens, output tokens seen -> cost
COSTS = [
    (1_000, 600_000_000, 0, 1_000),
    (1_000, 600_000_000, 7, 1_000 + 4_200),
    (1_000, 500_000, 1, 1_001),  # half up: 0.5
    (1_000, 499_999, 1, 1_000),
    (0, 75_000_000_000, 1_000_000, 75_000_000_000),
    (None, 0, 7, None),
]


@pytest.mark.parametrize(("prompt", "price", "tokens", "cost"), COSTS)
def test_an_open_without_close_costs_prompt_bound_and_progress(
    prompt: int | None, price: int, tokens: int, cost: int | None
) -> None:
    """To the nano-USD; an unknown price stays unknown."""
    attempt = make_attempt(prompt, price)
    last = ADMITTED_US + 3_000_000

    (event,) = _recover(
        records.encode_open(attempt),
        records.encode_progress(records.Progress(attempt.event.id, tokens, last)),
    )

    assert (event.list_cost_nano, event.charged_cost_nano, event.output_tokens) == (cost, cost, tokens)
    assert (event.outcome, event.is_estimated, event.input_tokens) == ("recovered", True, 10)
    assert event.status == 500
    assert (event.ended_at, event.latency_us) == (last, 3_000_000)


def test_a_close_ends_the_attempt() -> None:
    """Nothing is recovered of what was closed, with or without something to settle."""
    first, second, third = make_attempt(), make_attempt(), make_attempt()

    events = _recover(
        records.encode_open(first),
        records.encode_open(second),
        records.encode_open(third),
        records.encode_close(make_event(id=first.event.id), make_order(first.event)),
        records.encode_close(make_event(id=third.event.id), None),
    )

    assert [event.id for event in events] == [second.event.id]


def test_the_same_event_comes_of_the_records_before_and_after_they_were_moved() -> None:
    """A long attempt's open is written again, its progress too: neither resets nor doubles anything."""
    attempt = make_attempt()
    opened = records.encode_open(attempt)
    told = [
        records.encode_progress(records.Progress(attempt.event.id, tokens, ADMITTED_US + tokens)) for tokens in (5, 9)
    ]

    whole = _recover(opened, told[0], told[1], opened, told[1])

    assert whole == _recover(opened, told[1]) == _recover(told[0], opened, told[1]) == _recover(opened, told[1], opened)
    assert whole[0].output_tokens == 9


def test_what_is_served_free_without_a_known_price_has_no_list_cost() -> None:
    """Its charge is 0, its list cost unknown: the recovered event keeps that."""
    attempt = make_attempt(0, 0, list_cost_nano=None)

    (event,) = _recover(records.encode_open(attempt))

    assert (event.list_cost_nano, event.charged_cost_nano) == (None, 0)
