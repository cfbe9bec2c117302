"""What a dead worker's attempts are billed: its records in, events out (design §7).

An open without a close had reached upstream or was about to: it is billed at prompt bound + progress. Every heir that
reads the same records makes the same events, so that repeating a recovery changes nothing. Pure.
"""

import msgspec

from proxy.core import journal as records
from proxy.core.holds import SettleOrder
from shared.events import Event
from shared.money import cost_nano

_DIED = 500


class _Unclosed(msgspec.Struct):
    attempt: records.OpenAttempt
    output_tokens: int = 0
    last_us: int = 0


class Recovery:
    """The attempts of one journal that have no close; fed with its records in their order."""

    def __init__(self) -> None:
        self._unclosed: dict[str, _Unclosed] = {}

    def feed(self, frame: records.Frame) -> None:
        """Follow one record. Raises msgspec.MsgspecError when it cannot be read."""
        if frame.kind == records.OPEN:
            attempt = records.decode_open(frame.payload)
            # Written again when its first segment was to go: what is known of its progress stays.
            self._unclosed.setdefault(attempt.event.id, _Unclosed(attempt))
        elif frame.kind == records.PROGRESS:
            told = records.decode_progress(frame.payload)
            unclosed = self._unclosed.get(told.attempt_id)
            if unclosed is not None:
                unclosed.output_tokens = max(unclosed.output_tokens, told.output_tokens)
                unclosed.last_us = max(unclosed.last_us, told.at_us)
        elif frame.kind == records.CLOSE:
            self._unclosed.pop(records.attempt_of(frame.payload), None)

    def events(self) -> list[tuple[SettleOrder, Event]]:
        """What to write for the attempts that were under way, and what settles them."""
        return [
            (one.attempt.order, recovered_event(one.attempt, one.output_tokens, one.last_us))
            for one in self._unclosed.values()
        ]


def recovered_event(attempt: records.OpenAttempt, output_tokens: int, last_us: int) -> Event:
    """The event of an attempt whose worker died. `last_us`: the time of its last record, Unix microseconds.

    Its status is 500: the caller got no answer, or half of one, and the fault was ours. Not 499, which would say that
    the caller left, and not the 200 that a stream may have begun with, which would count it among the successes.
    """
    opened = attempt.event
    cost = attempt.prompt_cost_nano
    if cost is not None:
        cost += cost_nano([(output_tokens, attempt.output_price)])
    ended_at = max(opened.admitted_at, opened.ended_at, last_us)
    return msgspec.structs.replace(
        opened,
        outcome="recovered",
        status=_DIED,
        is_estimated=True,
        ended_at=ended_at,
        latency_us=ended_at - opened.admitted_at,
        output_tokens=output_tokens,
        # What is served free although its price is not known has a charge but no list cost.
        list_cost_nano=None if opened.list_cost_nano is None else cost,
        charged_cost_nano=cost,
    )
