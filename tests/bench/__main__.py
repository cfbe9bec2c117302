"""`make bench`: what Weir costs, side by side with nginx and with the bare baseline, one proxy process on one core.

Direct, nginx, the baseline, Weir with an unlimited key, Weir fully governed (rate limit, cost limit, journal, event,
metrics): interleaved, median of the rounds with their spread. Absolute figures drift with the machine's mood; compare
within a run. Exit code 1 when a bar is missed (--no-bar: never).
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import programs
from tests.bench.load import PLAIN, STREAMED, Target, hold_streams, saturate, steady
from tests.bench.programs import LOAD_CORE, PROXY_CORE, Program, cpu_seconds, find, pin, rss_bytes
from tests.e2e.stack import CHAT, Stack
from tests.fakes.upstream import FakeUpstream, Script
from tests.servers import PostgresServer, ValkeyServer

CPU_BAR, P99_BAR_MS, BASELINE_BAR = 1.25, 3.0, 0.12
CONNECTIONS = 64
RATE = 200.0
STREAMS = 500


class Subject:
    """One way to upstream: its target, and the process that is measured."""

    def __init__(
        self, name: str, port: int, prefix: str, streamed_prefix: str, pid: int | None, keys: Any = None
    ) -> None:
        keys = keys or ("none", "none")
        self.name, self.pid = name, pid
        self.plain = Target(f"{name}-plain", port, prefix, keys[0])
        self.streamed = Target(f"{name}-streamed", port, streamed_prefix, keys[1])


def measure(subject: Subject, target: Target, body: bytes, seconds: float, folder: Path) -> dict[str, float]:
    """One saturated run."""
    before = cpu_seconds(subject.pid) if subject.pid else 0.0
    rate, errors = saturate(target, body, seconds, CONNECTIONS, folder)
    used = (cpu_seconds(subject.pid) - before) if subject.pid else 0.0
    if errors:
        raise SystemExit(f"bench: {target.name}: {errors} requests failed")
    return {"rps": rate, "cpu_us": used / (rate * seconds) * 1e6}


def spread(values: list[float]) -> str:
    """Median, and how far the rounds lie apart."""
    return f"{statistics.median(values):,.1f} [{min(values):,.1f}..{max(values):,.1f}]"


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def report(kind: str, subjects: list[Subject], results: dict[str, list[dict[str, float]]]) -> None:
    """A table of one kind of call."""
    nginx = statistics.median(r["rps"] for r in results.get("nginx", results["direct"]))
    print(f"\n{kind}, saturated, {CONNECTIONS} connections: median [min..max] of {len(results['direct'])} rounds")
    print(f"{'':16} {'requests/s':>32} {'proxy CPU µs/request':>28} {'of nginx':>9}")
    for subject in subjects:
        runs = results[subject.name]
        cpu = spread([r["cpu_us"] for r in runs]) if subject.pid else "-"
        rps = [r["rps"] for r in runs]
        print(f"{subject.name:16} {spread(rps):>32} {cpu:>28} {statistics.median(rps) / nginx:>9.3f}")


async def weir_keys(stack: Stack, upstream: int) -> dict[str, tuple[str, str]]:
    """An unlimited and a governed key, each for plain and streamed calls."""
    plain = await stack.create_setting(setting={"apikey": "sk-bench"})
    streamed = await stack.create_setting(setting={"apikey": "sk-bench", "url": f"http://127.0.0.1:{upstream}/sse"})
    governed = {
        "rateLimitOverTime": 1_000_000_000, "rateLimitUnit": "d",
        "costLimitInUsdOverTime": 5_000_000, "costLimitInUsdUnit": "mo",
    }  # fmt: skip
    keys: dict[str, tuple[str, str]] = {}
    for name, limits in (("weir unlimited", {}), ("weir governed", governed)):
        one, other = [(await stack.create_key(setting, **limits))["key"] for setting in (plain, streamed)]
        keys[name] = (one, other)
    await asyncio.sleep(1)
    return keys


def run_rounds(
    subjects: list[Subject], rounds: int, seconds: float, folder: Path
) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[float]]]:
    """Everything, interleaved."""
    plain: dict[str, list[dict[str, float]]] = {s.name: [] for s in subjects}
    streamed: dict[str, list[dict[str, float]]] = {s.name: [] for s in subjects}
    latencies: dict[str, list[float]] = {s.name: [] for s in subjects}
    for subject in subjects:
        measure(subject, subject.plain, PLAIN, 1, folder)
        measure(subject, subject.streamed, STREAMED, 1, folder)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds} ...", file=sys.stderr, flush=True)
        for subject in subjects:
            plain[subject.name].append(measure(subject, subject.plain, PLAIN, seconds, folder))
        for subject in subjects:
            streamed[subject.name].append(measure(subject, subject.streamed, STREAMED, seconds, folder))
        for subject in subjects:
            latencies[subject.name] += asyncio.run(steady(subject.plain, PLAIN, RATE, seconds))
    return plain, streamed, latencies


async def memory(stack: Stack, key: str, pid: int) -> tuple[int, float]:
    """RSS idle, and what one open stream adds."""
    async with FakeUpstream(Script(events=10_000, interval=1.0), port=0) as slow:
        setting = await stack.create_setting(setting={"apikey": "sk-bench", "url": slow.url})
        key = (await stack.create_key(setting))["key"]
        await asyncio.sleep(0.5)
        idle = rss_bytes(pid)
        writers = await hold_streams(Target("held", stack.proxy_port, CHAT, key), STREAMED, STREAMS)
        await asyncio.sleep(1)
        held = rss_bytes(pid)
        for writer in writers:
            writer.close()
    return idle, (held - idle) / STREAMS


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--no-bar", action="store_true", help="never fail")
    chosen = parser.parse_args()
    missing = [name for name in ("nginx", "wrk", "taskset") if find(name) is None]
    if "nginx" in missing:
        print("bench: nginx is missing (Debian: apt-get install nginx-light): it is the upstream and the yardstick")
        return 2
    if "wrk" in missing:
        print("bench: wrk is missing (Debian: apt-get install wrk): a Python generator stands in, so rates are lower")
    with tempfile.TemporaryDirectory(prefix="weir-bench-", dir="/tmp") as name:
        return bench(Path(name), chosen.rounds, chosen.seconds, not chosen.no_bar)


def bench(folder: Path, rounds: int, seconds: float, has_bar: bool) -> int:
    """With all programs up: run and report."""
    running: list[Any] = []
    try:
        postgres, valkey = PostgresServer(folder), ValkeyServer(folder / "valkey")
        for server in (postgres, valkey):
            server.start()
            running.append(server)
            pin(server.child.pid, LOAD_CORE)  # the proxy has its core to itself, as the others do
        upstream = programs.start_upstream(folder)
        running.append(upstream)
        nginx = programs.start_nginx_proxy(folder, upstream.port)
        running.append(nginx)
        baseline = programs.start_baseline(folder, upstream.port)
        running.append(baseline)
        with asyncio.Runner() as runner:
            database = runner.run(postgres.create_database(migrated=True))
            stack = Stack(database, {"REDIS_HOSTS": str(valkey.socket_path)}, upstream_url(upstream), folder)
            runner.run(stack.__aenter__())
            try:
                keys = runner.run(weir_keys(stack, upstream.port))
                return compare(runner, stack, keys, (upstream, nginx, baseline), rounds, seconds, folder, has_bar)
            finally:
                runner.run(stack.stop())
    finally:
        for server in reversed(running):
            server.stop()


def upstream_url(upstream: Program) -> str:
    """Where Weir finds it."""
    return f"http://127.0.0.1:{upstream.port}"


def compare(
    runner: asyncio.Runner, stack: Stack, keys: dict[str, tuple[str, str]], others: tuple[Program, ...], rounds: int,
    seconds: float, folder: Path, has_bar: bool,
) -> int:  # fmt: skip
    """The measurement itself."""
    upstream, nginx, baseline = others
    weir = stack.processes["proxy"].pid
    pin(weir, PROXY_CORE)
    pin(stack.processes["admin"].pid, LOAD_CORE)
    path, sse = "/v1/chat/completions", "/sse/v1/chat/completions"
    subjects = [
        Subject("direct", upstream.port, path, sse, None),
        Subject("nginx", nginx.port, path, sse, nginx.pid),
        Subject("baseline", baseline.port, path, sse, baseline.pid),
        *(Subject(name, stack.proxy_port, CHAT, CHAT, weir, keys[name]) for name in keys),
    ]

    async def rounds_in_thread() -> tuple[dict[str, Any], dict[str, Any], dict[str, list[float]]]:
        return await asyncio.to_thread(run_rounds, subjects, rounds, seconds, folder)

    plain, streamed, latencies = runner.run(rounds_in_thread())
    report("plain", subjects, plain)
    report(f"SSE ({programs.EVENTS} events)", subjects, streamed)
    direct50, direct99 = percentile(latencies["direct"], 0.5), percentile(latencies["direct"], 0.99)
    print(f"\nat {RATE:g} requests/s: direct p50 {direct50:.2f} p99 {direct99:.2f} ms; added:")
    for subject in subjects[1:]:
        found = latencies[subject.name]
        print(f"{subject.name:16} p50 {percentile(found, 0.5) - direct50:6.2f}  "
              f"p99 {percentile(found, 0.99) - direct99:6.2f} ms")  # fmt: skip
    idle, per_stream = runner.run(memory(stack, keys["weir governed"][0], weir))
    print(f"\nWeir's memory: {idle / 1e6:.0f} MB idle (supervisor and worker), {per_stream / 1e3:.1f} kB a stream")
    ratio = {
        kind: statistics.median(r["cpu_us"] for r in runs["weir governed"])
        / statistics.median(r["cpu_us"] for r in runs["baseline"])
        for kind, runs in (("plain", plain), ("SSE", streamed))
    }
    fair = statistics.median(r["rps"] for r in plain["baseline"]) / statistics.median(r["rps"] for r in plain["nginx"])
    added = percentile(latencies["weir governed"], 0.99) - direct99
    bars = [
        (f"baseline is fair: {fair:.3f} of nginx (>= {BASELINE_BAR})", fair >= BASELINE_BAR),
        *((f"governed {kind}: {value:.2f}x the baseline's CPU (<= {CPU_BAR})", value <= CPU_BAR)
          for kind, value in ratio.items()),
        (f"governed: {added:.2f} ms added p99 (<= {P99_BAR_MS})", added <= P99_BAR_MS),
    ]  # fmt: skip
    print()
    for text, is_held in bars:
        print(f"{'held    ' if is_held else 'NOT HELD'}  {text}")
    return 0 if all(held for _, held in bars) or not has_bar else 1


if __name__ == "__main__":
    sys.exit(main())
