"""The whole of Weir as processes on real sockets: admin plane, proxy, PostgreSQL, Valkey, a scripted upstream.

Everything a test learns it learns as a user would: over HTTP, or from the database as an operator.
"""

import asyncio
import os
import secrets
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import asyncpg

from shared.secrets import new_master_key
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
CHAT = "/api/providers/openai/v1/chat/completions"
MODELS = "/api/providers/openai/v1/models"
START_SECONDS = 30


class Stack:
    """Both planes. `async with` starts them and leaves nothing behind."""

    def __init__(
        self, database: Any, redis_environ: dict[str, str], upstream_url: str, folder: Path, *, workers: int = 1,
        environ: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.database = database
        self.folder = folder
        self._workers = workers
        self.admin_key = secrets.token_hex(16)
        self.admin_port, self.proxy_port, self.metrics_port = free_port(), free_port(), free_port()
        common = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "WEIR_MASTER_KEY": new_master_key(),
            "WEIR_DATA_DIR": str(folder / "data"),
        }
        self._environs = {
            "admin": {
                **common,
                **database.settings_environ("admin"),
                "ADMIN_PASS": self.admin_key,
                "WEIR_ADMIN_PORT": str(self.admin_port),
                "WEIR_ADMIN_PROMETHEUS_PORT": str(free_port()),
            },
            "proxy": {
                **common,
                **database.settings_environ("proxy"),
                **redis_environ,
                "WEIR_UPSTREAM_OPENAI_URL": upstream_url,
                "WEIR_UPSTREAM_ANTHROPIC_URL": upstream_url,
                "UPSTREAM_ALLOWED_NETWORKS": "127.0.0.0/8",
                "WEIR_PROXY_ADDRESS": "127.0.0.1",
                "WEIR_PROXY_PORT": str(self.proxy_port),
                "PROMETHEUS_PORT": str(self.metrics_port),
                "WEIR_PROXY_WORKERS": str(workers),
                "DRAIN_NOTICE": "0s",
                "DRAIN_TIMEOUT": "20s",
                # A machine that runs tests beside everything else may take longer than 50 ms for a turn of its loop.
                "LIMITER_TIMEOUT": "500ms",
                **(environ or {}),
            },
        }
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def proxy_url(self) -> str:
        return f"http://127.0.0.1:{self.proxy_port}"

    @property
    def openai_url(self) -> str:
        """The base URL an SDK is given."""
        return f"{self.proxy_url}/api/providers/openai/v1"

    async def __aenter__(self) -> "Stack":
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=False))
        try:
            await self.start("admin", f"{self.admin_url}/api/health/ready")
            await self.start_proxy()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        for name in ("proxy", "admin"):
            await self.end(name)
        await self.http.close()

    async def start(self, name: str, ready_url: str) -> None:
        """Start a plane and wait until it is ready."""
        with self.log(name).open("ab") as log:
            self.processes[name] = process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", name, cwd=self.folder, env=self._environs[name], stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while True:
            try:
                async with self.http.get(ready_url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            assert process.returncode is None, f"{name} ended with {process.returncode}: {self.tail(name)}"
            assert asyncio.get_running_loop().time() < deadline, f"{name} is not ready: {self.tail(name)}"
            await asyncio.sleep(0.05)

    async def start_proxy(self) -> None:
        """Start the proxy and wait until every worker answers: each has its own listener."""
        url = f"{self.proxy_url}/api/health/ready"
        await self.start("proxy", url)
        workers: set[str] = set()
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as fresh:
            while len(workers) < self._workers:
                assert asyncio.get_running_loop().time() < deadline, f"only {workers} answer: {self.tail('proxy')}"
                async with fresh.get(url) as answer:
                    if answer.status == 200:
                        workers.add((await answer.json())["worker"])
                await asyncio.sleep(0.01)

    async def end(self, name: str, with_signal: signal.Signals = signal.SIGTERM) -> int | None:
        """Stop a plane and everything of its session."""
        process = self.processes.pop(name, None)
        if process is None:
            return None
        if process.returncode is None:
            process.send_signal(with_signal)
            try:
                await asyncio.wait_for(process.wait(), 40)
            except TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return process.returncode

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def tail(self, name: str) -> str:
        return self.log(name).read_text(errors="replace")[-3000:]

    def worker_pids(self) -> list[int]:
        """The proxy's worker processes."""
        parent = self.processes["proxy"].pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(pid) for pid in children if b"multiprocessing.resource_tracker" not in
                Path(f"/proc/{pid}/cmdline").read_bytes()]  # fmt: skip

    async def admin(self, method: str, path: str, body: Any = None, *, status: int | None = 200) -> Any:
        """Call the admin API; the decoded answer. `status` None: any."""
        async with self.http.request(
            method, self.admin_url + path, json=body, headers={"X-API-KEY": self.admin_key}
        ) as answer:
            text = await answer.text()
            assert status is None or answer.status == status, f"{method} {path}: {answer.status} {text}"
            return await answer.json() if text else None

    async def create_setting(self, **fields: Any) -> str:
        """A provider setting; its id."""
        body = {"provider": "openai", "setting": {"apikey": "sk-upstream-canary"}, **fields}
        return (await self.admin("PUT", "/api/provider-settings", body))["id"]

    async def create_key(self, setting_id: str, **fields: Any) -> dict[str, Any]:
        """A minted key; the admin API's answer, `key` in full."""
        return await self.admin("PUT", "/api/key-management/keys", {"name": "test", "settingId": setting_id, **fields})

    async def chat(
        self, key: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One chat completion: status, headers in lower case, body."""
        async with self.http.post(
            self.proxy_url + CHAT,
            json=body or chat_body(),
            headers={"authorization": f"Bearer {key}", **(headers or {})},
        ) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read()

    async def metrics(self) -> dict[str, float]:
        """What /metrics of the proxy tells: name and labels as they stand there, and the value."""
        async with self.http.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            assert answer.status == 200
            lines = (await answer.text()).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    async def gauge(self, name: str) -> float:
        """A gauge of the proxy, two of its readings old at most."""
        await asyncio.sleep(2.1)
        found = [value for shown, value in (await self.metrics()).items() if shown.split("{")[0] == name]
        assert found, f"{name} is not told"
        return sum(found)

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Ask the database as its owner."""
        connection = await asyncpg.connect(**self.database.owner)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def events(
        self, key_id: str, count: int, seconds: float = 10, *, refused: bool = True
    ) -> list[asyncpg.Record]:
        """The events of a key once there are at least `count` of them; without the refused ones if asked so."""
        query = "SELECT * FROM events WHERE key_id = $1 AND ($2 OR outcome <> 'refused') ORDER BY admitted_at, id"
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            rows = await self.rows(query, key_id, refused)
            if len(rows) >= count:
                return rows
            assert asyncio.get_running_loop().time() < deadline, f"{len(rows)} of {count} events came"
            await asyncio.sleep(0.1)


def chat_body(**fields: Any) -> dict[str, Any]:
    """A small chat completion request."""
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": "Say hello."}], **fields}
