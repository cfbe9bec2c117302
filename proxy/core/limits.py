"""Limits: which counters a key's limits mean at a moment, what a reservation decides, and how a no is told.

The rules only: no Redis, no clock; time is Redis's Unix milliseconds and comes as an argument. `decide` states what
`adapters/limiter/reserve.lua` does in one atomic step; a property test holds the two together (design §6).
A new window is a row of WINDOWS, a new resource a row of RESOURCES and its branch in `decide` and the script.
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from proxy.core.holds import Bounds, Bucket, BucketState, HoldKind
from shared.errors import Refusal
from shared.records import Limit, Resource, Window

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOREVER_MS = 1 << 50


def _every(seconds: int) -> Callable[[int], tuple[int, int]]:
    size = seconds * 1000

    def window(now_ms: int) -> tuple[int, int]:
        start = now_ms - now_ms % size
        return start, start + size

    return window


def _month(now_ms: int) -> tuple[int, int]:
    now = _EPOCH + timedelta(milliseconds=now_ms)
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (start + timedelta(days=32)).replace(day=1)
    millisecond = timedelta(milliseconds=1)
    return (start - _EPOCH) // millisecond, (end - _EPOCH) // millisecond


WINDOWS: dict[Window, Callable[[int], tuple[int, int]]] = {
    "s": _every(1),
    "m": _every(60),
    "h": _every(3_600),
    "d": _every(86_400),
    "mo": _month,
    "total": lambda _now_ms: (0, 0),
}
"""Window -> (start, end) of the one `now_ms` lies in: fixed, UTC calendar aligned (contract §3.6). End 0: never."""


class ResourceRule(msgspec.Struct, frozen=True, gc=False):
    """How a resource is counted and refused."""

    code: str
    """How the scripts call it."""
    used_up: str
    """Refusal kind when a window of it is used up."""
    used_up_for_good: str
    """Refusal kind when the total of it is used up."""


RESOURCES: dict[Resource, ResourceRule] = {
    "requests": ResourceRule("r", "rate_limited", "rate_limited"),
    "cost": ResourceRule("c", "cost_limited", "key_exhausted"),
}
"""What is enforced. The admin plane refuses a limit on anything else; a key that has one is closed, not open."""

_MESSAGES = {
    "rate_limited": "too many requests",
    "cost_limited": "too many requests",
    "cost_held": "too many requests",
    "key_exhausted": "key has used up its cost limit",
}


def lifetime_bucket(account_id: str, key_id: str) -> Bucket:
    """The counter of all a key ever spent. Settled for every key, so that a limit added later knows what was spent.

    Its name has no generation: a PATCH of the lifetime limit moves the limit, not the spend.
    """
    return Bucket(f"weir:{{{account_id}}}:key:{key_id}:cost:total", "cost", 0)


class Naming(msgspec.Struct, frozen=True, gc=False):
    """A key's buckets by name, valid while `from_ms` <= Redis's time < `until_ms`."""

    from_ms: int
    until_ms: int
    buckets: tuple[Bucket, ...]
    """One for each limit, in the limits' order."""
    order_buckets: tuple[Bucket, ...]
    """The same, and the lifetime cost if no limit is on it: what a settle touches."""


class KeyLimits(msgspec.Struct, frozen=True, gc=False):
    """A key's limits, compiled: the request only appends the window's start to the prefixes."""

    limits: tuple[Limit, ...]
    prefixes: tuple[str, ...]
    lifetime: Bucket

    def name(self, now_ms: int) -> Naming:
        """The buckets that are current at `now_ms`."""
        first, last = 0, _FOREVER_MS
        buckets: list[Bucket] = []
        for limit, prefix in zip(self.limits, self.prefixes, strict=True):
            if not prefix:
                buckets.append(self.lifetime)
                continue
            start, end = WINDOWS[limit.window](now_ms)
            first, last = max(first, start), min(last, end or _FOREVER_MS)
            buckets.append(Bucket(f"{prefix}{start}", limit.resource, end))
        named = tuple(buckets)
        return Naming(first, last, named, named if self.lifetime in named else (*named, self.lifetime))


def compile_limits(account_id: str, key_id: str, limits: tuple[Limit, ...]) -> KeyLimits:
    """The limits of one key. Every name carries the Redis Cluster tag `{account}`.

    Raises Refusal key_closed when one of them is on a resource that this version does not enforce.
    """
    if any(limit.resource not in RESOURCES for limit in limits):
        raise Refusal("key_closed", "key has a limit that this version cannot enforce")
    scope = f"weir:{{{account_id}}}:key:{key_id}"
    prefixes = tuple(
        "" if is_lifetime(limit) else f"{scope}:{limit.resource}:{limit.id}.{limit.generation}:" for limit in limits
    )
    return KeyLimits(limits, prefixes, lifetime_bucket(account_id, key_id))


def is_lifetime(limit: Limit) -> bool:
    """True for the limit on all that a key may ever spend."""
    return limit.resource == "cost" and limit.window == "total"


class Count(msgspec.Struct, frozen=True, gc=False):
    """A counter as a reservation finds it."""

    spent: int
    held: int = 0
    """Sum of the live holds."""
    is_lane_taken: bool = False


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a reservation decides, over all limits of the key at once."""

    kind: HoldKind | None
    """None: refused."""
    amounts: tuple[int, ...] = ()
    """What is held in each limit's bucket; 0 for limits that are not on cost."""
    denied: int = -1
    """Index of the limit that refuses."""
    is_held: bool = False
    """Refused only because money is held by calls in flight: worth trying again soon."""


