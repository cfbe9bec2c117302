"""The real clock. Nothing else in the proxy's decisions reads one."""

import time


class SystemClock:
    """ports.Clock on this machine's clocks."""

    def now_ms(self) -> int:
        """Wall clock, Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def now_us(self) -> int:
        """Wall clock, Unix microseconds."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""
        return time.monotonic()
