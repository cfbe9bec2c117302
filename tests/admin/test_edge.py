"""What holds for every request: the error shape, the body's bounds, no caching, health."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from admin.app import create_app
from admin.edge import MAX_BODY_BYTES, Edge
from shared.settings import SettingsError, load
from tests.admin.conftest import ADMIN_KEY, KEYS, SETTINGS

ERROR_MEMBERS = {"type", "title", "status", "detail", "instance"}


def assert_problem(answer: httpx2.Response, status: int, kind: str, instance: str) -> None:
    body = answer.json()
    assert set(body) == ERROR_MEMBERS
    assert (answer.status_code, body["status"], body["type"], body["instance"]) == (
        status,
        status,
        f"/errors/{kind}",
        instance,
    )
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"


NO_SUCH_PATH = [
    ("GET", "/"),
    ("GET", "/api/nope"),
    ("GET", "/metrics"),
    ("GET", "/schema"),
    ("GET", "/schema/openapi.json"),
    ("DELETE", SETTINGS),
    ("PATCH", SETTINGS),
    ("PUT", f"{SETTINGS}/some-id"),
    ("POST", KEYS),
    ("GET", "/api/v2/key-management/keys"),
    ("GET", f"{KEYS}/some-id"),
    ("PUT", "/api/events"),
    ("OPTIONS", SETTINGS),
    ("TRACE", SETTINGS),
    ("PROPFIND", SETTINGS),
]


@pytest.mark.parametrize(("method", "path"), NO_SUCH_PATH)
async def test_unknown_path_or_method_is_404(admin: httpx2.AsyncClient, method: str, path: str) -> None:
    """In the contract's shape; the method does not matter, and no CORS header appears."""
    answer = await admin.request(method, path, headers={"origin": "https://example.com"})

    assert_problem(answer, 404, "not-found", path)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "allow" not in answer.headers


async def test_head_is_404(admin: httpx2.AsyncClient) -> None:
    """Nothing is offered under it."""
    assert (await admin.head(SETTINGS)).status_code == 404


async def test_instance_is_the_route_template(admin: httpx2.AsyncClient) -> None:
    """With a literal `:id`, as the contract writes it."""
    assert_problem(await admin.patch(f"{KEYS}/unknown", json={}), 404, "not-found", f"{KEYS}/:id")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", SETTINGS),
        ("POST", SETTINGS),
        ("PUT", KEYS),
        ("POST", "/api/v2/key-management/keys"),
        ("POST", "/api/v2/events"),
    ],
)
async def test_malformed_body_is_400(admin: httpx2.AsyncClient, method: str, path: str) -> None:
    """Never 500, whatever the content type says."""
    for body in (b"", b"{", b"[1]", b'{"name": \xff}', b"[" * 100_000):
        answer = await admin.request(method, path, content=body, headers={"content-type": "text/plain"})
        assert_problem(answer, 400, "json-unmarshal", path)
        assert answer.json()["title"] == "json unmarshaller error"


async def test_body_is_bounded(admin: httpx2.AsyncClient) -> None:
    """By its length when that is told, else by what arrives."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65536 + 1):
            yield b" " * 65536

    assert_problem(await admin.put(SETTINGS, content=b" " * (MAX_BODY_BYTES + 1)), 413, "body-too-large", SETTINGS)
    assert_problem(await admin.put(SETTINGS, content=chunks()), 413, "body-too-large", SETTINGS)

    fits = await admin.put(SETTINGS, content=b"{}" + b" " * (MAX_BODY_BYTES - 2))
    assert_problem(fits, 400, "validation", SETTINGS)


async def test_compressed_body_is_refused(admin: httpx2.AsyncClient) -> None:
    """A small body could unfold to any size."""
    answer = await admin.put(SETTINGS, content=b"x", headers={"content-encoding": "gzip"})

    assert_problem(answer, 415, "content-encoding", SETTINGS)


async def test_caller_that_leaves_in_the_body_is_400(app: Edge) -> None:
    """Half a body is no body."""
    sent: list[Any] = []
    inbox = [{"type": "http.request", "body": b'{"name"', "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return inbox.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-api-key", ADMIN_KEY.encode())]
    scope: Any = {"type": "http", "method": "PUT", "path": KEYS, "headers": headers, "client": ("1.1.1.1", 1)}
    await app(scope, receive, send)

    assert sent[0]["status"] == 400


async def test_slow_body_is_408(app: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holding a connection open costs its holder only."""
    monkeypatch.setattr("admin.edge.BODY_SECONDS", 0.05)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-api-key", ADMIN_KEY.encode())]
    scope: Any = {"type": "http", "method": "PUT", "path": KEYS, "headers": headers, "client": ("1.1.1.1", 1)}
    await app(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]

    assert sent[0]["status"] == 408


async def test_no_websocket_is_accepted(app: Edge) -> None:
    """There is none to serve."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "websocket", "path": "/api/health", "headers": []}
    await app(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]

    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_success_is_never_cached_and_names_its_request(admin: httpx2.AsyncClient) -> None:
    """Every answer has `no-store` and an id of its own."""
    first, second = await admin.get(SETTINGS), await admin.get("/api/health")

    assert first.headers["cache-control"] == second.headers["cache-control"] == "no-store"
    assert first.headers["content-type"] == "application/json; charset=utf-8"
    assert first.headers["x-weir-request-id"] != second.headers["x-weir-request-id"]


async def test_health(admin: httpx2.AsyncClient) -> None:
    """Alive is one question, ready another."""
    assert (await admin.get("/api/health")).json() == {"status": "ok"}
    assert (await admin.get("/api/health/ready")).json() == {"status": "ready"}


async def test_schema_that_is_behind_is_not_ready(admin: httpx2.AsyncClient, owner: Any) -> None:
    """A plane newer than its schema takes no traffic."""
    row = await owner.fetchrow("DELETE FROM migration WHERE app_name = 'weir' RETURNING *")
    behind = await admin.get("/api/health/ready")
    await owner.execute("INSERT INTO migration (name, app_name, ran_on) VALUES ($1, $2, $3)", *list(row.values())[1:])

    assert_problem(behind, 503, "not-migrated", "/api/health/ready")
    assert (await admin.get("/api/health/ready")).status_code == 200


def test_without_a_master_key_nothing_starts() -> None:
    """Secrets could be neither sealed nor opened."""
    with pytest.raises(SettingsError, match="WEIR_MASTER_KEY"):
        create_app(load({}), ADMIN_KEY)
