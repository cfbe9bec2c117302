"""What this worker knows of its Redis: the connection, Redis's clock, and whether it is worth asking (the breaker)."""

import asyncio

import hiredis

from proxy.adapters.limiter.link import RedisLink, Reply
from proxy.ports import Clock

FAILURES_TO_OPEN = 3
# Redis's clock is estimated from the least delayed reply; one that lags by more is a step, not a delay.
_STEP_MS = 100

# The server's own state, not the command: another connection or another moment may do.
_SERVER_ERRORS = (
    "NOSCRIPT", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "OOM", "MISCONF",
    "BUSY", "NOAUTH", "NOPERM", "NOREPLICAS",
)  # fmt: skip


class Store:
    """One worker's view of Redis."""

    def __init__(self, link: RedisLink, clock: Clock, timeout_seconds: float) -> None:
        self.link = link
        self.timeout_seconds = timeout_seconds
        """Longest wait on the request's path."""
        self.wake = asyncio.Event()
        """Set when something is wrong that the monitor should look at now."""
        link.on_lost = self.wake.set
        self._clock = clock
        self._offset_ms: float | None = None
        self._failures = FAILURES_TO_OPEN

    @property
    def is_usable(self) -> bool:
        """Worth asking on the request's path. False while the breaker is open or nothing is connected."""
        return self._failures < FAILURES_TO_OPEN and self.link.is_up

    def now_ms(self) -> int:
        """Redis's clock as far as it is known, else ours."""
        if self._offset_ms is None:
            return self._clock.now_ms()
        return int(self._clock.monotonic() * 1000 + self._offset_ms)

    def heard(self, now_ms: int, is_exact: bool = False) -> None:
        """A reply carried Redis's time. `is_exact`: believe it though it is behind what was believed."""
        offset = now_ms - self._clock.monotonic() * 1000
        known = self._offset_ms
        if known is None or offset > known or is_exact or known - offset > _STEP_MS:
            self._offset_ms = offset

    def succeeded(self) -> None:
        """An answer came in time: the breaker closes."""
        self._failures = 0

    def failed(self, is_certain: bool = False) -> None:
        """No answer came in time. The third in a row, or one after which nothing can come, opens the breaker."""
        self._failures = FAILURES_TO_OPEN if is_certain else self._failures + 1
        if self._failures >= FAILURES_TO_OPEN:
            self.wake.set()

    def is_poison(self, reply: Reply) -> bool:
        """A reply that would be the same again: the fault is in what was sent. Drops the connection otherwise.

        For replies that are exceptions only.
        """
        if isinstance(reply, hiredis.ReplyError):
            if not str(reply).startswith(_SERVER_ERRORS):
                return True
            self.link.drop()
        self.failed(is_certain=True)
        return False
