"""One attempt: send it upstream, relay the answer as it comes, meter a copy.

Same dialect on both sides: bytes pass untouched, whole SSE frames as they complete. After the first byte has gone to
the caller there is no retry and no status: a break becomes an error event of the caller's dialect.
"""

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter_ns
from typing import Any

from proxy import endpoints
from proxy.books import Books
from proxy.core.headers import RawHeaders, caller_headers, refusal_headers
from proxy.core.limits import tightest_rate
from proxy.core.routing import Rests, moves_on
from proxy.exchange import Exchange
from proxy.metering import Meter
from proxy.ports import (
    CallerLeft,
    Clock,
    Downstream,
    Journal,
    Objects,
    Observer,
    Upstream,
    UpstreamRequest,
    UpstreamResponse,
)
from proxy.providers import PROVIDERS
from proxy.wire import Format, Stream
from proxy.wire.errors import render_error
from proxy.wire.format import Call
from shared.errors import UpstreamFailure
from shared.usage import NO_USAGE

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]

PROGRESS_SECONDS = 1.0
NEVER_REACHED = frozenset({"upstream_unreachable", "upstream_forbidden"})
WRITE_SECONDS = 60.0
"""A caller who has not taken a stream's next frames for so long is cut off: it would hold them for ever."""
MOST_DETACHED = 256
"""Calls that are drained behind the back of callers with deadlines of their own; beyond it callers wait."""


def _this_task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None
    return task


