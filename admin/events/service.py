"""Queries of events. Every value is a bound parameter; every query is bounded in rows, in bytes and in time.

Bodies are not part of a list's query: `with_bodies` brings them a few megabytes at a time, however many events ask.
"""

import base64
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from piccolo.columns.combination import WhereRaw
from piccolo.query.functions.base import Function
from piccolo.query.mixins import OrderByRaw

from admin.answers import unscaled
from admin.errors import invalid
from admin.events.schemas import EventAnswer, EventQuery
from admin.tables import Event

MAX_EVENTS = 10_000
"""Most events in one answer, whatever was asked for; more are fetched with `offset`."""
MAX_BODY_BYTES = 4 << 20
"""Bodies of about so many bytes are in memory at once for an answer."""

LATEST_SECOND = 253_402_300_799  # the end of the year 9999
INVALID = "get events request validation failed"
ACTIONS = frozenset({"warned", "allowed", "blocked", "redacted"})
ORDERS = ("", "asc", "desc")
_EMPTY_OBJECT = b"{}"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Partitions are by admission, the contract's filter is by end. No call lasts longer than this, so a lower bound on
# admission lets PostgreSQL skip the older partitions.
_LONGEST_CALL = timedelta(days=31)

_NEWEST = ((Event.ended_at, False), (Event.id, False))
_UNKNOWN_LAST = (OrderByRaw("charged_cost_nano IS NULL"), True)
# (costOrder, dateOrder) -> what to order by, and whether upwards
_ORDERS: dict[tuple[str, str], tuple[tuple[Any, bool], ...]] = {
    ("", ""): _NEWEST,
    ("", "desc"): _NEWEST,
    ("", "asc"): ((Event.ended_at, True), (Event.id, True)),
    ("desc", ""): (_UNKNOWN_LAST, (Event.charged_cost_nano, False), *_NEWEST),
    ("asc", ""): (_UNKNOWN_LAST, (Event.charged_cost_nano, True), *_NEWEST),
}


class _Bytes(Function):
    """The length of a column in bytes; PostgreSQL knows it without reading the content."""

    function_name = "octet_length"


class Found(NamedTuple):
    """Events without their bodies, newest first unless asked otherwise."""

    events: list[EventAnswer]
    body_bytes: list[int]
    """What each event's bodies take."""
    is_cut: bool
    """There are more than one answer holds."""


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _usd(nano: int | None) -> Any:
    return None if nano is None else unscaled(nano, 9)


def _metadata(text: str) -> str:
    """The contract stores the header as a JSON string and shows base64 of that JSON."""
    return base64.b64encode(msgspec.json.encode(text) if text else _EMPTY_OBJECT).decode()


_SAME_NAMES = [
    name
    for name in EventAnswer.__struct_fields__
    if name in {column._meta.name for column in Event._meta.columns} - {"id", "metadata", "request", "response"}
]
_COLUMNS = [column for column in Event._meta.columns if column._meta.name not in ("request", "response")]
_SIZES = (_Bytes(Event.request, alias="request_bytes"), _Bytes(Event.response, alias="response_bytes"))


def _answer(row: dict[str, Any]) -> EventAnswer:
    prompt = ("input", "cached_input", "cache_write_5m", "cache_write_1h", "audio_input")
    completion = ("output", "reasoning", "audio_output")
    return EventAnswer(
        **{name: row[name] for name in _SAME_NAMES},
        id=str(row["id"]),
        created_at=_microseconds(row["ended_at"]) // 1_000_000,
        cost_in_usd=_usd(row["charged_cost_nano"]),
        model=row["requested_model"],
        prompt_token_count=sum(row[f"{token_class}_tokens"] for token_class in prompt),
        completion_token_count=sum(row[f"{token_class}_tokens"] for token_class in completion),
        latency_in_ms=row["latency_us"] // 1000,
        request=_EMPTY_OBJECT,
        response=_EMPTY_OBJECT,
        metadata=_metadata(row["metadata"]),
        userId=row["user_id"],
        policyId=row["policy_id"],
        routeId=row["route_id"],
        correlationId=str(row["request_id"]),
        list_cost_in_usd=_usd(row["list_cost_nano"]),
        admitted_at_us=_microseconds(row["admitted_at"]),
        ended_at_us=_microseconds(row["ended_at"]),
    )


def _ended(start: int, end: int) -> list[WhereRaw]:
    """Events whose second of ending lies in [start, end)."""
    first, last = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)
    earliest = max(first, _EPOCH + _LONGEST_CALL) - _LONGEST_CALL
    return [
        WhereRaw("ended_at >= {} AND ended_at < {}", first, last),
        WhereRaw("admitted_at >= {} AND admitted_at < {}", earliest, last),
    ]


