"""An exchange's books: opened before upstream's first byte, closed exactly once for each attempt whatever happens.

Opening journals what an heir would bill. Closing settles (or gives back) the hold, writes the event, and tells the
observers; it never awaits, so no cancellation comes between.
"""

from proxy.core import charging
from proxy.core.snapshot import CompiledKey
from proxy.exchange import Exchange, event_of
from proxy.observations import RequestFinished
from proxy.ports import Clock, Counters, Journal, Observer, OpenAttempt
from proxy.wire.assemble import assemble
from proxy.wire.format import Call
from shared.events import Event
from shared.usage import NO_UNITS, NO_USAGE, TokenUsage, UnitUsage

ASSEMBLED_FACTOR = 32
"""A stream's frames are so much larger, roughly, than the answer they make: so much of them is kept to make it."""
MOST_KEPT_BYTES = 1 << 20


class Books:
    """Journal, counters and observers, kept in step."""

    def __init__(
        self,
        *,
        counters: Counters,
        journal: Journal,
        observe: Observer,
        clock: Clock,
        worker: str,
        logged_body_bytes: int,
    ) -> None:
        self._counters = counters
        self._journal = journal
        self._observe = observe
        self._clock = clock
        self._worker = worker
        self._logged_bytes = logged_body_bytes
        self._kept_bytes = min(ASSEMBLED_FACTOR * logged_body_bytes, MOST_KEPT_BYTES)

    def open(self, x: Exchange, key: CompiledKey, call: Call) -> None:
        """Journal the attempt, billed at its prompt's bound until more is known.

        Raises Refusal journal_unavailable; the hold is then given back by `finish`.
        """
        assert x.hold is not None
        x.outcome = "recovered"
        self.bill(x, None, charging.seen_usage(call.prompt_bound, 0))
        x.is_opened = True
        event = event_of(x, x.admitted_us, self._worker)
        output_price = x.price.dearest_output_price() if x.price else 0
        try:
            self._journal.open(OpenAttempt(event, x.hold.order, x.charged_nano, output_price), key.has_cost_limit)
        except BaseException:
            x.is_opened = False
            x.bill(charging.NOTHING)
            raise

    def bill(self, x: Exchange, reported: TokenUsage | None, seen: TokenUsage, units: UnitUsage = NO_UNITS) -> None:
        """Put a charge on the exchange: `reported` is upstream's own figure, `seen` stands in where it is None."""
        if x.endpoint is None or x.endpoint.billing == "free":
            x.bill(charging.NOTHING)
            return
        is_free_unpriced = x.setting is not None and x.setting.unpriced == "free"
        x.bill(charging.charge(x.price, is_free_unpriced, reported, seen, x.tiers, units))

    def bill_nothing(self, x: Exchange) -> None:
        """Upstream answered without doing the work."""
        self.bill(x, NO_USAGE, NO_USAGE)

    def keep_relayed(self, x: Exchange, block: bytes) -> None:
        """Keep what the caller gets of an answer, if the key logs it and it is not too much already."""
        if x.relayed is not None and len(x.relayed) <= self._kept_bytes:
            x.relayed += block[: self._kept_bytes + 1 - len(x.relayed)]

    def pass_on(self, x: Exchange) -> None:
        """Close an attempt that upstream refused to begin with, and that another follows.

        It is an event of its own, which cost nothing; its hold is given back, so that a request counts once.
        """
        assert x.hold is not None
        self._counters.void(x.hold.order)
        event = event_of(x, self._clock.now_us(), self._worker)
        event.is_final = False
        self._journal.close(event, None)

    def finish(self, x: Exchange) -> None:
        """Settle, close, tell. Safe to call again: only the first call counts."""
        if x.is_finished:
            return
        x.is_finished = True
        if x.hold is not None:
            if x.reached_upstream:
                self._counters.settle(x.hold.order, x.charged_nano)
            else:
                self._counters.void(x.hold.order)
        if not x.reached_upstream and x.outcome != "recovered":
            x.outcome = "refused"  # whoever's fault it was: it used nothing, and counts for nothing
        event = event_of(x, self._clock.now_us(), self._worker)
        if x.request_text is not None or x.relayed is not None:
            self._log_text(x, event)
        is_recorded = x.key is not None
        if x.is_opened and x.hold is not None:
            self._journal.close(event, x.hold.order if x.reached_upstream else None)
        elif is_recorded:
            self._journal.record_refusal(event)
        self._observe(RequestFinished(event, is_recorded))

    def _log_text(self, x: Exchange, event: Event) -> None:
        most = self._logged_bytes
        if x.request_text is not None:
            event.request, event.is_request_cut = x.request_text[:most], len(x.request_text) > most
        if x.relayed is not None:
            relayed = bytes(x.relayed)
            if event.is_stream and event.outcome == "completed" and len(relayed) <= self._kept_bytes and x.endpoint:
                relayed = assemble(x.endpoint.format, relayed)
            event.response, event.is_response_cut = relayed[:most], len(relayed) > most
