"""An exchange's books: opened before upstream's first byte, closed exactly once whatever happens.

Opening journals what an heir would bill. Closing settles (or gives back) the hold, writes the event, and tells the
observers; it never awaits, so no cancellation comes between.
"""

from proxy.core import charging
from proxy.core.snapshot import CompiledKey
from proxy.exchange import Exchange, event_of
from proxy.observations import RequestFinished
from proxy.ports import Clock, Counters, Journal, Observer, OpenAttempt
from proxy.wire.format import Call
from shared.usage import NO_USAGE, TokenUsage


class Books:
    """Journal, counters and observers, kept in step."""

    def __init__(self, *, counters: Counters, journal: Journal, observe: Observer, clock: Clock, worker: str) -> None:
        self._counters = counters
        self._journal = journal
        self._observe = observe
        self._clock = clock
        self._worker = worker

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

    def bill(self, x: Exchange, reported: TokenUsage | None, seen: TokenUsage) -> None:
        """Put a charge on the exchange: `reported` is upstream's own figure, `seen` stands in where it is None."""
        if x.endpoint is None or x.endpoint.billing == "free":
            x.bill(charging.NOTHING)
            return
        is_free_unpriced = x.setting is not None and x.setting.unpriced == "free"
        x.bill(charging.charge(x.price, is_free_unpriced, reported, seen, x.tiers))

    def bill_nothing(self, x: Exchange) -> None:
        """Upstream answered without doing the work."""
        self.bill(x, NO_USAGE, NO_USAGE)

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
        is_recorded = x.key is not None
        if x.is_opened and x.hold is not None:
            self._journal.close(event, x.hold.order if x.reached_upstream else None)
        elif is_recorded:
            self._journal.record_refusal(event)
        self._observe(RequestFinished(event, is_recorded))