async def _fetch(conditions: list[WhereRaw], order: tuple[str, str], limit: int, offset: int) -> Found:
    query = Event.select(*_COLUMNS, *_SIZES)
    for condition in conditions:
        query = query.where(condition)
    most = min(limit or MAX_EVENTS, MAX_EVENTS)
    for column, is_ascending in _ORDERS[order]:
        query = query.order_by(column, ascending=is_ascending)
    rows = await query.limit(most + 1).offset(offset)
    is_cut = len(rows) > most and limit != most
    del rows[most:]
    return Found(
        [_answer(row) for row in rows], [row["request_bytes"] + row["response_bytes"] for row in rows], is_cut=is_cut
    )


async def with_bodies(found: Found) -> AsyncGenerator[list[EventAnswer]]:
    """The events in their order, now with bodies, in groups of about MAX_BODY_BYTES.

    Each group is a query of its own: a caller that reads slowly holds no connection of the database.
    """
    group: list[EventAnswer] = []
    size = 0
    for event, body_bytes in zip(found.events, found.body_bytes, strict=True):
        if group and size + body_bytes > MAX_BODY_BYTES:
            yield await _fill(group, size)
            group, size = [], 0
        group.append(event)
        size += body_bytes
    yield await _fill(group, size)


async def _fill(events: list[EventAnswer], body_bytes: int) -> list[EventAnswer]:
    if not body_bytes:
        return events
    query = Event.select(Event.id, Event.request, Event.response).where(
        WhereRaw(
            "admitted_at = ANY({}::timestamptz[]) AND id = ANY({}::uuid[])",
            [_EPOCH + event.admitted_at_us * _MICROSECOND for event in events],
            [event.id for event in events],
        )
    )
    rows = {str(row["id"]): row for row in await query}
    filled: list[EventAnswer] = []
    for event in events:
        bodies = rows.get(event.id, {})  # none: retention took it meanwhile
        filled.append(
            msgspec.structs.replace(
                event,
                request=bodies.get("request") or _EMPTY_OBJECT,
                response=bodies.get("response") or _EMPTY_OBJECT,
            )
        )
    return filled


async def find_events(custom_id: str, user_id: str, key_ids: list[str], window: tuple[int, int] | None) -> Found:
    """Version 1: events that match every filter that is given. `window` is [start, end), Unix seconds of the end."""
    conditions: list[WhereRaw] = []
    if custom_id:
        conditions.append(WhereRaw("custom_id = {}", custom_id))
    if user_id:
        conditions.append(WhereRaw("user_id = {}", user_id))
    if key_ids:
        conditions.append(WhereRaw("key_id = ANY({}::text[])", key_ids))
    if window:
        conditions += _ended(*window)
    return await _fetch(conditions, ("", ""), 0, 0)


def check_query(query: EventQuery) -> None:
    """Raises Problem (400) for the first rule that `query` breaks."""
    wrong = [name for name in ("start", "end") if not 0 < getattr(query, name) <= LATEST_SECOND]
    wrong += [name for name in ("status", "limit", "offset") if not 0 <= getattr(query, name) < 2**31]
    if wrong:
        raise invalid(INVALID, f"fields [{', '.join(wrong)}] are invalid")
    if query.start >= query.end:
        raise invalid(INVALID, f"start {query.start} cannot be larger than end {query.end}")
    for action in query.actions:
        if action not in ACTIONS:
            raise invalid(INVALID, f"action cannot be {action}")
    if query.cost_order not in ORDERS:
        raise invalid(INVALID, f"cost order is not valid {query.cost_order}")
    if query.date_order not in ORDERS:
        raise invalid(INVALID, f"date order is not valid {query.date_order}")
    if query.cost_order and query.date_order:
        raise invalid(INVALID, "cost order and date order cannot be both present")
    if query.limit > MAX_EVENTS:
        raise invalid(INVALID, f"limit cannot be larger than {MAX_EVENTS}")


async def query_events(query: EventQuery) -> tuple[Found, int]:
    """Version 2. Also the number of all that match, if it was asked for, else 0."""
    check_query(query)
    conditions = _ended(query.start, query.end)
    for column, values in (
        ("user_id", query.user_ids),
        ("custom_id", query.custom_ids),
        ("key_id", query.key_ids),
        ("policy_id", query.policy_ids),
        ("action", query.actions),
    ):
        if values:
            conditions.append(WhereRaw(f"{column} = ANY({{}}::text[])", values))
    if query.tags:
        conditions.append(WhereRaw("tags @> {}::text[]", query.tags))
    if query.status:
        conditions.append(WhereRaw("status = {}", query.status))
    found = await _fetch(conditions, (query.cost_order, query.date_order), query.limit, query.offset)
    count = 0
    if query.return_count:
        counting = Event.count()
        for condition in conditions:
            counting = counting.where(condition)
        count = await counting
    return found, count
