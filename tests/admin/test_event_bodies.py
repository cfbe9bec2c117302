"""Bodies on events, from the proxy's record to the operator's answer: bytes in are the bytes out, whatever they are."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import msgspec
import pytest
import pytest_asyncio
import structlog

from admin.edge import Edge
from admin.events import service
from admin.events.schemas import EventAnswer
from proxy.adapters.event_store import EventStore
from proxy.core.journal import encode_event
from shared.events import Event
from tests.admin.conftest import ADMIN_KEY
from tests.attempts import ADMITTED_US, make_event
from tests.journal_rig import Rig
from tests.servers import Database

V1, V2 = "/api/events", "/api/v2/events"
SECOND = ADMITTED_US // 1_000_000
MEGABYTE = bytes(range(256)) * 4096
BODIES = [
    pytest.param(b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"\xc3\xa9 \\u0000"}]}', id="JSON"),
    pytest.param(b'event: x\ndata: {"a":1}\r\n\r\ndata: [DONE]\n\n', id="server-sent events"),
    pytest.param(b"\xff\xfe\x80 no UTF-8 \xc3(", id="invalid UTF-8"),
    pytest.param(b"\x00", id="NUL alone"),
    pytest.param(b"a\x00b\x00", id="NUL inside"),
    pytest.param(b"\\x00", id="what looks like PostgreSQL's own escape"),
    pytest.param((b"0123456789abcdef" * 4096), id="64 KiB exactly"),
    pytest.param(MEGABYTE, id="1 MiB of every byte"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(database: Database) -> AsyncIterator[EventStore]:
    """The proxy's way into the database."""
    made = EventStore({**database.proxy, "command_timeout": 30})
    yield made
    made.close()


async def keep(store: EventStore, *events: Event) -> None:
    """Bring the events there as the journal has them."""
    for event in events:
        assert await store.ingest([encode_event(event)]) == 1


async def ask(admin: httpx2.AsyncClient, key_id: str, **over: Any) -> list[dict[str, Any]]:
    """The key's events by version 2, with bodies as bytes."""
    answer = await admin.post(V2, json={"start": SECOND - 9, "end": SECOND + 999, "keyIds": [key_id], **over})
    assert answer.status_code == 200, answer.text
    return [decoded(event) for event in answer.json()["events"]]


def decoded(event: dict[str, Any]) -> dict[str, Any]:
    for name in ("request", "response"):
        event[name] = base64.b64decode(event[name], validate=True)
    return event


@pytest.mark.parametrize("body", BODIES)
async def test_bytes_in_are_bytes_out(admin: httpx2.AsyncClient, store: EventStore, body: bytes) -> None:
    """As request and as response, in both versions of the query."""
    asked, answered = make_event(key_id=str(uuid4()), request=body), make_event(key_id=str(uuid4()), response=body)
    await keep(store, asked, answered)

    (by_request,), (by_response,) = await ask(admin, asked.key_id), await ask(admin, answered.key_id)
    assert (by_request["request"], by_request["response"]) == (body, b"{}")
    assert (by_response["request"], by_response["response"]) == (b"{}", body)
    window = {"keyIds": asked.key_id, "start": SECOND - 9, "end": SECOND + 9}
    (first_version,) = map(decoded, (await admin.get(V1, params=window)).json())
    assert first_version == by_request


async def test_without_bodies_there_is_an_empty_object(admin: httpx2.AsyncClient, store: EventStore) -> None:
    """Not logged and empty are the same, and nothing claims to have been cut."""
    event = make_event(key_id=str(uuid4()), request=b"", response=b"")
    await keep(store, event)

    (found,) = await ask(admin, event.key_id)
    assert (found["request"], found["response"]) == (b"{}", b"{}")
    assert (found["is_request_cut"], found["is_response_cut"]) == (False, False)


async def test_a_cut_body_says_so(admin: httpx2.AsyncClient, store: EventStore) -> None:
    """Each for itself."""
    one = make_event(key_id=str(uuid4()), request=b"{", is_request_cut=True)
    other = make_event(key_id=one.key_id, response=b"{", is_response_cut=True, ended_at=ADMITTED_US)
    await keep(store, one, other)

    found = await ask(admin, one.key_id)
    assert [(event["is_request_cut"], event["is_response_cut"]) for event in found] == [(True, False), (False, True)]


