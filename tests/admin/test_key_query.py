"""POST /api/v2/key-management/keys (contract §2.2): every filter, order, pages, and lists longer than one step."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import msgspec
import pytest
import pytest_asyncio

from admin.edge import Edge
from admin.keys import finding
from tests.admin.conftest import ADMIN_KEY, KEYS, make_key, make_setting, read_key

QUERY = "/api/v2/key-management/keys"


async def ask(admin: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await admin.post(QUERY, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert set(answer.json()) == {"keys", "count"}
    return answer.json()


async def names(admin: httpx2.AsyncClient, **body: Any) -> list[str]:
    return [key["name"] for key in (await ask(admin, **body))["keys"]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tag(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> AsyncIterator[str]:
    """Five keys made one after the other (the last two at the same moment), told from all others by their tag."""
    tag = f"tag-{uuid4()}"
    setting_id = (await make_setting(admin))["id"]
    bodies: list[dict[str, Any]] = [
        {"name": "100%_sure", "tags": [tag, "red"]},
        {"name": "Back\\slash", "tags": [tag, "red", "blue"]},
        {"name": "ÄPFEL und Birnen", "ttl": "1us"},
        {"name": "revoked", "costLimitInUsd": 1},
        {"name": "plain", "costLimitInUsd": 0.000000001, "rateLimitOverTime": 2, "rateLimitUnit": "m"},
    ]
    for number, body in enumerate(bodies):
        key = await make_key(admin, settingId=setting_id, **{"tags": [tag], **body})
        made = f"2026-01-0{min(number, 3) + 1}T00:00:00Z"
        await owner.execute("UPDATE keys SET created_at = $1::text::timestamptz WHERE id = $2", made, key["keyId"])
        if body["name"] == "revoked":
            await admin.patch(f"{KEYS}/{key['keyId']}", json={"revoked": True})
        if body["name"] == "plain":
            await owner.execute("INSERT INTO spend_carried VALUES ($1, 'default', 1, 1)", key["keyId"])
    yield tag


FOUND: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"100%_sure", "Back\\slash", "ÄPFEL und Birnen", "revoked", "plain"}),
    ({"tags": ["red"]}, {"100%_sure", "Back\\slash"}),
    ({"tags": ["red", "blue"]}, {"Back\\slash"}),
    ({"tags": ["RED"]}, set()),
    ({"tags": ["re"]}, set()),
    ({"tags": ["%"]}, set()),
    ({"name": "SURE"}, {"100%_sure"}),
    ({"name": "%"}, {"100%_sure"}),
    ({"name": "_"}, {"100%_sure"}),
    ({"name": "0%_s"}, {"100%_sure"}),
    ({"name": "0__s"}, set()),
    ({"name": "\\"}, {"Back\\slash"}),
    ({"name": "back\\SL"}, {"Back\\slash"}),
    ({"name": "äpfel UND"}, {"ÄPFEL und Birnen"}),
    ({"name": "'; DROP TABLE keys; --"}, set()),
    ({"name": "n" * 100_000}, set()),
    ({"name": ""}, {"100%_sure", "Back\\slash", "ÄPFEL und Birnen", "revoked", "plain"}),
    ({"revoked": True}, {"ÄPFEL und Birnen", "revoked", "plain"}),
    ({"revoked": False}, {"100%_sure", "Back\\slash"}),
    ({"revoked": None}, {"100%_sure", "Back\\slash", "ÄPFEL und Birnen", "revoked", "plain"}),
    ({"revoked": True, "name": "v"}, {"revoked"}),
    ({"revoked": False, "name": "s", "tags": ["red"]}, {"100%_sure", "Back\\slash"}),
    ({"revoked": True, "tags": ["red"]}, set()),
    ({"keyIds": ["nonsense"]}, set()),
    ({"keyIds": [str(uuid4())]}, set()),
    ({"keyIds": None, "tags": None, "name": None, "limit": None, "order": None, "returnCount": None},
     {"100%_sure", "Back\\slash", "ÄPFEL und Birnen", "revoked", "plain"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "expected"), FOUND, ids=[f"{n} {str(body)[:50]}" for n, (body, _) in enumerate(FOUND)]
)
async def test_filters(admin: httpx2.AsyncClient, tag: str, body: dict[str, Any], expected: set[str]) -> None:
    """Each alone and with others; the count is of the same keys."""
    tags = [tag, *(body.get("tags") or [])]
    found = await ask(admin, **{**body, "tags": tags, "returnCount": True})

    assert {key["name"] for key in found["keys"]} == expected
    assert found["count"] == len(expected)


async def test_keys_are_shown_as_ever(admin: httpx2.AsyncClient, tag: str) -> None:
    """The same objects as version 1 answers, also found by their ids."""
    found = (await ask(admin, tags=[tag]))["keys"]
    ids = [key["keyId"] for key in found]

    assert found == [await read_key(admin, key_id) for key_id in ids]
    assert (await ask(admin, keyIds=[ids[0], ids[2].upper(), "nonsense"]))["keys"] == [found[0], found[2]]


async def test_nothing_said_lists_everything(admin: httpx2.AsyncClient, tag: str, owner: asyncpg.Connection) -> None:
    """`{}` has no filter and no limit; the count is 0 unless asked for."""
    everything = await ask(admin)

    assert len(everything["keys"]) == await owner.fetchval("SELECT count(*) FROM keys") >= 5
    assert everything["count"] == 0


async def test_order_and_pages(admin: httpx2.AsyncClient, tag: str) -> None:
    """Newest first unless asked otherwise; keys of one moment keep one order, so pages neither repeat nor miss."""
    newest = await names(admin, tags=[tag])
    oldest = await names(admin, tags=[tag], order="asc")

    assert newest == await names(admin, tags=[tag], order="desc") == await names(admin, tags=[tag], order="")
    assert newest == oldest[::-1]
    assert oldest[:3] == ["100%_sure", "Back\\slash", "ÄPFEL und Birnen"]
    for order, whole in (("desc", newest), ("asc", oldest)):
        pages = [await names(admin, tags=[tag], order=order, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
        assert pages == [whole[:2], whole[2:4], whole[4:], []]
    assert await names(admin, tags=[tag], limit=0, offset=3) == newest
    page = await ask(admin, tags=[tag], limit=1, offset=1, returnCount=True)
    assert ([key["name"] for key in page["keys"]], page["count"]) == (newest[1:2], 5)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"order": "up"}, "order must be asc or desc"),
    ({"order": "ASC"}, "order must be asc or desc"),
    ({"limit": -1}, "fields [limit] are invalid"),
    ({"limit": 2**31}, "fields [limit] are invalid"),
    ({"offset": -1, "limit": -1}, "fields [limit, offset] are invalid"),
    ({"offset": 2**62}, "fields [offset] are invalid"),
    ({"tags": ["a", ""]}, "fields [tags] are invalid"),
    ({"keyIds": [""], "tags": [""]}, "fields [keyIds, tags] are invalid"),
]


@pytest.mark.parametrize(("body", "detail"), REFUSED)
async def test_invalid_query_is_400(admin: httpx2.AsyncClient, body: dict[str, Any], detail: str) -> None:
    """With the contract's title."""
    answer = await admin.post(QUERY, json=body)

    assert answer.status_code == 400
    assert answer.json() == {
        "type": "/errors/validation",
        "title": "get keys request validation failed",
        "status": 400,
        "detail": detail,
        "instance": QUERY,
    }


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6])
async def test_a_list_of_several_steps_is_the_same_list(
    admin: httpx2.AsyncClient, tag: str, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Whether it ends inside a step or with one, whatever the order, the limit and the version."""
    asked: list[dict[str, Any]] = [
        {"tags": [tag], "returnCount": True},
        {"tags": [tag], "order": "asc"},
        {"tags": [tag], "order": "asc", "limit": 4, "offset": 1},
        {"tags": [tag], "limit": 5, "returnCount": True},
        {"tags": ["nobody's"], "returnCount": True},
    ]
    whole = [await ask(admin, **body) for body in asked]
    version1 = (await admin.get(KEYS, params={"tag": tag})).json()
    monkeypatch.setattr(finding, "STEP", step)

    assert [await ask(admin, **body) for body in asked] == whole
    assert (await admin.get(KEYS, params={"tag": tag})).json() == version1 == whole[0]["keys"]


async def test_keys_that_come_and_go_while_a_list_is_read(
    admin: httpx2.AsyncClient, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two steps one that was told is deleted and another is made: every other key is told exactly once."""
    monkeypatch.setattr(finding, "STEP", 2)
    extra = await make_key(admin, tags=[tag], name="gone soon")
    before = await names(admin, tags=[tag])
    steps = finding.find_keys(finding.KeyFilter(tags=[tag]))
    told = [key.name for key in await anext(steps)]
    assert told[0] == "gone soon"
    await admin.delete(f"{KEYS}/{extra['keyId']}")
    late = await make_key(admin, tags=[tag], name="late")
    async for keys in steps:
        told += [key.name for key in keys]
    await admin.delete(f"{KEYS}/{late['keyId']}")

    assert told == before
    assert len(set(told)) == 6


async def test_a_list_that_is_cut_short_is_no_list(
    app: Edge, admin: httpx2.AsyncClient, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that fails when some has left: the JSON does not close, nor does the answer, so the server cuts it off.

    Before anything has left, it is an error as any.
    """
    monkeypatch.setattr(finding, "STEP", 1)
    answered = finding.answer_of
    left = 3

    def failing(row: dict[str, Any]) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConnectionError
        return answered(row)

    monkeypatch.setattr(finding, "answer_of", failing)
    inbox = [{"type": "http.request", "body": msgspec.json.encode({"tags": [tag]}), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if inbox:
            return inbox.pop(0)
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-api-key", ADMIN_KEY.encode())]
    scope: Any = {"type": "http", "method": "POST", "path": QUERY, "headers": headers, "query_string": b""}
    await app({**scope, "client": ("1.1.1.1", 1), "raw_path": QUERY.encode(), "root_path": ""}, receive, send)
    left = 1
    refused = await admin.post(QUERY, json={"tags": [tag]})

    assert sent[0]["status"] == 200
    assert [message["more_body"] for message in sent[1:]] == [True, True]
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(b"".join(message["body"] for message in sent[1:]))
    assert (refused.status_code, refused.json()["type"]) == (503, "/errors/database-unavailable")
