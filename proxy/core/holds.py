"""What a reservation holds and how it is settled: the records that gateway, counters and journal share.

A bucket is one limit in one window: one counter. A hold is one attempt's claim on every bucket of its scopes, placed
before upstream is called and settled after, by attempt id, as often as need be (design §6). Pure data.
"""

from typing import Literal

import msgspec

from shared.records import Limit, Resource


class Bucket(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One limit in one window."""

    name: str
    """The counter's key in Redis."""
    resource: Resource
    ends_ms: int
    """Redis's Unix milliseconds at which the window ends. 0: never."""


class BucketState(msgspec.Struct, frozen=True, gc=False):
    """What the counter said when the reservation was decided, this attempt not included."""

    limit: Limit
    bucket: Bucket
    spent: int
    held: int


class Bounds(msgspec.Struct, frozen=True, gc=False):
    """What one call can cost, in nano-USD. Only made for keys with a limit on cost."""

    worst_nano: int
    """Prompt bound + output cap, at the dearest class the body can trigger, at the dearest candidate."""
    least_nano: int
    """The least that any answer can cost: refused only if spent + live holds + this > limit."""
    clamp_nano: int | None
    """The smallest hold worth clamping the output cap to; None: the cap cannot be clamped."""
    is_unbounded: bool = False
    """The worst case does not follow from the bytes (image URLs, file ids ...): always the lane."""


class SettleOrder(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Everything needed to settle or void an attempt, by whoever does it: kept in the journal."""

    attempt_id: str
    account_id: str
    key_id: str
    admitted_ms: int
    """Redis's clock where Redis was asked, else ours."""
    buckets: tuple[Bucket, ...]
    """Every bucket of the attempt; the key's lifetime cost is always one of them, limited or not."""


HoldKind = Literal["none", "backed", "clamped", "lane"]


class Hold(msgspec.Struct, gc=False):
    """An attempt that was admitted."""

    order: SettleOrder
    kind: HoldKind
    """none: no limit on cost. backed: the worst case is held. clamped: less is held, cap the output to it.
    lane: unbacked, the only such one of its budget."""
    held_nano: int
    states: tuple[BucketState, ...]
    """For the rate headers; empty for a key without limits."""