def demand(bounds: Bounds | None) -> Bounds:
    """The bounds as they are decided on. None is a call that costs nothing.

    A call that may cost something needs at least one nano-USD to be there, and never holds less than its least.
    """
    if bounds is None:
        return _NOTHING
    if bounds.worst_nano >= bounds.least_nano > 0:
        return bounds
    least = max(bounds.least_nano, 1) if bounds.worst_nano or bounds.is_unbounded else bounds.least_nano
    return Bounds(max(bounds.worst_nano, least), least, bounds.clamp_nano, bounds.is_unbounded)


_NOTHING = Bounds(0, 0, None)


def decide(limits: Sequence[Limit], ends_ms: Sequence[int], counts: Sequence[Count], bounds: Bounds | None) -> Verdict:
    """Admit or refuse one attempt (design §6).

    * Refused when something is used up: spent + least > limit; of several, the one that lasts longest is told.
    * Refused for a moment when spent + live holds + least > limit.
    * Held: the worst case where it fits everywhere; else what is available, if that is worth clamping the output to;
      else in the lane, which only one attempt of a budget may be in. A lane hold counts for what is available or its
      worst case, whichever is less, so the holds never exceed the limit and only one attempt can cost more than held.
    """
    asked = demand(bounds)
    available = [limit.amount - count.spent - count.held for limit, count in zip(limits, counts, strict=True)]
    is_cost = [limit.resource == "cost" for limit in limits]
    used_up = [
        i
        for i, (limit, count) in enumerate(zip(limits, counts, strict=True))
        if (asked.least_nano if is_cost[i] else 1) > limit.amount - count.spent
    ]
    if used_up:
        return Verdict(None, denied=max(used_up, key=lambda i: (ends_ms[i] or _FOREVER_MS, -i)))
    budgets = [i for i in range(len(limits)) if is_cost[i]]
    for i in budgets:
        if asked.least_nano > available[i]:
            return Verdict(None, denied=i, is_held=True)
    if not budgets or bounds is None:
        return Verdict("none", tuple(0 for _ in limits))
    room = min(available[i] for i in budgets)
    if not asked.is_unbounded and asked.worst_nano <= room:
        return Verdict("backed", tuple(asked.worst_nano if cost else 0 for cost in is_cost))
    if not asked.is_unbounded and asked.clamp_nano is not None and asked.clamp_nano <= room:
        return Verdict("clamped", tuple(room if cost else 0 for cost in is_cost))
    for i in budgets:
        if counts[i].is_lane_taken and needs_lane(asked, available[i]):
            return Verdict(None, denied=i, is_held=True)
    return Verdict("lane", tuple(min(asked.worst_nano, available[i]) if is_cost[i] else 0 for i in range(len(limits))))


def needs_lane(asked: Bounds, available_nano: int) -> bool:
    """True when an attempt in the lane is unbacked in a budget that has so much available."""
    return asked.is_unbounded or asked.worst_nano > available_nano


class Denial(msgspec.Struct, frozen=True, gc=False):
    """A limit that said no."""

    limit: Limit
    bucket: Bucket
    is_held: bool

    @property
    def kind(self) -> str:
        """The Refusal's kind."""
        if self.is_held:
            return "cost_held"
        rule = RESOURCES[self.limit.resource]
        return rule.used_up_for_good if self.limit.window == "total" else rule.used_up


class RateState(msgspec.Struct, frozen=True, gc=False):
    """The figures of the rate headers."""

    limit: int
    remaining: int
    """After this request."""
    reset_epoch_seconds: int
    reset_seconds: int
    """Time until then."""
    window: Window


class LimitRefusal(Refusal):
    """A limit says no."""

    def __init__(self, kind: str, message: str, retry_after: float | None, rate: RateState | None) -> None:
        super().__init__(kind, message, retry_after)
        self.rate = rate
        """For the rate headers; None where the limit is not on requests."""


def refusal_for(denial: Denial, now_ms: int) -> Refusal:
    """What the caller is told: contract §4.4's message; when it makes sense to try again, to the whole second."""
    kind = denial.kind
    retry_after: float | None = None
    if denial.is_held:
        retry_after = 1
    elif denial.bucket.ends_ms:
        retry_after = max(1, math.ceil((denial.bucket.ends_ms - now_ms) / 1000))
    rate: RateState | None = None
    if denial.limit.resource == "requests" and denial.bucket.ends_ms:
        rate = _rate_state(denial.limit, denial.bucket, 0, now_ms)
    return LimitRefusal(kind, _MESSAGES[kind], retry_after, rate)


def tightest_rate(states: Sequence[BucketState], now_ms: int) -> RateState | None:
    """The limit on requests with the fewest left; of equals the one that resets last. None: there is none."""
    tightest: tuple[int, int, BucketState] | None = None
    for state in states:
        if state.limit.resource != "requests" or not state.bucket.ends_ms:
            continue
        found = (max(0, state.limit.amount - state.spent - 1), -state.bucket.ends_ms, state)
        if tightest is None or found[:2] < tightest[:2]:
            tightest = found
    if tightest is None:
        return None
    remaining, _, state = tightest
    return _rate_state(state.limit, state.bucket, remaining, now_ms)


def _rate_state(limit: Limit, bucket: Bucket, remaining: int, now_ms: int) -> RateState:
    seconds = max(0, math.ceil((bucket.ends_ms - now_ms) / 1000))
    return RateState(limit.amount, remaining, bucket.ends_ms // 1000, seconds, limit.window)
