"""/metrics of several workers, one of which is killed: its gauges go, what it counted stays."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.servers import clean_environ

ROOT = Path(__file__).parents[2]
WORKER = """
import sys
import msgspec
from prometheus_client import Counter, Gauge, Histogram
from proxy.adapters.metrics_server import render_metrics
Counter("calls", "-").inc(2)
Histogram("took", "-", buckets=(1, 2)).observe(1.5)
Gauge("holds", "-", multiprocess_mode="livesum").set(3)
Gauge("age", "-", multiprocess_mode="livemax").set(int(sys.argv[1]))
print("ready", flush=True)
for _ in sys.stdin:
    print(msgspec.json.encode(render_metrics().decode()).decode(), flush=True)
"""


class Worker:
    """A process that counts, and renders what all of them counted."""

    def __init__(self, folder: Path, age: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(age)], cwd=ROOT, text=True,
            env={**clean_environ(), "PROMETHEUS_MULTIPROC_DIR": str(folder)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def told(self) -> dict[str, float]:
        """Every sample as this worker renders it."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        lines = msgspec.json.decode(self._line(), type=str).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Worker]]:
    running = [Worker(tmp_path, 7), Worker(tmp_path, 90)]
    yield running
    for worker in running:
        worker.end()


COUNTED = {"calls_total": 4.0, "took_count": 2.0, "took_sum": 3.0, 'took_bucket{le="2.0"}': 2.0}


def test_a_killed_worker_takes_its_gauges_along_and_nothing_else(workers: list[Worker], tmp_path: Path) -> None:
    """livesum and livemax are of the living; no counter and no histogram falls."""
    survivor, victim = workers
    before = survivor.told()
    assert (before["holds"], before["age"]) == (6, 90)
    assert before.items() >= COUNTED.items()
    assert victim.told() == before

    victim.end()
    after = survivor.told()
    assert (after["holds"], after["age"]) == (3, 7)
    assert after.items() >= COUNTED.items()
    left = {path.name for path in tmp_path.glob(f"*_{victim.process.pid}.db")}
    assert left == {f"{kind}_{victim.process.pid}.db" for kind in ("counter", "histogram")}


def test_a_stranger_with_a_dead_worker_s_number_keeps_no_gauge_alive(workers: list[Worker], tmp_path: Path) -> None:
    """The system gives the number of an ended process to somebody else in time."""
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        (tmp_path / f"gauge_livesum_{workers[1].process.pid}.db").rename(tmp_path / f"gauge_livesum_{stranger.pid}.db")
        assert workers[0].told()["holds"] == 3
        os.kill(stranger.pid, 0)
    finally:
        stranger.kill()
        stranger.wait()
