"""The admin plane without its database: at the start, lost on the way, and frozen."""

import asyncio

import httpx2
import pytest

from admin.database import DB
from tests.admin.conftest import ADMIN_KEY, SETTINGS, app_of, client_of, running
from tests.servers import Database


class Relay:
    """A TCP door in front of PostgreSQL that a test opens, shuts and freezes."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    def freeze(self) -> None:
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket_path)
        self._writers |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer), return_exceptions=True)
        self._writers -= {writer, back}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


def assert_unavailable(answer: httpx2.Response) -> None:
    assert answer.status_code == 503
    assert answer.json()["type"] == "/errors/database-unavailable"
    assert answer.headers["retry-after"] == "2"


async def eventually(client: httpx2.AsyncClient, path: str, status: int) -> httpx2.Response:
    for _ in range(100):
        answer = await client.get(path)
        if answer.status_code == status:
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError(f"{path} stayed at {answer.status_code}")


async def test_plane_outlives_its_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts without PostgreSQL, says 503 clearly, works once it is there, and again after it was gone or frozen."""
    assert not DB.is_open
    monkeypatch.setattr("admin.app.FIRST_TRY_SECONDS", 2)
    monkeypatch.setattr("admin.edge.CONNECT_SECONDS", 1)
    relay = Relay(f"{database.host}/.s.PGSQL.{database.port}")
    await relay.open()
    await relay.shut()
    environ = {
        **database.settings_environ("admin"),
        "POSTGRESQL_HOSTS": "127.0.0.1",
        "POSTGRESQL_PORT": str(relay.port),
    }

    impatient = app_of(environ, POSTGRESQL_READ_TIME_OUT="1s", POSTGRESQL_WRITE_TIME_OUT="1s")
    async with running(impatient) as started, client_of(started, **{"X-API-KEY": ADMIN_KEY}) as client:
        assert (await client.get("/api/health")).status_code == 200
        down = await client.get(SETTINGS)
        assert_unavailable(down)
        assert (await client.get("/api/health/ready")).status_code == 503

        await relay.open()
        await eventually(client, "/api/health/ready", 200)
        assert (await client.get(SETTINGS)).status_code == 200

        await relay.shut()
        gone = await client.get(SETTINGS)
        assert_unavailable(gone)
        assert (await client.get("/api/health")).status_code == 200
        await relay.open()
        await eventually(client, SETTINGS, 200)

        relay.freeze()
        frozen = await client.put(SETTINGS, json={"provider": "openai", "setting": {"apikey": "sk-x"}})
        assert_unavailable(frozen)
        assert (await client.get("/api/health/ready")).status_code == 503
        relay.thaw()
        await eventually(client, SETTINGS, 200)
    await relay.shut()
