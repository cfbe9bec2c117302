"""One request's state, from the door to its events. The path fills it in as it goes; nobody else writes it.

Marks are `perf_counter_ns`: 0 means the moment has not come.
"""

import asyncio
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

from proxy.core.charging import Charge
from proxy.core.headers import RequestHeaders
from proxy.core.holds import Hold
from proxy.core.snapshot import CompiledKey, CompiledSetting
from proxy.endpoints import Endpoint
from proxy.wire.format import Call
from shared.catalog import Price
from shared.errors import UpstreamFailure
from shared.events import Event, Outcome
from shared.ids import uuid7_text
from shared.usage import NO_USAGE, TokenUsage

# What is kept of the caller's own notes; the first is indexed.
LONGEST_CUSTOM_ID = 1_000
LONGEST_METADATA = 8_000


class Exchange:
    """One request and the attempt that is under way; `begin_again` turns to the next."""

    __slots__ = (
        "admitted_us", "attempt_id", "call", "charged_nano", "custom_id", "endpoint", "error_kind", "event",
        "failure", "first_byte_at", "first_token_at", "has_left", "hold", "is_detached", "is_estimated",
        "is_finished", "is_opened", "is_steered", "key", "leave", "list_nano", "metadata", "method", "next_place",
        "object_id", "outcome", "output_cap", "path", "place", "plan", "price", "reached_upstream", "relayed",
        "request_id", "request_text", "response_id", "response_model", "sent_at", "setting", "started_at", "status",
        "subject", "task", "tiers", "timeout_seconds", "upstream_done_at", "upstream_request_id", "usage",
        "waited_until", "writing_since",
    )  # fmt: skip

    def __init__(self, method: str, path: str, admitted_us: int) -> None:
        self.started_at = perf_counter_ns()
        self.request_id = uuid7_text()
        self.attempt_id = ""
        self.admitted_us = admitted_us
        self.method = method
        self.path = path
        self.custom_id = ""
        self.metadata = ""
        self.timeout_seconds: float | None = None
        """The caller's own deadline (x-request-timeout)."""
        self.endpoint: Endpoint | None = None
        self.key: CompiledKey | None = None
        self.call: Call | None = None
        self.plan: tuple[CompiledSetting, ...] = ()
        """The settings that may serve the call, in the order to try them."""
        self.place = 0
        """Which of them is being tried."""
        self.next_place: int | None = None
        """Upstream refused this setting and did nothing: this one is next. None: there is no next attempt."""
        self.object_id = ""
        """The object at upstream that the path names."""
        self.subject = ""
        """What settings are remembered for: the model, or the endpoint of a call without one."""
        self.is_steered = False
        """The caller's headers choose among what the setting's credential may use."""
        self.setting: CompiledSetting | None = None
        self.price: Price | None = None
        self.hold: Hold | None = None
        self.output_cap: int | None = None
        """The cap on output tokens that Weir put into the request; None when it did not."""
        self.event: Event | None = None
        """Made when the attempt is opened, brought up to date when it is closed."""
        self.is_opened = False
        self.is_detached = False
        """The caller was answered; the call is being drained behind their back."""
        self.is_finished = False
        self.has_left = False
        """The caller of a stream is gone."""
        self.leave: Callable[[], object] | None = None
        """What cuts upstream off when that happens; None: the call is drained."""
        self.failure: UpstreamFailure | None = None
        self.status = 0
        self.outcome: Outcome = "refused"
        self.error_kind = ""
        self.reached_upstream = False
        self.usage: TokenUsage = NO_USAGE
        self.is_estimated = False
        self.tiers: tuple[str, ...] = ("",)
        """Service tiers that may be billed, the dearest counts: the one upstream named, or what was asked."""
        self.task: asyncio.Task[Any] | None = None
        """Who runs a stream."""
        self.writing_since = 0.0
        """Monotonic seconds since which the caller has not taken what a stream has for them. 0: they have."""
        self.request_text: bytes | None = None
        """The request's body, where the key logs it."""
        self.relayed: bytearray | None = None
        """What the caller gets of the answer's body, where the key logs it."""
        self.list_nano: int | None = None
        self.charged_nano: int | None = None
        self.response_id = ""
        self.response_model = ""
        self.upstream_request_id = ""
        self.sent_at = 0
        self.waited_until = 0
        self.first_byte_at = 0
        self.first_token_at = 0
        self.upstream_done_at = 0

    def begin_again(self, admitted_us: int) -> None:
        """The attempt ended without a word to the caller: forget it, and be ready for the next."""
        assert self.next_place is not None
        self.place, self.next_place = self.next_place, None
        self.attempt_id = uuid7_text()
        self.admitted_us = admitted_us
        self.event = self.hold = self.output_cap = None
        self.is_opened = self.is_finished = self.reached_upstream = self.is_estimated = False
        self.usage = NO_USAGE
        self.list_nano = self.charged_nano = None
        self.response_id = self.response_model = self.upstream_request_id = self.error_kind = ""
        if self.relayed is not None:
            self.relayed.clear()
        self.status = self.sent_at = self.waited_until = self.first_byte_at = self.upstream_done_at = 0
        self.outcome = "refused"

    def log_text(self, key: CompiledKey, body: bytes) -> None:
        """Keep what the key wants kept of the call's text."""
        if key.logs_request:
            self.request_text = body
        if key.logs_response:
            self.relayed = bytearray()

    def read_head(self, headers: RequestHeaders) -> None:
        """Take over what the caller's headers say about the request itself."""
        self.timeout_seconds = headers.timeout_seconds
        self.custom_id = headers.text(b"x-custom-event-id", LONGEST_CUSTOM_ID)
        self.metadata = headers.text(b"x-metadata", LONGEST_METADATA)

    def read_upstream_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take over what upstream's head says."""
        self.status = status
        self.upstream_request_id = headers.get("x-request-id") or headers.get("request-id") or ""

    def bill(self, charge: Charge) -> None:
        """The money side of the event."""
        self.usage, self.is_estimated, self.list_nano, self.charged_nano = charge

    def mark_upstream_done(self) -> None:
        """Upstream's last byte is here, or will not come."""
        self.upstream_done_at = perf_counter_ns()
        self.waited_until = self.waited_until or self.upstream_done_at

    def mark_first_frame(self) -> None:
        """The first whole frame of a stream is here and about to leave."""
        self.first_byte_at = self.waited_until = perf_counter_ns()


