"""Does Redis have all of an account's objects? A mark says so, and what past of Redis's it speaks of.

A mark is written once Postgres has told everything, by the worker that holds the lock, and is touched each minute.
None: Redis is new or was emptied. One of another server process: that process was restarted and may have lost what it
was told after the mark was last touched.
"""

import secrets

import msgspec

from proxy.adapters.object_store.names import KEPT_SECONDS

TOUCH_SECONDS = 60.0
LOCK_MS = 20_000
# Between a restore and the first "there is no such object": every worker sees the mark and tells what it has.
OPENING_MS = 3_000

# KEYS: the mark. ARGV: all of it but its last figure, that figure, seconds to live. Only while it is the same mark.
TOUCH = """
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, #ARGV[1]) == ARGV[1] then
    redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'EX', ARGV[3])
    return 1
end
return 0
"""

# KEYS: the lock, the mark. ARGV: the lock's token, the mark (empty: none), seconds to live. A lock that is gone means
# that Redis was emptied meanwhile, or that another worker took over: then there is nothing to mark.
FINISH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '' then
    redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
end
return 1
"""

MARK_SECONDS = KEPT_SECONDS


def mark_key(account_id: str) -> str:
    """Where the account's mark is."""
    return f"weir:{{{account_id}}}:objects"


def lock_key(account_id: str) -> str:
    """Who restores the account's objects holds this."""
    return f"weir:{{{account_id}}}:objects:restore"


class Mark(msgspec.Struct, frozen=True, gc=False):
    """`<generation>:<server's run id>:<opens at>:<touched at>`, times in Redis's milliseconds."""

    generation: str
    run_id: str
    opens_ms: int
    touched_ms: int

    @classmethod
    def of(cls, value: object) -> "Mark | None":
        """None when it is not one of ours."""
        parts = value.decode("ascii", "replace").split(":") if isinstance(value, bytes) else []
        if len(parts) != 4 or not (parts[2].isdigit() and parts[3].isdigit()):
            return None
        return cls(parts[0], parts[1], int(parts[2]), int(parts[3]))

    @classmethod
    def new(cls, run_id: bytes, opens_ms: int, now_ms: int) -> "Mark":
        """A mark of a new generation."""
        return cls(secrets.token_hex(8), run_id.decode("ascii", "replace"), opens_ms, now_ms)

    @property
    def head(self) -> str:
        """All but the moment it was touched: what stays the same for as long as Redis's past does."""
        return f"{self.generation}:{self.run_id}:{self.opens_ms}:"

    @property
    def value(self) -> str:
        """As Redis has it."""
        return f"{self.head}{self.touched_ms}"

    def is_of(self, run_id: bytes) -> bool:
        """It speaks of the server process that we are connected to."""
        return bool(run_id) and self.run_id == run_id.decode("ascii", "replace")
