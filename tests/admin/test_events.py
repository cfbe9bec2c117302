"""Events are found by the contract's filters and answered in its names (contract §2.5)."""

import base64
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import msgspec
import pytest
import pytest_asyncio

from admin.events import service
from admin.tables import Event
from tests.admin.conftest import event
from tests.servers import Database

V1, V2 = "/api/events", "/api/v2/events"
SECOND = 1_000_000
T0 = 1_800_000_000
CONTRACT_MEMBERS = {
    "id", "created_at", "tags", "key_id", "cost_in_usd", "provider", "model", "status", "prompt_token_count",
    "completion_token_count", "latency_in_ms", "path", "method", "custom_id", "request", "response", "userId", "action",
    "policyId", "routeId", "correlationId", "metadata",
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def proxy(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**database.proxy)
    yield connection
    await connection.close()


async def ingest(proxy: asyncpg.Connection, *events: dict[str, Any]) -> None:
    await proxy.fetchval("SELECT ingest_events($1::jsonb)", msgspec.json.encode(events).decode())


def ended(second: int, microsecond: int = 0, **over: Any) -> dict[str, Any]:
    at = (T0 + second) * SECOND + microsecond
    return event(admitted_at=at - 10, ended_at=at, **over)


async def query(admin: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await admin.post(V2, json={"start": T0 - 1000, "end": T0 + 1000, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ids(admin: httpx2.AsyncClient, **body: Any) -> list[str]:
    return [found["id"] for found in (await query(admin, **body))["events"]]


async def test_event_is_answered_in_the_contracts_names(admin: httpx2.AsyncClient, proxy: asyncpg.Connection) -> None:
    """Exact cost, token sums, base64 of JSON; and more beside it."""
    sent = event(
        ended_at=T0 * SECOND + 999_999,
        key_id=str(uuid4()),
        tags=["a", "b"],
        user_id="u",
        custom_id="c",
        metadata='{"a": "ü"}',
        provider="openai",
        requested_model="gpt-4o-mini",
        path="/api/providers/openai/v1/chat/completions",
        method="POST",
        input_tokens=10,
        cached_input_tokens=3,
        output_tokens=5,
        reasoning_tokens=2,
        charged_cost_nano=1,
        list_cost_nano=2_500_000_000,
        latency_us=1_234_567,
        action="allowed",
        policy_id="p",
        route_id="r",
    )
    await ingest(proxy, sent)
    answer = await admin.post(V2, json={"start": T0, "end": T0 + 1, "keyIds": [sent["key_id"]]})
    (found,) = msgspec.json.Decoder(float_hook=Decimal).decode(answer.content)["events"]

    assert {name: found[name] for name in CONTRACT_MEMBERS} == {
        "id": sent["id"],
        "created_at": T0,
        "tags": ["a", "b"],
        "key_id": sent["key_id"],
        "cost_in_usd": Decimal("0.000000001"),
        "provider": "openai",
        "model": "gpt-4o-mini",
        "status": 200,
        "prompt_token_count": 13,
        "completion_token_count": 7,
        "latency_in_ms": 1234,
        "path": "/api/providers/openai/v1/chat/completions",
        "method": "POST",
        "custom_id": "c",
        "request": base64.b64encode(b"{}").decode(),
        "response": base64.b64encode(b"{}").decode(),
        "userId": "u",
        "action": "allowed",
        "policyId": "p",
        "routeId": "r",
        "correlationId": sent["request_id"],
        "metadata": found["metadata"],
    }
    assert msgspec.json.decode(base64.b64decode(found["metadata"])) == '{"a": "ü"}'
    assert found["list_cost_in_usd"] == Decimal("2.5")
    assert (found["cached_input_tokens"], found["reasoning_tokens"], found["outcome"]) == (3, 2, "completed")
    assert (found["admitted_at_us"], found["ended_at_us"]) == (sent["admitted_at"], sent["ended_at"])


async def test_unknown_cost_is_null(admin: httpx2.AsyncClient, proxy: asyncpg.Connection) -> None:
    """And a free call's is 0; without metadata there is an empty object."""
    key_id = str(uuid4())
    await ingest(proxy, ended(1, key_id=key_id), ended(0, key_id=key_id, charged_cost_nano=0, list_cost_nano=0))
    unknown, free = (await query(admin, keyIds=[key_id]))["events"]

    assert (unknown["cost_in_usd"], free["cost_in_usd"]) == (None, 0)
    assert base64.b64decode(free["metadata"]) == b"{}"


async def test_get_with_a_body_is_the_same(admin: httpx2.AsyncClient, proxy: asyncpg.Connection) -> None:
    """The contract's documentation writes it so."""
    key_id = str(uuid4())
    await ingest(proxy, ended(0, key_id=key_id))
    body = {"START": T0, "end": T0 + 1, "KeyIds": [key_id], "requestContent": "ignored", "unknown": 1}
    by_get, by_post = await admin.request("GET", V2, json=body), await admin.post(V2, json=body)

    assert by_get.json() == by_post.json()
    assert len(by_get.json()["events"]) == 1


async def test_every_filter_narrows(admin: httpx2.AsyncClient, proxy: asyncpg.Connection) -> None:
    """Any of the ids, all of the tags, AND-ed."""
    mark = f"mark-{uuid4()}"
    one = ended(
        1, key_id="k1", user_id="u1", custom_id="c1", tags=[mark, "x"], policy_id="p1", action="warned", status=200
    )
    two = ended(2, key_id="k2", user_id="u2", custom_id="c2", tags=[mark], policy_id="p2", action="blocked", status=403)
    three = ended(3, key_id="k1", user_id="u2", custom_id="c1", tags=[mark, "x", "y"], status=429)
    await ingest(proxy, one, two, three)
    first, second, third = one["id"], two["id"], three["id"]
    expected: list[tuple[dict[str, Any], list[str]]] = [
        ({}, [third, second, first]),
        ({"keyIds": ["k1"]}, [third, first]),
        ({"keyIds": ["k1", "k2"]}, [third, second, first]),
        ({"userIds": ["u1"]}, [first]),
        ({"userIds": ["u1", "u2"], "customIds": ["c1"]}, [third, first]),
        ({"customIds": ["c2"]}, [second]),
        ({"tags": [mark, "x"]}, [third, first]),
        ({"tags": [mark, "y", "x"]}, [third]),
        ({"tags": [mark, "z"]}, []),
        ({"policyIds": ["p1", "p2"]}, [second, first]),
        ({"actions": ["blocked"]}, [second]),
        ({"actions": ["blocked", "warned"]}, [second, first]),
        ({"status": 429}, [third]),
        ({"keyIds": ["k1"], "status": 200, "actions": ["warned"], "userIds": ["u1"]}, [first]),
        ({"keyIds": ["k1' OR '1'='1"]}, []),
        ({"userIds": ["%"]}, []),
        ({"dateOrder": "asc"}, [first, second, third]),
        ({"dateOrder": "desc"}, [third, second, first]),
        ({"limit": 2}, [third, second]),
        ({"limit": 2, "offset": 2}, [first]),
        ({"offset": 1}, [second, first]),
    ]
    for body, found in expected:
        assert await ids(admin, **{"tags": [mark], **body}) == found, body


async def test_window_is_half_open_by_whole_seconds(admin: httpx2.AsyncClient, proxy: asyncpg.Connection) -> None:
    """An event belongs to the second in which it ended: [start, end)."""
    key_id = str(uuid4())
    edges = [ended(9, 999_999), ended(10, 0), ended(10, 999_999), ended(19, 999_999), ended(20, 0)]
    edges = [{**edge, "key_id": key_id} for edge in edges]
    await ingest(proxy, *edges)

    found = await ids(admin, keyIds=[key_id], start=T0 + 10, end=T0 + 20, dateOrder="asc")
    assert found == [edge["id"] for edge in edges[1:4]]


async def test_long_calls_are_found_by_their_end(admin: httpx2.AsyncClient, proxy: asyncpg.Connection) -> None:
    """Admitted weeks before the window."""
    key_id = str(uuid4())
    long = event(key_id=key_id, admitted_at=(T0 - 30 * 86_400) * SECOND, ended_at=T0 * SECOND)
    await ingest(proxy, long)

    assert await ids(admin, keyIds=[key_id], start=T0, end=T0 + 1) == [long["id"]]


async def test_cost_order(admin: httpx2.AsyncClient, proxy: asyncpg.Connection) -> None:
    """Both ways, with unknown costs last."""
    key_id = str(uuid4())
    cheap, dear, unknown = ended(1, charged_cost_nano=1), ended(2, charged_cost_nano=9), ended(3)
    await ingest(proxy, *({**one, "key_id": key_id} for one in (cheap, dear, unknown)))

    assert await ids(admin, keyIds=[key_id], costOrder="asc") == [cheap["id"], dear["id"], unknown["id"]]
    assert await ids(admin, keyIds=[key_id], costOrder="desc") == [dear["id"], cheap["id"], unknown["id"]]


async def test_count(admin: httpx2.AsyncClient, proxy: asyncpg.Connection) -> None:
    """Of all that match, whatever the limit, if asked for."""
    key_id = str(uuid4())
    await ingest(proxy, *(ended(n, key_id=key_id) for n in range(5)))

    counted = await query(admin, keyIds=[key_id], limit=2, returnCount=True)
    assert (len(counted["events"]), counted["count"]) == (2, 5)
    assert (await query(admin, keyIds=[key_id]))["count"] == 0


async def test_one_answer_is_bounded(
    admin: httpx2.AsyncClient, proxy: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `limit` 0 the newest come, and a header says that there are more; a limit that was asked for is no cut."""
    monkeypatch.setattr(service, "MAX_EVENTS", 3)
    key_id = str(uuid4())
    await ingest(proxy, *(ended(n, key_id=key_id, custom_id=key_id) for n in range(4)))
    window = {"start": T0, "end": T0 + 100, "keyIds": [key_id]}

    cut = await admin.post(V2, json=window)
    assert (len(cut.json()["events"]), cut.headers.get("x-weir-more")) == (3, "true")
    rest = await admin.post(V2, json={**window, "offset": 3})
    assert (len(rest.json()["events"]), rest.headers.get("x-weir-more")) == (1, None)
    asked = await admin.post(V2, json={**window, "limit": 3})
    assert (len(asked.json()["events"]), asked.headers.get("x-weir-more")) == (3, None)
    too_much = await admin.post(V2, json={**window, "limit": 4})
    assert (too_much.status_code, too_much.json()["detail"]) == (400, "limit cannot be larger than 3")
    first_version = await admin.get(V1, params={"customId": key_id})
    assert (len(first_version.json()), first_version.headers.get("x-weir-more")) == (3, "true")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"start": 0, "end": 0}, "fields [start, end] are invalid"),
    ({"start": None}, "fields [start] are invalid"),
    ({"start": -1}, "fields [start] are invalid"),
    ({"end": 10**15}, "fields [end] are invalid"),
    ({"limit": -1, "offset": -1}, "fields [limit, offset] are invalid"),
    ({"status": 2**31}, "fields [status] are invalid"),
    ({"start": 20, "end": 10}, "start 20 cannot be larger than end 10"),
    ({"start": 10, "end": 10}, "start 10 cannot be larger than end 10"),
    ({"actions": ["allowed", "nonsense"]}, "action cannot be nonsense"),
    ({"costOrder": "up"}, "cost order is not valid up"),
    ({"dateOrder": "ASC"}, "date order is not valid ASC"),
    ({"costOrder": "asc", "dateOrder": "asc"}, "cost order and date order cannot be both present"),
    ({"limit": 10_001}, "limit cannot be larger than 10000"),
]


@pytest.mark.parametrize(("over", "detail"), REFUSED, ids=[detail for _, detail in REFUSED])
async def test_invalid_query_is_400(admin: httpx2.AsyncClient, over: dict[str, Any], detail: str) -> None:
    """With the contract's title and texts."""
    answer = await admin.post(V2, json={"start": T0, "end": T0 + 1, **over})

    assert answer.json() == {
        "type": "/errors/validation",
        "title": "get events request validation failed",
        "status": 400,
        "detail": detail,
        "instance": V2,
    }
    assert answer.status_code == 400


async def test_first_version(admin: httpx2.AsyncClient, proxy: asyncpg.Connection) -> None:
    """By customId, userId, keyIds, AND-ed; the window counts with keyIds only, and both its ends belong to it."""
    custom_id, user_id, key_id, other = (f"v1-{uuid4()}" for _ in range(4))
    first = ended(10, 0, custom_id=custom_id, user_id=user_id, key_id=key_id)
    second = ended(20, 999_999, custom_id=custom_id, key_id=other)
    await ingest(proxy, first, second)

    async def found(**params: Any) -> list[str]:
        answer = await admin.get(V1, params=params)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()]

    newest_first = [second["id"], first["id"]]
    assert await found(customId=custom_id) == newest_first
    assert await found(userId=user_id) == [first["id"]]
    assert await found(customId=custom_id, userId=user_id) == [first["id"]]
    assert await found(customId=custom_id, start=1, end=2) == newest_first
    assert await found(customId=custom_id, start="bad") == newest_first
    assert await found(keyIds=[key_id, other], start=T0 + 10, end=T0 + 20) == newest_first
    assert await found(keyIds=[key_id, other], start=T0 + 11, end=T0 + 19) == []
    assert await found(keyIds=[key_id], customId=custom_id, start=T0, end=T0 + 99) == [first["id"]]
    assert await found(customId="unknown' OR '1'='1") == []


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({}, "no-filters-empty"),
        ({"customId": "", "keyIds": ["", ""]}, "no-filters-empty"),
        ({"keyIds": "k"}, "query-param-start-missing"),
        ({"keyIds": "k", "end": "5"}, "query-param-start-missing"),
        ({"keyIds": "k", "start": "5"}, "query-param-end-missing"),
        ({"keyIds": "k", "start": "now", "end": "5"}, "bad-start-query-param"),
        ({"keyIds": "k", "start": "-1", "end": "5"}, "bad-start-query-param"),
        ({"keyIds": "k", "start": "1.5", "end": "5"}, "bad-start-query-param"),
        ({"keyIds": "k", "start": "5", "end": "١"}, "bad-end-query-param"),
        ({"keyIds": "k", "start": "5", "end": "9" * 40}, "bad-end-query-param"),
        ({"customId": "a\x00b"}, "bad-request"),
    ],
)
async def test_first_version_refuses(admin: httpx2.AsyncClient, params: dict[str, Any], kind: str) -> None:
    """With the contract's types."""
    answer = await admin.get(V1, params=params)

    assert (answer.status_code, answer.json()["type"]) == (400, f"/errors/{kind}")
    assert answer.json()["instance"] == V1


async def test_old_partitions_are_skipped(owner: asyncpg.Connection) -> None:
    """The window's lower bound on admission lets PostgreSQL leave out months that cannot matter."""
    start = int(datetime.now(UTC).timestamp()) + 150 * 86_400
    query = Event.select(Event.id)
    for condition in service._ended(start, start + 86_400):
        query = query.where(condition)
    sql, values = query.querystrings[0].compile_string()
    plan = "\n".join(row[0] for row in await owner.fetch(f"EXPLAIN {sql}", *values))

    scanned = set(re.findall(r"on (events_\w+)", plan))
    assert 1 <= len(scanned) <= 3