def event_of(exchange: Exchange, ended_us: int, worker: str) -> Event:
    """The event of an exchange as it stands. Called again, the same event brought up to date."""
    event = exchange.event
    if event is None:
        event = exchange.event = _new_event(exchange, worker)
    _update(event, exchange, ended_us)
    return event


def _new_event(x: Exchange, worker: str) -> Event:
    """All that is settled before upstream is called."""
    key, call, endpoint = x.key, x.call, x.endpoint
    model = call.requested_model if call else ""
    return Event(
        id=x.attempt_id or x.request_id,
        request_id=x.request_id,
        admitted_at=x.admitted_us,
        ended_at=x.admitted_us,
        outcome=x.outcome,
        status=x.status,
        account_id=key.account_id if key else "default",
        project_id=key.project_id if key else "",
        key_id=key.id if key else "",
        tags=key.tags if key else (),
        user_id=call.user_id if call else "",
        setting_id=x.setting.id if x.setting else "",
        provider=endpoint.provider if endpoint else "",
        endpoint=endpoint.template if endpoint else "",
        method=x.method,
        path=x.path,
        requested_model=model,
        upstream_model=model if x.is_opened else "",
        is_stream=call.is_stream if call else False,
        custom_id=x.custom_id,
        metadata=x.metadata,
        price_version=x.price.version if x.price else "",
        worker=worker,
    )


def _update(event: Event, x: Exchange, ended_us: int) -> None:
    """What is known when the attempt ends."""
    now = perf_counter_ns()
    usage = x.usage
    event.ended_at = ended_us
    event.outcome = x.outcome
    event.status = x.status
    event.error_kind = x.error_kind
    event.response_model = x.response_model
    event.upstream_request_id = x.upstream_request_id
    event.upstream_response_id = x.response_id
    event.input_tokens = usage.input
    event.cached_input_tokens = usage.cached_input
    event.cache_write_5m_tokens = usage.cache_write_5m
    event.cache_write_1h_tokens = usage.cache_write_1h
    event.audio_input_tokens = usage.audio_input
    event.output_tokens = usage.output
    event.reasoning_tokens = usage.reasoning
    event.audio_output_tokens = usage.audio_output
    event.list_cost_nano = x.list_nano
    event.charged_cost_nano = x.charged_nano
    event.is_estimated = x.is_estimated
    event.latency_us = (now - x.started_at) // 1000
    if x.sent_at:
        waited = (x.waited_until or now) - x.sent_at
        event.upstream_us = ((x.upstream_done_at or now) - x.sent_at) // 1000
        event.overhead_us = max((x.first_byte_at or now) - x.started_at - waited, 0) // 1000
    else:
        event.overhead_us = event.latency_us
    if x.first_token_at:
        event.time_to_first_token_us = (x.first_token_at - x.started_at) // 1000
