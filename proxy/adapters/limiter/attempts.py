"""The attempts this worker has under way: their holds are renewed, and published again when Redis has lost them.

A hold lives 15 s. Most calls end before the first renewal, so an attempt is only looked at once it is old enough.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Literal

import msgspec

from proxy.adapters.limiter.scripts import RENEW, Epoch, Layout, Run
from proxy.core.holds import Bounds, Hold
from proxy.core.limits import RESOURCES, Count, decide, demand, needs_lane

Whose = Literal["limited", "unlimited", "unknown"]
"""An attempt of a limited key, of a key without limits, or not, or no longer, one of this worker's."""

RENEW_SECONDS = 5.0
_BATCH = 100


class Underway(msgspec.Struct, frozen=True, gc=False):
    """An attempt that was admitted and is not yet settled."""

    hold: Hold
    bounds: Bounds | None
    since: float
    """Monotonic seconds."""


class OpenAttempts:
    """By attempt id, oldest first."""

    def __init__(self) -> None:
        self._attempts: dict[str, Underway | None] = {}
        self._unlimited = 0

    def __len__(self) -> int:
        """Attempts that hold something: those of keys without limits are not among them."""
        return len(self._attempts) - self._unlimited

    def add(self, hold: Hold, bounds: Bounds | None, since: float) -> None:
        """An attempt of a limited key was admitted."""
        self._attempts[hold.order.attempt_id] = Underway(hold, bounds, since)

    def add_unlimited(self, attempt_id: str) -> None:
        """An attempt of a key without limits: only known by name, so that its settle is not taken for a replay."""
        self._attempts[attempt_id] = None
        self._unlimited += 1

    def take(self, attempt_id: str) -> Whose:
        """The attempt ends. What it was."""
        try:
            attempt = self._attempts.pop(attempt_id)
        except KeyError:
            return "unknown"
        if attempt is None:
            self._unlimited -= 1
            return "unlimited"
        return "limited"

    def key_ids(self) -> set[str]:
        """Limited keys that have something under way here."""
        return {attempt.hold.order.key_id for attempt in self._attempts.values() if attempt is not None}

    def runs(self, account_id: str, epoch: Epoch, since_before: float) -> Iterator[bytes]:
        """Packed renewals of what was admitted before then, for one account."""
        due = (
            attempt
            for attempt in list(self._attempts.values())
            if attempt is not None and attempt.since < since_before and attempt.hold.order.account_id == account_id
        )
        while batch := list(islice(due, _BATCH)):
            run = Run(RENEW, account_id, epoch, own_count=0)
            for attempt in batch:
                run.add(attempt.hold.order.attempt_id, "", _layout(attempt))
            yield run.packed()


def _layout(attempt: Underway) -> Layout:
    hold = attempt.hold
    amounts, lanes = _held(attempt)
    arguments: list[str | int] = [len(hold.order.buckets)]
    for place, bucket in enumerate(hold.order.buckets):
        amount = amounts[place] if place < len(amounts) else 0
        in_lane = place < len(lanes) and lanes[place]
        arguments += [RESOURCES[bucket.resource].code, bucket.ends_ms, amount, int(in_lane)]
    return Layout.of(hold.order.buckets, arguments)


def _held(attempt: Underway) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """What the script held, in each limit's bucket: the same decision on the same counts."""
    states = attempt.hold.states
    if attempt.hold.kind == "none" or not states:
        return (), ()
    counts = [Count(state.spent, state.held) for state in states]
    verdict = decide(
        [state.limit for state in states], [state.bucket.ends_ms for state in states], counts, attempt.bounds
    )
    asked = demand(attempt.bounds)
    lanes = tuple(
        verdict.kind == "lane"
        and state.limit.resource == "cost"
        and needs_lane(asked, state.limit.amount - state.spent - state.held)
        for state in states
    )
    return verdict.amounts, lanes