class Relay:
    """Between a caller and upstream."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        books: Books,
        journal: Journal,
        rests: Rests,
        objects: Objects,
        meter: Meter,
        observe: Observer,
        clock: Clock,
        spawn: Spawn,
    ) -> None:
        self._upstream = upstream
        self._rests = rests
        self._objects = objects
        self._meter = meter
        self._observe = observe
        self._books = books
        self._journal = journal
        self._clock = clock
        self._spawn = spawn
        self._streams: set[Exchange] = set()
        self.detached = 0
        """Calls that are being drained though their caller was answered."""

    async def run(self, x: Exchange, down: Downstream, request: UpstreamRequest, form: Format, call: Call) -> None:
        """Make the attempt and answer the caller. Raises UpstreamFailure when no answer came.

        Where upstream refused the setting and another may serve, the caller has no answer yet and `x.next_place` is
        that other's place in the plan.
        """
        if x.timeout_seconds is None or call.is_stream:
            await self._attempt(x, down, request, form, call)
        else:
            left = x.timeout_seconds - (perf_counter_ns() - x.started_at) / 1e9
            await self._attempt_with_deadline(x, down, request, form, call, max(left, 0.001))

    def sweep(self, is_over: bool) -> None:
        """Cut off streams whose callers have stopped reading, or all of them when draining `is_over`."""
        now = self._clock.monotonic()
        for x in list(self._streams):
            if x.writing_since and now - x.writing_since > WRITE_SECONDS and x.task is not None:
                x.has_left = True
                x.outcome, x.error_kind = "cancelled", "caller_stalled"
                x.task.cancel()
            elif is_over and x.leave is not None:
                x.has_left = not x.status  # no head yet: there is no stream to end with an event
                x.leave()

    async def _attempt(self, x: Exchange, down: Downstream, request: UpstreamRequest, form: Format, call: Call) -> None:
        if not call.is_stream:
            response = await self._send(x, request, call)
            try:
                await self._relay_plain(x, down, request, response, form, call)
            finally:
                response.close()
            return
        x.task = _this_task()
        x.leave = x.task.cancel
        self._streams.add(x)
        watcher = self._spawn(self._watch(x, down), f"watch {x.attempt_id}")
        try:
            await self._attempt_stream(x, down, request, form, call)
        except asyncio.CancelledError:
            if x.has_left and not x.task.uncancel():
                raise CallerLeft from None
            raise
        finally:
            self._streams.discard(x)
            watcher.cancel()

    async def _attempt_stream(
        self, x: Exchange, down: Downstream, request: UpstreamRequest, form: Format, call: Call
    ) -> None:
        response = await self._send(x, request, call)
        try:
            content_type = response.headers.get("content-type", "").lower()
            if response.status == 200 and content_type.startswith("text/event-stream"):
                x.leave = response.close
                await self._relay_stream(x, down, request, response, form, call)
            else:
                x.leave = None
                await self._relay_plain(x, down, request, response, form, call)
        finally:
            response.close()

    async def _send(self, x: Exchange, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        """Send and wait for the head. Until more is known, the call is billed as it was opened: its prompt's bound."""
        x.sent_at = perf_counter_ns()
        x.reached_upstream = True
        try:
            response = await self._upstream.send(request)
        except UpstreamFailure as failure:
            x.mark_upstream_done()
            # A deadline of the caller's own, too short to connect in, must not make a call that counts for nothing.
            has_hurried = call.is_stream and x.timeout_seconds is not None
            x.reached_upstream = failure.kind not in NEVER_REACHED or has_hurried
            if failure.kind != "upstream_timeout":
                # It hung up or answered nonsense. After a timeout it may well be working on the call.
                self._books.bill_nothing(x)
            raise
        except asyncio.CancelledError:
            x.mark_upstream_done()
            self._meter.bill_seen(x, call, 0)
            raise
        x.read_upstream_head(response.status, response.headers)
        return response

    async def _attempt_with_deadline(
        self, x: Exchange, down: Downstream, request: UpstreamRequest, form: Format, call: Call, seconds: float
    ) -> None:
        """The caller's own deadline ends the wait, not the call: it is drained and billed by its usage."""
        task = self._spawn(self._attempt_alone(x, down, request, form, call), f"attempt {x.attempt_id}")
        await asyncio.wait({task}, timeout=seconds)
        if task.done() or down.is_started or self.detached >= MOST_DETACHED:
            await task
            if x.failure is not None:
                raise x.failure
            return
        x.is_detached = True
        self.detached += 1
        x.status, content_type, body = render_error(
            self._dialect(x), "upstream_timeout", "the request timed out", x.request_id
        )
        headers = refusal_headers(x.request_id, down.origin, None, None, self._dialect(x))
        await down.answer(x.status, [*content_type, *headers], body)

    async def _attempt_alone(
        self, x: Exchange, down: Downstream, request: UpstreamRequest, form: Format, call: Call
    ) -> None:
        try:
            await self._attempt(x, down, request, form, call)
        except UpstreamFailure as failure:
            x.failure = failure
        finally:
            if x.is_detached:
                self.detached -= 1
                x.outcome, x.error_kind, x.status = "cancelled", "upstream_timeout", 504
                self._books.finish(x)

    async def _relay_plain(
        self, x: Exchange, down: Downstream, request: UpstreamRequest, response: UpstreamResponse, form: Format,
        call: Call,
    ) -> None:  # fmt: skip
        """The whole answer at once. A caller who has left is not noticed: the call is drained and billed."""
        is_answer = 200 <= response.status < 300
        if not is_answer:
            self._books.bill_nothing(x)
        try:
            body = await response.read()
        finally:
            x.mark_upstream_done()
        if is_answer:
            answer = form.read_answer(body)
            x.response_id, x.response_model = answer.response_id, answer.response_model
            if answer.service_tier:
                x.tiers = (answer.service_tier,)
            seen = NO_USAGE
            if self._meter.needs_count(x, answer):
                seen = await self._meter.count_answer(request, form, call, body)
            self._books.bill(x, answer.usage, seen, answer.units)
            if x.endpoint is not None and (x.endpoint.creates_object or x.endpoint.deletes_object):
                await self._note_object(x)
        if (not is_answer or len(self._rests)) and self._passes_on(x, response, body):
            return
        self._books.keep_relayed(x, body)
        if x.is_detached:
            return
        x.outcome = "completed"
        x.first_byte_at = perf_counter_ns()
        head = self._head(x, down, response)
        self._books.finish(x)
        await down.answer(response.status, head, body)

    async def _note_object(self, x: Exchange) -> None:
        """Remember whose an object is that the answer created, forget one that it deleted."""
        if x.endpoint is None or x.key is None or x.setting is None:
            return
        if x.endpoint.creates_object and x.response_id:
            await self._objects.remember_now(x.key.account_id, x.endpoint.provider, x.response_id, x.setting.id)
        elif x.endpoint.deletes_object:
            self._objects.forget(x.key.account_id, x.endpoint.provider, x.object_id)

    def _passes_on(self, x: Exchange, response: UpstreamResponse, body: bytes) -> bool:
        """Take note of how upstream took the setting. True: another may serve the call, and this attempt is closed."""
        setting = x.setting
        if setting is None:
            return False
        now_ms = self._clock.now_ms()
        status, headers = response.status, response.headers
        change = self._rests.note(setting, x.subject, status, headers, body, now_ms, is_steered=x.is_steered)
        if change is not None:
            self._observe(change)
        if x.is_detached or x.has_left or not moves_on(status):
            return False
        x.next_place = self._rests.next_after(x.plan, x.place + 1, x.subject, now_ms)
        if x.next_place is None:
            return False
        x.outcome = "completed"
        self._books.pass_on(x)
        return True

    async def _relay_stream(
        self, x: Exchange, down: Downstream, request: UpstreamRequest, response: UpstreamResponse, form: Format,
        call: Call,
    ) -> None:  # fmt: skip
        x.outcome = "completed"
        stream = form.open_stream(call)
        broken: UpstreamFailure | None = None
        if len(self._rests):
            self._passes_on(x, response, b"")
        try:
            await down.start(response.status, self._head(x, down, response))
            await self._relay_frames(x, down, response, stream)
            if ending := stream.finish():
                broken = UpstreamFailure("upstream_cut", ending)
        except UpstreamFailure as failure:
            broken = failure
        finally:
            x.writing_since = 0.0
            x.mark_upstream_done()
            x.response_id, x.response_model = stream.response_id, stream.response_model
            if stream.service_tier:
                x.tiers = (stream.service_tier,)
            self._meter.bill_stream(x, request, form, stream, call)
        if broken is not None and x.outcome == "completed":
            x.outcome, x.error_kind = "cut", broken.kind
        self._books.finish(x)
        if x.outcome == "cut" and broken is not None:
            await down.write(stream.error_event(broken.kind, broken.message))
        await down.end()

    async def _relay_frames(self, x: Exchange, down: Downstream, response: UpstreamResponse, stream: Stream) -> None:
        told_at = self._clock.monotonic()
        async for chunk in response.chunks():
            block = stream.feed(chunk)
            if not block:
                continue
            if not x.first_token_at:
                self._mark_beginning(x, stream)
            if x.relayed is not None:
                self._books.keep_relayed(x, block)
            x.writing_since = now = self._clock.monotonic()
            await down.write(block)
            x.writing_since = 0.0
            if now - told_at >= PROGRESS_SECONDS:
                told_at = now
                self._journal.progress(x.attempt_id, stream.output_tokens)

    def _mark_beginning(self, x: Exchange, stream: Stream) -> None:
        """The first bytes, the first token, and the id of what the stream creates: others may ask for it at once."""
        if not x.first_byte_at:
            x.mark_first_frame()
        if stream.saw_first_token:
            x.first_token_at = perf_counter_ns()
        if x.endpoint is not None and x.endpoint.creates_object and stream.response_id:
            assert x.key is not None
            assert x.setting is not None
            self._objects.remember(x.key.account_id, x.endpoint.provider, stream.response_id, x.setting.id)

    @staticmethod
    async def _watch(x: Exchange, down: Downstream) -> None:
        """A caller who leaves a stream cuts upstream at once, before its head or after; what was seen is billed."""
        await down.left()
        x.has_left = True
        if x.leave is not None and not x.upstream_done_at:
            x.outcome, x.error_kind = "cancelled", "caller_left"
            x.leave()

    @staticmethod
    def _dialect(x: Exchange) -> endpoints.Dialect:
        return x.endpoint.dialect if x.endpoint else endpoints.DEFAULT_DIALECT

    def _head(self, x: Exchange, down: Downstream, response: UpstreamResponse) -> RawHeaders:
        assert x.endpoint is not None
        rate = tightest_rate(x.hold.states, self._clock.now_ms()) if x.hold else None
        provider, dialect = PROVIDERS[x.endpoint.provider], x.endpoint.dialect
        out = caller_headers(response.headers, provider, x.request_id, down.origin, rate, dialect)
        if x.output_cap is not None:
            out.append((b"x-weir-output-cap", str(x.output_cap).encode()))
        return out
