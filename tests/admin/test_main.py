"""`python -m admin` as a process: how it starts, refuses to start, stops and dies."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tests import ports
from tests.servers import Database, clean_environ

PATIENCE_SECONDS = 60


@pytest.fixture
def free_port() -> int:
    return ports.free_port()


def parent_and_state(pid: int) -> tuple[int, str]:
    """Of a process in /proc; (0, "") when it is gone."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return 0, ""
    return int(parent), state


def is_alive(pid: int) -> bool:
    return parent_and_state(pid)[1] not in ("", "Z", "X")


class Plane:
    """A running admin plane."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, output: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def lines(self) -> list[Any]:
        return [msgspec.json.decode(line) for line in self.output.splitlines()]

    def workers(self) -> list[int]:
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if parent_and_state(pid)[0] == self.process.pid and is_alive(pid)]

    async def wait_until_it_answers(self) -> None:
        async with httpx2.AsyncClient() as client:
            for _ in range(PATIENCE_SECONDS * 10):
                assert self.process.returncode is None, self.output
                try:
                    if (await client.get(f"{self.url}/api/health/ready")).status_code == 200:
                        return
                except httpx2.TransportError:
                    pass
                await asyncio.sleep(0.1)
        raise AssertionError(self.output)


async def spawn(
    environ: dict[str, str], folder: Path, *arguments: str, output: Any = None
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "admin",
        *arguments,
        env={**clean_environ(), **environ},
        cwd=folder,
        stdout=output or asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


@asynccontextmanager
async def serving(database: Database, folder: Path, port: int, **over: str) -> AsyncIterator[Plane]:
    environ = database.settings_environ("admin") | {
        "WEIR_ADMIN_PORT": str(port),
        "WEIR_ADMIN_PROMETHEUS_PORT": "0",
        "WEIR_DATA_DIR": str(folder / "data"),
        **over,
    }
    log = folder / "output.log"
    with log.open("wb") as output:
        plane = Plane(await spawn(environ, folder, output=output), port, log)
    try:
        await plane.wait_until_it_answers()
        yield plane
    finally:
        if plane.process.returncode is None:
            plane.process.kill()
        await plane.process.wait()


async def test_plane_serves_and_stops(database: Database, tmp_path: Path, free_port: int) -> None:
    """It tells in JSON where it is and where its key is, never the key; SIGTERM ends it and its worker with 0."""
    async with serving(database, tmp_path, free_port) as plane:
        key = (tmp_path / "data" / "admin-key").read_text().strip()
        secret = "sk-upstream-never-to-be-seen"
        async with httpx2.AsyncClient(base_url=plane.url, headers={"X-API-KEY": key}) as client:
            setting = await client.put(
                "/api/provider-settings", json={"provider": "openai", "setting": {"apikey": secret}}
            )
            assert setting.status_code == 200
            made = await client.put("/api/key-management/keys", json={"name": "n", "settingId": setting.json()["id"]})
            gateway_key = made.json()["key"]
            by_get = await client.request("GET", "/api/v2/events", json={"start": 1, "end": 2})
            assert by_get.json() == {"events": [], "count": 0}
            assert (await client.get("/metrics")).status_code == 404
            broken = await client.put("/api/key-management/keys", content=b'{"key": ' + gateway_key.encode())
            assert broken.status_code == 400

        started = plane.lines[0]
        assert (started["url"], started["admin_key"]) == (plane.url, str(tmp_path / "data" / "admin-key"))
        metrics_port = next(line["port"] for line in plane.lines if line["event"] == "metrics served")
        async with httpx2.AsyncClient() as client:
            metrics = (await client.get(f"http://127.0.0.1:{metrics_port}/metrics")).text
        assert 'weir_admin_requests_total{method="PUT",route="/api/key-management/keys",status="200"} 1.0' in metrics
        assert 'weir_admin_request_duration_seconds_count{route="/api/provider-settings"} 1.0' in metrics
        assert "weir_admin_database_open 1.0" in metrics

        told = [line for line in plane.lines if line["event"] == "request" and line["method"] == "PUT"]
        assert [line["status"] for line in told] == [200, 200, 400]
        assert [line["route"] for line in told][1:] == ["/api/key-management/keys"] * 2
        assert all(line["plane"] == "admin" and line["duration_ms"] > 0 for line in told)
        for hidden in (key, secret, gateway_key):
            assert hidden not in plane.output

        (worker,) = plane.workers()
        plane.process.terminate()
        assert await asyncio.wait_for(plane.process.wait(), PATIENCE_SECONDS) == 0
        assert not is_alive(worker)


async def test_worker_dies_with_its_parent(database: Database, tmp_path: Path, free_port: int) -> None:
    """Even by kill -9, and the port is free again; a killed worker is replaced meanwhile."""
    async with serving(database, tmp_path, free_port, ADMIN_PASS="a-good-key-of-20-letters") as plane:
        (worker,) = plane.workers()
        os.kill(worker, signal.SIGKILL)
        await asyncio.sleep(0.5)
        await plane.wait_until_it_answers()
        (successor,) = plane.workers()
        assert successor != worker
        assert not (tmp_path / "data" / "admin-key").exists()

        os.kill(plane.process.pid, signal.SIGKILL)
        await plane.process.wait()
        for _ in range(100):
            if not is_alive(successor):
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("the worker lives on")


async def refusal(environ: dict[str, str], folder: Path, *arguments: str) -> tuple[int, str]:
    process = await spawn(environ, folder, *arguments)
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return process.returncode or 0, output.decode()


async def test_what_cannot_start_says_why_in_one_line(database: Database, tmp_path: Path) -> None:
    """A taken port, a wrong setting, an unsafe one: `weir: ...`, exit code not 0, no stack trace, nothing secret."""
    good = database.settings_environ("admin") | {"WEIR_ADMIN_PROMETHEUS_PORT": "0", "WEIR_ADMIN_PORT": "0"}
    (tmp_path / "file").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = [
            ({"WEIR_ADMIN_PORT": port}, f"WEIR_ADMIN_PORT: cannot listen on 127.0.0.1 port {port}"),
            ({"WEIR_ADMIN_PROMETHEUS_PORT": port}, "WEIR_ADMIN_PROMETHEUS_PORT: cannot listen"),
            ({"WEIR_ADMIN_PORT": "http"}, "WEIR_ADMIN_PORT: "),
            ({"WEIR_NONSENSE": "1"}, "WEIR_NONSENSE: "),
            ({"WEIR_MASTER_KEY": ""}, "WEIR_MASTER_KEY: must be set"),
            ({"WEIR_MASTER_KEY": "not-a-key"}, "WEIR_MASTER_KEY: "),
            ({"WEIR_ADMIN_ADDRESS": "0.0.0.0"}, "ADMIN_PASS: must be set"),
            ({"WEIR_ADMIN_ADDRESS": "0.0.0.0", "ADMIN_PASS": "sk-1234"}, "ADMIN_PASS: "),
            (
                {"WEIR_ADMIN_ADDRESS": "no.such.host.invalid", "ADMIN_PASS": "a-good-key-of-20-letters"},
                "WEIR_ADMIN_PORT: ",
            ),
            ({"WEIR_DATA_DIR": str(tmp_path / "file")}, "WEIR_DATA_DIR: "),
            (
                {"POSTGRESQL_SSL_MODE": "verify-ca", "POSTGRESQL_SSL_ROOT_CERT": "file"},
                "POSTGRESQL_SSL_ROOT_CERT: file does not hold certificates in PEM",
            ),
            ({"POSTGRESQL_SSL_MODE": "verify-full"}, "POSTGRESQL_SSL_ROOT_CERT: must name a file"),
        ]
        answers = [await refusal(good | over, tmp_path) for over, _ in cases]
    for (over, expected), (code, output) in zip(cases, answers, strict=True):
        assert code == 2, (over, output)
        assert output.startswith(f"weir: {expected}"), (over, output)
        assert output.count("\n") == 1, output
        assert "not-a-key" not in output
        assert "sk-1234" not in output


async def test_help_and_wrong_arguments(tmp_path: Path) -> None:
    """Without any setting at hand."""
    code, output = await refusal({}, tmp_path, "--help")
    assert code == 0
    assert "migrate" in output
    assert "WEIR_ADMIN_PORT" in output

    code, output = await refusal({}, tmp_path, "nonsense")
    assert code == 2
    assert "invalid choice" in output