async def test_a_long_list_is_brought_in_groups(
    admin: httpx2.AsyncClient, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its order, each event with its own bodies, and never more of them at once than a group may hold."""
    monkeypatch.setattr(service, "MAX_BODY_BYTES", 1000)
    groups: list[list[EventAnswer]] = []
    with_bodies = service.with_bodies

    async def watched(found: service.Found) -> AsyncIterator[list[EventAnswer]]:
        async for group in with_bodies(found):
            groups.append(group)
            yield group

    monkeypatch.setattr(service, "with_bodies", watched)
    sizes = [0, 10, 999, 1, 1001, 0, 0, 500, 500, 1, 3000, 0]
    events = [
        make_event(key_id="grouped", ended_at=ADMITTED_US + number * 1_000_000, request=b"%d" % number * size)
        for number, size in enumerate(sizes)
    ]
    await keep(store, *events)

    found = await ask(admin, "grouped", dateOrder="asc", returnCount=True)

    assert [event["id"] for event in found] == [event.id for event in events]
    assert [event["request"] for event in found] == [event.request or b"{}" for event in events]
    assert len(groups) > 4
    for group in groups:
        assert len(group) == 1 or sum(len(one.request) for one in group if one.request != b"{}") <= 1000


async def test_a_streamed_answer_is_the_contracts(
    admin: httpx2.AsyncClient, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With count, with the header that there are more, and never cached."""
    monkeypatch.setattr(service, "MAX_EVENTS", 2)
    for number in range(3):
        await keep(store, make_event(key_id="streamed", response=b"x", ended_at=ADMITTED_US + number))
    window = {"start": SECOND - 9, "end": SECOND + 9, "keyIds": ["streamed"]}

    answer = await admin.post(V2, json={**window, "returnCount": True})
    assert set(answer.json()) == {"events", "count"}
    assert (len(answer.json()["events"]), answer.json()["count"]) == (2, 3)
    assert answer.headers["x-weir-more"] == "true"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert "x-weir-more" not in (await admin.post(V2, json={**window, "limit": 2})).headers


async def test_an_event_that_is_dropped_meanwhile_has_no_bodies(
    admin: httpx2.AsyncClient, store: EventStore, owner: asyncpg.Connection
) -> None:
    """Retention may run between the list and its bodies."""
    event = make_event(key_id=str(uuid4()), request=b"gone")
    await keep(store, event)
    found = await service.find_events("", "", [event.key_id], None)
    await owner.execute("DELETE FROM events WHERE id = $1", event.id)

    groups = [group async for group in service.with_bodies(found)]
    assert [[one.request for one in group] for group in groups] == [[b"{}"]]


async def test_a_database_lost_in_the_middle_leaves_no_whole_answer(
    app: Edge, admin: httpx2.AsyncClient, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost before the first group it is a 503; after it the head has gone out, and the answer must not look whole."""
    await keep(store, make_event(key_id="half", request=b"x"), make_event(key_id="half", request=b"y"))
    monkeypatch.setattr(service, "MAX_BODY_BYTES", 1)
    fill, left = service._fill, 0

    async def lose(*arguments: Any) -> Any:
        nonlocal left
        if not left:
            raise ConnectionResetError
        left -= 1
        return await fill(*arguments)

    monkeypatch.setattr(service, "_fill", lose)
    window = {"start": SECOND - 9, "end": SECOND + 9, "keyIds": ["half"]}
    lost_at_once = await admin.post(V2, json=window)
    left = 1
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": msgspec.json.encode(window), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": V2,
        "raw_path": V2.encode(), "root_path": "", "query_string": b"", "scheme": "http", "state": {},
        "headers": [(b"x-api-key", ADMIN_KEY.encode())], "client": ("127.0.0.1", 1), "server": ("weir", 80),
    }  # fmt: skip
    with structlog.testing.capture_logs() as told:
        await app(scope, receive, send)

    assert [(line["log_level"], line["status"]) for line in told] == [("error", 500)]
    assert (lost_at_once.status_code, lost_at_once.json()["type"]) == (503, "/errors/database-unavailable")
    assert sent[0]["status"] == 200
    assert sent[1]["body"].startswith(b'{"events":[{"id":')
    assert all(message["more_body"] for message in sent[1:])  # so the server ends the connection


async def test_large_bodies_are_shipped_in_small_batches(database: Database, tmp_path: Path) -> None:
    """Forty calls of 2 MiB each: a batch is about a megabyte or one event, never all of them at once."""
    rig = Rig(tmp_path / "journal", {**database.proxy, "command_timeout": 30}, segment_bytes=64 << 20)
    sent = [make_event(key_id="large", request=MEGABYTE, response=MEGABYTE[::-1]) for _ in range(40)]
    small = [make_event(key_id="large") for _ in range(5)]
    for event in (*sent, *small):
        rig.journal.close(event, None)
    sizes: list[int] = []
    ingest = rig.store.ingest

    async def watched(documents: Any) -> int:
        sizes.append(sum(map(len, documents)))
        return await ingest(documents)

    rig.store.ingest = watched  # type: ignore[method-assign]
    await rig.shipper.ship_waiting()
    await rig.close()

    assert max(sizes) < 4 << 20
    connection = await asyncpg.connect(**database.owner)
    rows = await connection.fetch("SELECT request, response, count(*) FROM events WHERE key_id = 'large' GROUP BY 1, 2")
    await connection.close()
    assert {(row[0], row[1]): row[2] for row in rows} == {(MEGABYTE, MEGABYTE[::-1]): 40, (b"", b""): 5}
