"""Everything worth telling, as one union. Business code tells once; logs and metrics are two readers of it."""

import msgspec

from proxy.core.routing import SettingPutAside as SettingPutAside
from proxy.core.routing import SettingRecovered as SettingRecovered
from proxy.core.routing import SettingRested as SettingRested
from shared.events import Event


class RequestFinished(msgspec.Struct, frozen=True, gc=False):
    """A request has been answered, refused or served. Also told for junk that leaves no event."""

    event: Event
    is_recorded: bool
    """False: unauthenticated, so only told, never written (design §7)."""


class BugFound(msgspec.Struct, frozen=True, gc=False):
    """Something that is neither a refusal nor upstream's failure was raised."""

    where: str
    error: BaseException


class SnapshotSwapped(msgspec.Struct, frozen=True, gc=False):
    """A newer view is current."""

    changed_rows: int
    rejected_rows: int
    keys: int
    is_full: bool
    seconds: float


class SnapshotFailed(msgspec.Struct, frozen=True, gc=False):
    """A poll failed; the last good view stays."""

    error: str
    age_seconds: float


class RecordRejected(msgspec.Struct, frozen=True, gc=False):
    """A row does not decode; its last good form stays, or its key is closed."""

    kind: str
    id: str
    error: str


class LimiterChanged(msgspec.Struct, frozen=True, gc=False):
    """The limiter's store became reachable, unreachable, or came back empty."""

    state: str
    detail: str


class CountersRebuilt(msgspec.Struct, frozen=True, gc=False):
    """Counters were set from Postgres."""

    account_id: str
    counters: int
    seconds: float


class DriftFound(msgspec.Struct, frozen=True, gc=False):
    """Redis and Postgres disagree about spend while nothing is under way."""

    key_id: str
    redis_nano: int
    postgres_nano: int


class EventsShipped(msgspec.Struct, frozen=True, gc=False):
    """A batch reached Postgres."""

    events: int
    fresh: int
    seconds: float


class ShippingFailed(msgspec.Struct, frozen=True, gc=False):
    """A batch did not; it stays in the journal."""

    error: str
    waiting_events: int


class EventsLost(msgspec.Struct, frozen=True, gc=False):
    """Events could not be written to the journal, or Postgres will never take them. Never silent."""

    events: int
    why: str


class JournalAdopted(msgspec.Struct, frozen=True, gc=False):
    """The journal of a dead worker was taken over."""

    worker: str
    recovered: int
    closed: int


class VocabularyMissing(msgspec.Struct, frozen=True, gc=False):
    """Tokens cannot be counted with a vocabulary: it is not installed, or not what was published."""

    vocabulary: str
    error: str


class ObjectsRestored(msgspec.Struct, frozen=True, gc=False):
    """Redis had lost who owns which upstream object; it was told again from Postgres."""

    account_id: str
    objects: int
    seconds: float


class ObjectsUnrestored(msgspec.Struct, frozen=True, gc=False):
    """It could not be; look-ups of objects that are not found are refused until it is. Told once, tried on."""

    account_id: str
    error: str


Observation = (
    RequestFinished
    | BugFound
    | SnapshotSwapped
    | SnapshotFailed
    | RecordRejected
    | LimiterChanged
    | CountersRebuilt
    | DriftFound
    | EventsShipped
    | ShippingFailed
    | EventsLost
    | JournalAdopted
    | SettingPutAside
    | SettingRested
    | SettingRecovered
    | VocabularyMissing
    | ObjectsRestored
    | ObjectsUnrestored
)
