"""Events on the wire (contract §2.5): its own mixed names first, then what Weir knows beyond it, in snake_case."""

from decimal import Decimal

import msgspec


class EventQuery(msgspec.Struct, rename="camel", kw_only=True):
    """The body of POST or GET /api/v2/events."""

    start: int = 0
    """Unix seconds; events that ended in [start, end)."""
    end: int = 0
    user_ids: list[str] = []
    custom_ids: list[str] = []
    key_ids: list[str] = []
    tags: list[str] = []
    """An event has all of these."""
    policy_ids: list[str] = []
    actions: list[str] = []
    status: int = 0
    """0: any."""
    limit: int = 0
    """0: as many as one answer holds."""
    offset: int = 0
    cost_order: str = ""
    date_order: str = ""
    return_count: bool = False


class EventAnswer(msgspec.Struct, kw_only=True):
    """One attempt. Times are Unix seconds where the contract says so, else the unit is in the name."""

    id: str
    created_at: int
    """When it ended."""
    tags: list[str]
    key_id: str
    cost_in_usd: Decimal | None
    """What was counted against limits. null: the price is not known, which is not 0."""
    provider: str
    model: str
    """The model that was asked for."""
    status: int
    prompt_token_count: int
    completion_token_count: int
    latency_in_ms: int
    path: str
    method: str
    custom_id: str
    request: bytes
    """Base64 of the call's body as it came; of `{}` where there is none or the key does not log it."""
    response: bytes
    """The same of the answer; a stream is put together to one JSON object where its frames make one."""
    userId: str  # noqa: N815 -- the contract's name, like the next four
    action: str
    policyId: str  # noqa: N815
    routeId: str  # noqa: N815
    correlationId: str  # noqa: N815
    metadata: str
    """Base64 of the header X-METADATA as a JSON string; of `{}` without it."""

    outcome: str
    error_kind: str
    refusals: int
    is_final: bool
    is_stream: bool
    is_estimated: bool
    is_cache_hit: bool
    is_request_cut: bool
    """`request` is not all of it, or was given up; like `is_response_cut`."""
    is_response_cut: bool
    account_id: str
    project_id: str
    setting_id: str
    endpoint: str
    upstream_model: str
    response_model: str
    upstream_request_id: str
    upstream_response_id: str
    list_cost_in_usd: Decimal | None
    price_version: str
    input_tokens: int
    cached_input_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    audio_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    audio_output_tokens: int
    admitted_at_us: int
    ended_at_us: int
    latency_us: int
    upstream_us: int
    overhead_us: int
    time_to_first_token_us: int | None


class EventPage(msgspec.Struct):
    """The answer of v2. `count` is the number of all that match if it was asked for, else 0."""

    events: list[EventAnswer]
    count: int
