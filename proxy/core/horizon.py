"""How far the proxy has read the database, and whether what changed since can be told from there (design §5).

A horizon is a snapshot in PostgreSQL's own sense: which transactions were visible. Asking for rows whose last
transaction was not visible then misses nothing, whatever the order of commits; but transaction ids mean something only
inside one history of one database. Where the history may be another one, everything is read again.
"""

from typing import NamedTuple


class Horizon(NamedTuple):
    """One poll's view of the database."""

    source: tuple[str, ...]
    """What names the history: cluster, timeline, database, the view of the keys."""
    snapshot: str
    """PostgreSQL's `pg_snapshot` in text: `xmin:xmax:xid,xid...`."""

    @property
    def xmin(self) -> int:
        """The oldest transaction that was still running: all before it had ended."""
        return int(self.snapshot.split(":")[0])

    @property
    def xmax(self) -> int:
        """The first transaction id that was not yet given out."""
        return int(self.snapshot.split(":")[1])


def must_reload(last: Horizon | None, now: Horizon) -> bool:
    """True when the changes since `last` cannot be told: no horizon yet, another history, or a step back."""
    return last is None or now.source != last.source or now.xmin < last.xmin or now.xmax < last.xmax
