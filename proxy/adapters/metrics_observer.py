"""Observations as Prometheus metrics, summed over the workers by prometheus_client's multiprocess mode.

Labels are bounded: `endpoint` by ENDPOINTS, `model` by the catalogue (anything else is `other`), kinds by tables.
Gauges say max or livesum; counters of a worker that died stay, so no counter falls.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from proxy import observations as seen
from proxy.observations import Observation
from shared.events import Event
from shared.usage import TOKEN_CLASSES

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)

REQUESTS = Counter("weir_requests", "Requests answered, refused ones too.", ["endpoint", "status", "outcome"])
REFUSALS = Counter("weir_errors", "Refusals and failures by kind.", ["kind"])
OVERHEAD = Histogram("weir_overhead_seconds", "What Weir added, up to the first byte.", ["endpoint"], buckets=_OVERHEAD)
UPSTREAM = Histogram("weir_upstream_seconds", "From sending to upstream's last byte.", ["endpoint"], buckets=_SECONDS)
FIRST_TOKEN = Histogram("weir_time_to_first_token_seconds", "Streams only.", ["endpoint"], buckets=_SECONDS)
TOKENS = Counter("weir_tokens", "Tokens by class.", ["model", "token_class"])
COST = Counter("weir_cost_nano_usd", "Charged cost in nano-USD.", ["model"])
UNPRICED = Counter("weir_unpriced_requests", "Requests whose cost is not known.", ["model"])
SNAPSHOT_AGE = Gauge(
    "weir_snapshot_age_seconds", "Since Postgres last confirmed the view.", multiprocess_mode="livemax"
)
SNAPSHOT_KEYS = Gauge("weir_snapshot_keys", "Gateway keys in memory.", multiprocess_mode="livemax")
SNAPSHOT_FAILURES = Counter("weir_snapshot_failures", "Polls that failed.")
RECORDS_REJECTED = Counter("weir_records_rejected", "Rows that do not decode.", ["kind"])
JOURNAL_DEPTH = Gauge("weir_journal_depth", "Events not yet in Postgres.", multiprocess_mode="livesum")
JOURNAL_AGE = Gauge(
    "weir_journal_oldest_seconds", "Age of the oldest event not yet in Postgres.", multiprocess_mode="livemax"
)
JOURNAL_BYTES = Gauge("weir_journal_bytes", "Bytes of journal on disk.", multiprocess_mode="livesum")
HOLDS = Gauge("weir_holds", "Holds that are not yet settled.", multiprocess_mode="livesum")
UNSETTLED = Gauge("weir_unsettled", "Settles that Redis does not have yet.", multiprocess_mode="livesum")
LOOP_LAG = Histogram("weir_event_loop_lag_seconds", "How late the event loop wakes.", buckets=_OVERHEAD)
EVENTS_SHIPPED = Counter("weir_events_shipped", "Events that Postgres took.")
EVENTS_LOST = Counter("weir_events_lost", "Events that could not be kept.")
SHIPPING_FAILURES = Counter("weir_shipping_failures", "Batches that Postgres did not take.")
JOURNALS_ADOPTED = Counter("weir_journals_adopted", "Journals of dead workers taken over.")
EVENTS_RECOVERED = Counter("weir_events_recovered", "Attempts of dead workers billed by their heirs.")
LIMITER_CHANGES = Counter("weir_limiter_changes", "Changes of the limiter's state.", ["state"])
REBUILDS = Counter("weir_counters_rebuilt", "Counters set from Postgres.")
DRIFT = Counter("weir_spend_drift", "Disagreements between Redis and Postgres about spend.")
SETTINGS_PUT_ASIDE = Counter("weir_settings_put_aside", "Credentials that upstream refused.", ["provider"])
SETTINGS_RESTED = Counter("weir_settings_rested", "Settings whose rate upstream said is used up.", ["provider"])
SETTINGS_RECOVERED = Counter("weir_settings_recovered", "Settings put aside that work again.", ["provider"])
VOCABULARIES_MISSING = Counter("weir_vocabularies_missing", "Vocabularies that tokens cannot be counted with.")
OBJECTS_RESTORED = Counter("weir_objects_restored", "Owners of upstream objects told to Redis again.")
OBJECTS_UNRESTORED = Counter("weir_objects_unrestored", "Outages in which Redis could not be told again.")
BUGS = Counter("weir_bugs", "Exceptions nobody expected.")

_tokens_of: Callable[[Event], tuple[int, ...]] = attrgetter(*[f"{name}_tokens" for name in TOKEN_CLASSES])


class HistogramTally:
    """Counts a histogram's observations here, and hands the sums over when flushed.

    `Histogram.observe` costs 3 µs in multiprocess mode (two locked writes to a mapped file), this 0.2. It writes to the
    child's own values, which are private but are what multiprocess mode is made of; a test holds it to `observe`.
    """

    def __init__(self, child: Any, bounds: tuple[float, ...]) -> None:
        self._child = child
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def flush(self) -> None:
        """Hand over."""
        for bucket, count in enumerate(self._counts):
            if count:
                self._child._buckets[bucket].inc(count)
                self._counts[bucket] = 0
        if self._sum:
            self._child._sum.inc(self._sum)
            self._sum = 0.0


class RequestTally:
    """Counts of requests that share all labels: a request costs one look-up and some additions."""

    __slots__ = ("cost_nano", "first_token", "labels", "overhead", "requests", "tokens", "unpriced", "upstream")

    def __init__(
        self, labels: tuple[str, str, str, str], overhead: HistogramTally, upstream: HistogramTally,
        first_token: HistogramTally,
    ) -> None:  # fmt: skip
        self.labels = labels
        """Endpoint, status, outcome and model."""
        self.requests = self.cost_nano = self.unpriced = 0
        self.tokens = [0] * len(TOKEN_CLASSES)
        self.overhead, self.upstream, self.first_token = overhead, upstream, first_token

    def add(self, e: Event) -> None:
        """Count a request that was served."""
        self.requests += 1
        self.overhead.observe(e.overhead_us / 1e6)
        self.upstream.observe(e.upstream_us / 1e6)
        if e.time_to_first_token_us is not None:
            self.first_token.observe(e.time_to_first_token_us / 1e6)
        tokens = self.tokens
        for place, count in enumerate(_tokens_of(e)):
            if count:
                tokens[place] += count
        if e.charged_cost_nano is None:
            self.unpriced += 1
        else:
            self.cost_nano += e.charged_cost_nano

    def flush(self) -> None:
        """Hand over."""
        endpoint, status, outcome, model = self.labels
        if self.requests:
            REQUESTS.labels(endpoint, status, outcome).inc(self.requests)
        for token_class, count in zip(TOKEN_CLASSES, self.tokens, strict=True):
            if count:
                TOKENS.labels(model, token_class).inc(count)
        if self.cost_nano:
            COST.labels(model).inc(self.cost_nano)
        if self.unpriced:
            UNPRICED.labels(model).inc(self.unpriced)
        self.requests = self.cost_nano = self.unpriced = 0
        self.tokens = [0] * len(TOKEN_CLASSES)


class MetricsObserver:
    """An Observer that counts. Label children are looked up once and kept; `flush` makes the counts visible."""

    def __init__(self, models: Collection[str]) -> None:
        self._models = models
        self._children: dict[tuple[object, ...], Any] = {}
        self._pending: dict[Any, int] = {}
        self._tallies: dict[tuple[object, str], HistogramTally] = {}
        self._requests: dict[tuple[str, int, str, str], RequestTally] = {}
        self._readers: dict[type, Callable[[Any], None] | None] = {
            seen.RequestFinished: self._request,
            seen.BugFound: lambda o: BUGS.inc(),
            seen.SnapshotSwapped: lambda o: SNAPSHOT_KEYS.set(o.keys),
            seen.SnapshotFailed: lambda o: SNAPSHOT_FAILURES.inc(),
            seen.RecordRejected: lambda o: RECORDS_REJECTED.labels(o.kind).inc(),
            seen.LimiterChanged: lambda o: LIMITER_CHANGES.labels(o.state).inc(),
            seen.CountersRebuilt: lambda o: REBUILDS.inc(o.counters),
            seen.DriftFound: lambda o: DRIFT.inc(),
            seen.EventsShipped: lambda o: EVENTS_SHIPPED.inc(o.fresh),
            seen.ShippingFailed: lambda o: SHIPPING_FAILURES.inc(),
            seen.EventsLost: lambda o: EVENTS_LOST.inc(o.events),
            seen.JournalAdopted: self._adopted,
            seen.SettingPutAside: lambda o: SETTINGS_PUT_ASIDE.labels(o.provider).inc(),
            seen.SettingRested: lambda o: SETTINGS_RESTED.labels(o.provider).inc(),
            seen.SettingRecovered: lambda o: SETTINGS_RECOVERED.labels(o.provider).inc(),
            seen.VocabularyMissing: lambda o: VOCABULARIES_MISSING.inc(),
            seen.ObjectsRestored: lambda o: OBJECTS_RESTORED.inc(o.objects),
            seen.ObjectsUnrestored: lambda o: OBJECTS_UNRESTORED.inc(),
        }

    @property
    def covered(self) -> frozenset[type]:
        """The observations that have a reader."""
        return frozenset(self._readers)

    def __call__(self, observation: Observation) -> None:
        """Count it."""
        reader = self._readers[type(observation)]
        if reader is not None:
            reader(observation)

    def flush(self) -> None:
        """Hand over what was counted since: a counter's own `inc` costs a microsecond, adding here a tenth of it."""
        pending, self._pending = self._pending, {}
        for child, count in pending.items():
            child.inc(count)
        for tally in (*self._tallies.values(), *self._requests.values()):
            tally.flush()

    def _count(self, child: Any, count: int = 1) -> None:
        self._pending[child] = self._pending.get(child, 0) + count

    def _tally(self, metric: Any, bounds: tuple[float, ...], endpoint: str) -> HistogramTally:
        key = (metric, endpoint)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = HistogramTally(metric.labels(endpoint), bounds)
        return tally

    def _child(self, metric: Any, *labels: str) -> Any:
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _request(self, o: seen.RequestFinished) -> None:
        e = o.event
        endpoint = e.endpoint or "none"
        if e.error_kind:
            self._count(self._child(REFUSALS, e.error_kind))
        if e.outcome == "refused":
            self._count(self._child(REQUESTS, endpoint, str(e.status), e.outcome))
            return
        model = e.requested_model if e.requested_model in self._models else "other"
        key = (endpoint, e.status, e.outcome, model)
        tally = self._requests.get(key)
        if tally is None:
            tally = self._requests[key] = RequestTally(
                (endpoint, str(e.status), e.outcome, model),
                self._tally(OVERHEAD, _OVERHEAD, endpoint),
                self._tally(UPSTREAM, _SECONDS, endpoint),
                self._tally(FIRST_TOKEN, _SECONDS, endpoint),
            )
        tally.add(e)

    @staticmethod
    def _adopted(o: seen.JournalAdopted) -> None:
        JOURNALS_ADOPTED.inc()
        EVENTS_RECOVERED.inc(o.recovered)
