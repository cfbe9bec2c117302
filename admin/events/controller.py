"""Routes of events: `/api/events` and `/api/v2/events` (contract §2.5)."""

from collections.abc import AsyncGenerator
from typing import Any

from litestar import Controller, Request, Response, get, route
from litestar.enums import HttpMethod
from litestar.response import Stream

from admin.answers import JSON, encode, query_value, query_values
from admin.body import decode
from admin.errors import Problem
from admin.events import service
from admin.events.schemas import EventAnswer, EventQuery

MORE = {"x-weir-more": "true"}
"""Told when there are more events than one answer holds."""


def _second(request: Request[Any, Any, Any], name: str) -> int:
    text = query_value(request, name)
    if not text:
        raise Problem(400, f"query-param-{name}-missing", f"query param {name} is missing", f"keyIds need {name}")
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) < service.LATEST_SECOND):
        raise Problem(400, f"bad-{name}-query-param", f"query param {name} is bad", f"{name} must be Unix seconds")
    return int(text)


async def _answer(found: service.Found, head: bytes, tail: bytes) -> Response[Any]:
    """The events as JSON between `head` and `tail`: at once, or group by group where bodies are many."""
    groups = service.with_bodies(found)
    first = await anext(groups)
    headers = MORE if found.is_cut else None
    begun = head + encode(first)[1:-1]
    if len(first) == len(found.events):
        return Response(begun + tail, status_code=200, media_type=JSON, headers=headers)
    return Stream(_told(begun, groups, tail), status_code=200, media_type=JSON, headers=headers)


async def _told(begun: bytes, groups: AsyncGenerator[list[EventAnswer]], tail: bytes) -> AsyncGenerator[bytes]:
    yield begun
    async for events in groups:
        yield b"," + encode(events)[1:-1]
    yield tail


class EventController(Controller):
    """Find events."""

    path = "/api"

    @get("/events")
    async def find(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """Version 1: by customId, userId or keyIds; keyIds within [start, end], both included."""
        custom_id, user_id = query_value(request, "customId"), query_value(request, "userId")
        key_ids = query_values(request, "keyIds")
        if not (custom_id or user_id or key_ids):
            detail = "one of customId, userId and keyIds is needed"
            raise Problem(400, "no-filters-empty", "none of the filters is specified", detail)
        window = (_second(request, "start"), _second(request, "end") + 1) if key_ids else None
        found = await service.find_events(custom_id, user_id, key_ids, window)
        return await _answer(found, b"[", b"]")

    # The contract's documentation has GET with a JSON body, its code POST (§2.9).
    @route("/v2/events", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def query(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """Version 2: by the filters of the body, within [start, end)."""
        found, count = await service.query_events(decode(await request.body(), EventQuery))
        return await _answer(found, b'{"events":[', b'],"count":%d}' % count)
