"""The event: one row per attempt that was made or refused, and how it travels from the journal to `ingest_events`.

The proxy encodes it as JSON with these field names; the SQL function reads the same names as columns; the admin plane
answers from those columns. Adding a field: here, in `events` (a migration), in `ingest_events`. Bodies are bytes here,
base64 in the JSON, bytes again in the column.
"""

from typing import Literal

import msgspec

Outcome = Literal["completed", "failed", "refused", "cancelled", "cut", "recovered"]
"""completed: upstream answered, whatever its status, to the end. failed: no answer came. refused: our own no, or
upstream was never reached (`error_kind` says why). cancelled: the caller left. cut: upstream broke off after its head.
recovered: the worker died; written by its heir."""


class Event(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One attempt. Times are Unix microseconds, durations microseconds, money nano-USD."""

    id: str
    """The attempt's UUIDv7; also the id of its hold."""
    request_id: str
    """The request's UUIDv7, shared by all attempts of one request; the contract's correlationId."""
    admitted_at: int
    """Immutable: with `id` the primary key, and what every window and rollup counts by."""
    ended_at: int
    is_final: bool = True
    outcome: Outcome
    status: int
    """The status the caller got; for an attempt that was not the last, the one upstream gave."""
    error_kind: str = ""
    """Refusal or failure kind; empty when there was none."""
    refusals: int = 1
    """How many refusals this row stands for (design §7): more than 1 only for counted refusals."""

    account_id: str = "default"
    project_id: str = ""
    key_id: str = ""
    tags: tuple[str, ...] = ()
    user_id: str = ""
    setting_id: str = ""
    provider: str = ""
    endpoint: str = ""
    """The endpoint's template, for example `/api/providers/openai/v1/models/:model`."""
    method: str = ""
    path: str = ""
    requested_model: str = ""
    upstream_model: str = ""
    response_model: str = ""
    is_stream: bool = False
    custom_id: str = ""
    metadata: str = ""
    """The caller's X-METADATA, as it came."""
    action: str = ""
    policy_id: str = ""
    route_id: str = ""
    upstream_request_id: str = ""
    upstream_response_id: str = ""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    audio_output_tokens: int = 0
    list_cost_nano: int | None = None
    """What the catalogue says it cost. None: unknown, which is not 0."""
    charged_cost_nano: int | None = None
    """What is counted against limits."""
    price_version: str = ""
    is_estimated: bool = False
    """The tokens are Weir's bound or count, not upstream's own figures."""
    is_cache_hit: bool = False

    latency_us: int = 0
    upstream_us: int = 0
    """Time spent waiting for upstream, first byte sent to last byte read."""
    time_to_first_token_us: int | None = None
    overhead_us: int = 0
    """Ours: what the call took beyond upstream, up to the first byte given to the caller."""
    worker: str = ""

    request: bytes = b""
    """The body of the call, for a key that logs it (`shouldLogRequest`); any content. Empty: none, or not logged."""
    response: bytes = b""
    """The body of the answer; a stream's is one JSON object where its frames make one."""
    is_request_cut: bool = False
    """`request` is not all of it: it was longer than may be kept, or its text was given up to keep the event."""
    is_response_cut: bool = False


def without_bodies(event: Event) -> Event:
    """The event without `request` and `response`, marked as cut where there was something."""
    if not event.request and not event.response:
        return event
    return msgspec.structs.replace(
        event,
        request=b"",
        response=b"",
        is_request_cut=event.is_request_cut or bool(event.request),
        is_response_cut=event.is_response_cut or bool(event.response),
    )


event_encoder = msgspec.json.Encoder()
event_decoder = msgspec.json.Decoder(Event)
