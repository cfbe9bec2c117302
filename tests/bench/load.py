"""Load: wrk where it is installed, else a plain generator of ours; and a steady rate for latencies.

The steady driver is open loop: a request is due at its time whatever became of the one before it, and its latency
counts from then, so a stall is seen by everybody it made wait.
"""

import asyncio
import re
import subprocess
import time
from pathlib import Path

from tests.bench.programs import LOAD_CORE, find

BODY = (
    b'{"model":"gpt-4o-2024-08-06","messages":[{"role":"system","content":"You are a helpful assistant."},'
    b'{"role":"user","content":"Where does water go when it rains? Answer in two sentences, please."}],'
    b'"max_tokens":200,"temperature":0.7%s}'
)
PLAIN, STREAMED = BODY % b"", BODY % b',"stream":true'


class Target:
    """Where a load goes."""

    def __init__(self, name: str, port: int, path: str, key: str = "none") -> None:
        self.name, self.port, self.path, self.key = name, port, path, key


def request_bytes(target: Target, body: bytes) -> bytes:
    """One HTTP/1.1 request."""
    return (
        f"POST {target.path} HTTP/1.1\r\nhost: 127.0.0.1:{target.port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {target.key}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


def saturate(target: Target, body: bytes, seconds: float, connections: int, folder: Path) -> tuple[float, int]:
    """As many requests as it takes: (requests per second, errors)."""
    wrk = find("wrk")
    if wrk is None:
        return asyncio.run(_saturate(target, body, seconds, connections))
    script = folder / f"{target.name}.lua"
    text = body.decode().replace("\\", "\\\\").replace("'", "\\'")
    script.write_text(
        f"wrk.method='POST'\nwrk.body='{text}'\nwrk.headers['content-type']='application/json'\n"
        f"wrk.headers['authorization']='Bearer {target.key}'\n"
    )
    done = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), wrk, "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script),
         f"http://127.0.0.1:{target.port}{target.path}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    socket_errors = sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", done.stdout))
    assert found is not None, done.stdout
    return float(found.group(1)), int(wrong.group(1) if wrong else 0) + socket_errors


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """One request over an open connection; the status."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        length = re.search(rb"content-length: (\d+)", lower)
        await reader.readexactly(int(length.group(1)) if length else 0)
    return int(head[9:12])


async def _saturate(target: Target, body: bytes, seconds: float, connections: int) -> tuple[float, int]:
    request = request_bytes(target, body)
    until = time.perf_counter() + seconds
    done = errors = 0

    async def drive() -> None:
        nonlocal done, errors
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=1 << 20)
        while time.perf_counter() < until:
            status = await _exchange(reader, writer, request)
            done += 1
            errors += status != 200
        writer.close()

    await asyncio.gather(*(drive() for _ in range(connections)))
    return done / seconds, errors


async def steady(target: Target, body: bytes, rate: float, seconds: float) -> list[float]:
    """Latencies in milliseconds at a steady rate over kept connections."""
    request = request_bytes(target, body)
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    latencies: list[float] = []

    async def one(due: float) -> None:
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", target.port, limit=1 << 20)
        status = await _exchange(reader, writer, request)
        latencies.append((time.perf_counter() - due) * 1000)
        assert status == 200, status
        idle.append((reader, writer))

    for _ in range(4):
        await one(time.perf_counter())
    latencies.clear()
    started = time.perf_counter()
    running: list[asyncio.Task[None]] = []
    for number in range(int(rate * seconds)):
        due = started + number / rate
        # asyncio's timer wakes up to a millisecond late: sleep short of it, then watch the clock.
        if (wait := due - time.perf_counter()) > 0.002:
            await asyncio.sleep(wait - 0.002)
        while time.perf_counter() < due:
            await asyncio.sleep(0)
        running.append(asyncio.ensure_future(one(due)))  # noqa: TID251
    await asyncio.gather(*running)
    for _, writer in idle:
        writer.close()
    return latencies


async def hold_streams(target: Target, body: bytes, count: int) -> list[asyncio.StreamWriter]:
    """Open so many streams and leave them open, their first event read."""
    request = request_bytes(target, body)

    async def one() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=1 << 20)
        writer.write(request)
        await reader.readuntil(b"data: ")
        drain = asyncio.ensure_future(reader.read(-1))  # noqa: TID251
        writer.drained = drain  # type: ignore[attr-defined]
        return writer

    return list(await asyncio.gather(*(one() for _ in range(count))))
