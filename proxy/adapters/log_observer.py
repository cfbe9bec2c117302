"""Observations as log lines: one JSON line per request, never a key or a credential.

Nor a prompt or an answer, unless WEIR_PRIVACY is `verbose`: then the line of a request has what its key keeps of them.

LOG_LINES has a row for every observation; a test walks the union. None means: deliberately not a line.
"""

import sys
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import structlog

from proxy import observations as seen
from proxy.observations import Observation
from shared.events import Event

FLUSH_SECONDS = 0.05


class JoinedWrites:
    """A binary stream that joins the lines of a moment into one write to stdout: a line costs no system call."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._loop: AbstractEventLoop | None = None
        self._timer: TimerHandle | None = None

    def attach(self, loop: AbstractEventLoop) -> None:
        """From here on lines wait for up to FLUSH_SECONDS; before, they are written at once."""
        self._loop = loop

    def write(self, line: bytes) -> int:
        """Take a line."""
        self._lines.append(line)
        return len(line)

    def flush(self) -> None:
        """What structlog calls after each line."""
        if self._loop is None or self._loop.is_closed():
            self.write_out()
        elif self._timer is None:
            self._timer = self._loop.call_later(FLUSH_SECONDS, self.write_out)

    def write_out(self) -> None:
        """Write what waits. A stdout that is gone must not stop the gateway."""
        self._timer = None
        joined = b"".join(self._lines)
        self._lines.clear()
        try:
            sys.stdout.buffer.write(joined)
            sys.stdout.buffer.flush()
        except (OSError, ValueError):
            return


class RequestLine(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """The line of a request. Fields are named as in the event, and level, plane and the rest as structlog has them."""

    event: Literal["request"]
    """Without a default, for defaults are left out."""
    request_id: str
    attempt_id: str
    key_id: str = ""
    method: str
    endpoint: str = ""
    status: int
    outcome: str
    error_kind: str = ""
    provider: str = ""
    requested_model: str = ""
    is_stream: bool
    is_estimated: bool = False
    prompt_tokens: int
    completion_tokens: int
    charged_cost_nano: int | None
    latency_us: int
    overhead_us: int
    time_to_first_token_us: int | None = None
    request: str = ""
    response: str = ""
    worker: str
    level: str
    timestamp: str
    plane: str


def _request_line(e: Event, worker: str, timestamp: str) -> RequestLine:
    return RequestLine(
        event="request",
        request_id=e.request_id,
        attempt_id=e.id,
        key_id=e.key_id,
        method=e.method,
        endpoint=e.endpoint,
        status=e.status,
        outcome=e.outcome,
        error_kind=e.error_kind,
        provider=e.provider,
        requested_model=e.requested_model,
        is_stream=e.is_stream,
        is_estimated=e.is_estimated,
        prompt_tokens=(
            e.input_tokens
            + e.cached_input_tokens
            + e.cache_write_5m_tokens
            + e.cache_write_1h_tokens
            + e.audio_input_tokens
        ),
        completion_tokens=e.output_tokens + e.reasoning_tokens + e.audio_output_tokens,
        charged_cost_nano=e.charged_cost_nano,
        latency_us=e.latency_us,
        overhead_us=e.overhead_us,
        time_to_first_token_us=e.time_to_first_token_us,
        worker=worker,
        level="info",
        timestamp=timestamp,
        plane="proxy",
    )


def _fields(o: Any) -> dict[str, Any]:
    return {name: getattr(o, name) for name in o.__struct_fields__}


Line = tuple[str, str, Callable[[Any], dict[str, Any]]]

LOG_LINES: dict[type, Line | None] = {
    seen.RequestFinished: None,  # a line of its own, written without structlog's 8 µs: `LogObserver._request`
    seen.BugFound: ("error", "bug", lambda o: {"where": o.where, "exc_info": o.error}),
    seen.SnapshotSwapped: ("info", "snapshot_swapped", _fields),
    seen.SnapshotFailed: ("warning", "snapshot_failed", _fields),
    seen.RecordRejected: ("error", "record_rejected", _fields),
    seen.LimiterChanged: ("warning", "limiter_changed", _fields),
    seen.CountersRebuilt: ("warning", "counters_rebuilt", _fields),
    seen.DriftFound: ("error", "spend_drift", _fields),
    seen.EventsShipped: None,  # several a second; the metrics have them
    seen.ShippingFailed: ("warning", "shipping_failed", _fields),
    seen.EventsLost: ("error", "events_lost", _fields),
    seen.JournalAdopted: ("warning", "journal_adopted", _fields),
    seen.SettingPutAside: ("warning", "setting_put_aside", _fields),
    seen.SettingRested: ("info", "setting_rested", _fields),
    seen.SettingRecovered: ("info", "setting_recovered", _fields),
    seen.VocabularyMissing: ("warning", "vocabulary_missing", _fields),
    seen.ObjectsRestored: ("info", "objects_restored", _fields),
    seen.ObjectsUnrestored: ("warning", "objects_unrestored", _fields),
}


class LogObserver:
    """An Observer that writes lines, each naming its worker."""

    def __init__(self, worker: str, lines: JoinedWrites, *, with_text: bool = False) -> None:
        """`with_text`: what an event keeps of a request and its answer is part of its line."""
        self._worker = worker
        self._with_text = with_text
        self._lines = lines
        self._encode = msgspec.json.Encoder().encode
        self._logger: Any = structlog.get_logger()
        self._second = 0
        self._second_text = ""

    def __call__(self, observation: Observation) -> None:
        """Write the observation's line, if it has one."""
        if type(observation) is seen.RequestFinished:
            self._request(observation.event)
            return
        row = LOG_LINES[type(observation)]
        if row is not None:
            level, event, fields = row
            values = fields(observation)
            values["event"] = event
            values["worker"] = self._worker
            getattr(self._logger, level)(**values)

    def _request(self, event: Event) -> None:
        second, microsecond = divmod(event.ended_at, 1_000_000)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        line = _request_line(event, self._worker, f"{self._second_text}.{microsecond:06d}Z")
        if self._with_text:
            line.request = event.request.decode("utf-8", "replace")
            line.response = event.response.decode("utf-8", "replace")
        try:
            self._lines.write(self._encode(line) + b"\n")
        except (UnicodeEncodeError, OverflowError):  # a lone surrogate in a name, usage beyond 64 bits
            line.requested_model = repr(line.requested_model)
            line.method = repr(line.method)
            line.prompt_tokens = line.completion_tokens = 0
            line.charged_cost_nano = None
            self._lines.write(self._encode(line) + b"\n")
        self._lines.flush()
