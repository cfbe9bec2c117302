"""What a worker remembers by itself: keys that have used up a window, and request counts while Redis is lost.

Both are bounded, and both are only ever as old as a window.
"""

from proxy.core.holds import Bucket
from proxy.core.limits import Denial, KeyLimits, Naming, refusal_for
from shared.records import Limit

_MOST_KEYS = 10_000
# A counter may be put right while its window lasts (a void, a rebuild): ask again now and then.
_LONGEST_MS = 60_000
_LONGEST_TOTAL_MS = 1_000


class RememberedRefusals:
    """Keys that were refused for a window that is used up."""

    def __init__(self) -> None:
        self._denials: dict[str, tuple[Denial, int]] = {}

    def remember(self, key_id: str, denial: Denial, spent: int, now_ms: int) -> None:
        """Keep a denial that holds for every call of the key, whatever it costs."""
        if denial.is_held or spent < denial.limit.amount:
            return
        if len(self._denials) >= _MOST_KEYS:
            del self._denials[next(iter(self._denials))]
        until_ms = min(denial.bucket.ends_ms, now_ms + _LONGEST_MS) or now_ms + _LONGEST_TOTAL_MS
        self._denials[key_id] = (denial, until_ms)

    def forget(self, key_id: str) -> None:
        """Something was given back."""
        self._denials.pop(key_id, None)

    def clear(self) -> None:
        """Redis's counters are others now."""
        self._denials.clear()

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._denials

    def refuse(self, key_id: str, limits: tuple[Limit, ...], now_ms: int) -> None:
        """Raise what is remembered, if its window lasts and its limit is still the same (its generation too)."""
        denial, until_ms = self._denials[key_id]
        if now_ms >= until_ms or denial.limit not in limits:
            del self._denials[key_id]
            return
        raise refusal_for(denial, now_ms)


class LocalRates:
    """Requests of keys without a budget, counted here while Redis is lost: each worker may admit its share."""

    def __init__(self, workers: int) -> None:
        self._workers = max(workers, 1)
        self._counts: dict[str, int] = {}

    def admit(self, key_limits: KeyLimits, naming: Naming) -> Denial | None:
        """Count one request, or say which limit is used up. All or nothing."""
        denied: tuple[Limit, Bucket] | None = None
        for limit, bucket in zip(key_limits.limits, naming.buckets, strict=True):
            share = max(limit.amount // self._workers, 1)
            if self._counts.get(bucket.name, 0) >= share and (denied is None or bucket.ends_ms > denied[1].ends_ms):
                denied = limit, bucket
        if denied is not None:
            return Denial(denied[0], denied[1], is_held=False)
        for bucket in naming.buckets:
            if len(self._counts) >= _MOST_KEYS and bucket.name not in self._counts:
                del self._counts[next(iter(self._counts))]
            self._counts[bucket.name] = self._counts.get(bucket.name, 0) + 1
        return None

    def clear(self) -> None:
        """Redis counts again."""
        self._counts.clear()
