"""Which refusals of a known key become rows: the first ten per key, kind and minute, then one row with a count.

So a caller who hammers a closed door writes little, and nothing that was refused goes untold (design §7). Pure: the
minute is the event's own. It must not know where rows go.
"""

from collections import OrderedDict

import msgspec

from shared.events import Event, without_bodies

ROWS_PER_MINUTE = 10
MOST_WINDOWS = 10_000
"""Windows remembered at once; the one longest untouched is counted out when there are more."""

_MINUTE_US = 60_000_000


class _Window(msgspec.Struct):
    minute: int
    rows: int = 0
    first: Event | None = None
    """The first refusal that was not a row of its own: the counted row is this one, with a count and no bodies."""
    counted: int = 0
    last_us: int = 0


class RefusalRows:
    """The windows of one worker."""

    def __init__(self, most_windows: int = MOST_WINDOWS) -> None:
        self._most_windows = most_windows
        self._windows: OrderedDict[tuple[str, str], _Window] = OrderedDict()

    def add(self, event: Event) -> list[Event]:
        """Count one refusal in. The rows to write now: none, this one, or a count that has become final."""
        name = (event.key_id, event.error_kind)
        minute = event.admitted_at // _MINUTE_US
        rows: list[Event] = []
        window = self._windows.get(name)
        if window is None or window.minute < minute:
            rows = _counted(window)
            window = self._windows[name] = _Window(minute)
        # Requests end out of order: a refusal of the minute before counts into the current one.
        self._windows.move_to_end(name)
        if window.rows < ROWS_PER_MINUTE:
            window.rows += 1
            rows.append(event)
        else:
            window.first = window.first or without_bodies(event)
            window.counted += 1
            window.last_us = max(window.last_us, event.ended_at)
        while len(self._windows) > self._most_windows:
            rows += _counted(self._windows.popitem(last=False)[1])
        return rows

    def due(self, now_us: int) -> list[Event]:
        """The counted rows of minutes that have ended; their windows are forgotten."""
        minute = now_us // _MINUTE_US
        ended = [name for name, window in self._windows.items() if window.minute < minute]
        return [row for name in ended for row in _counted(self._windows.pop(name))]

    def rest(self) -> list[Event]:
        """The counted rows of all windows, at shutdown."""
        windows = list(self._windows.values())
        self._windows.clear()
        return [row for window in windows for row in _counted(window)]


def _counted(window: _Window | None) -> list[Event]:
    if window is None or window.first is None:
        return []
    ended_at = max(window.first.ended_at, window.last_us)
    return [msgspec.structs.replace(window.first, refusals=window.counted, ended_at=ended_at)]
