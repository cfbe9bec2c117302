"""When a proxy whose workers die gives up, and that no worker outlives its supervisor."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.adapters import process
from proxy.adapters.process import DEATHS_SECONDS, MOST_DEATHS, _Respawns
from tests.deploy.processes import living_under, within

GRANIAN_LOOP_SECONDS = 5.5


class Deaths:
    """What granian does at each death of worker 0: ask, then forget all and note the new worker's start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self._respawns = _Respawns()
        monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=lambda: self.now))

    def end_the_server(self, after: float) -> bool:
        """Whether granian stops the server at a death so many seconds after the last."""
        self.now += after
        is_loop = self.now - self._respawns.get(0, 0) <= GRANIAN_LOOP_SECONDS
        self._respawns.clear()
        self._respawns[0] = self.now
        return is_loop


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> Deaths:
    return Deaths(monkeypatch)


def test_a_few_deaths_in_a_row_are_survived(deaths: Deaths) -> None:
    """Granian alone would end the server at the second."""
    assert not any(deaths.end_the_server(0.2) for _ in range(MOST_DEATHS - 1))


def test_workers_that_cannot_live_end_the_server(deaths: Deaths) -> None:
    """At the 20th death of a minute, and at every further one that close."""
    for _ in range(MOST_DEATHS - 1):
        deaths.end_the_server(0.2)
    assert deaths.end_the_server(0.2)
    assert deaths.end_the_server(0.2)


def test_deaths_far_apart_never_do(deaths: Deaths) -> None:
    """However many there are."""
    apart = DEATHS_SECONDS / (MOST_DEATHS - 1) + 0.001
    assert not any(deaths.end_the_server(apart) for _ in range(5 * MOST_DEATHS))


def test_old_deaths_are_forgotten(deaths: Deaths) -> None:
    """A quiet minute, and all of them are allowed again."""
    for _ in range(MOST_DEATHS - 1):
        deaths.end_the_server(0.2)
    assert not deaths.end_the_server(DEATHS_SECONDS)
    assert not any(deaths.end_the_server(0.2) for _ in range(MOST_DEATHS - 2))
    assert deaths.end_the_server(0.2)


def test_a_worker_still_importing_ends_with_its_supervisor(tmp_path: Path) -> None:
    """However early the supervisor is killed: the worker tied itself to it before its first import."""
    (tmp_path / "slow_to_load.py").write_text("import time\nopen('importing', 'w').close()\ntime.sleep(60)\n")
    supervise = (
        "from pathlib import Path\n"
        "from proxy.adapters.process import make_supervisor\n"
        "make_supervisor(target='slow_to_load:create', address='127.0.0.1', port=0, workers=2, run_dir=Path('.'),"
        " drain_notice=0, drain_timeout=0).run()"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", supervise],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"},
    )
    assert within(20, (tmp_path / "importing").exists)
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    assert within(5, lambda: not living_under(tmp_path))


def test_a_worker_whose_supervisor_is_gone_does_not_start() -> None:
    """Its parent is somebody else by then."""
    code = "from proxy.adapters.process import load_worker; load_worker('nowhere:at_all', parent=1)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (1, b""), "it got as far as importing"
