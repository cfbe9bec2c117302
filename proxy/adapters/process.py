"""The proxy's processes: granian's supervisor with our way of stopping, and a worker's ties to it.

SIGTERM: not ready at once, still accepting for DRAIN_NOTICE, then granian stops accepting and open streams end by
themselves for up to DRAIN_TIMEOUT. A second signal ends everything now; what was under way is in the journal.
"""

import asyncio
import ctypes
import importlib
import os
import signal
import sys
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

_PR_SET_PDEATHSIG = 1

# Concurrent requests a worker takes before granian lets them wait: streams stay open for minutes.
BACKPRESSURE = 65_536
BACKLOG = 4_096
HEADER_SECONDS = 15
# Beyond this granian itself answers 431, without a body. What is refused in the caller's dialect begins far below.
HEADER_BYTES = 262_144
DRAIN_MARK = "draining"
MOST_DEATHS, DEATHS_SECONDS = 20, 60.0


class _Respawns(dict[int, float]):
    """When each worker was last respawned; granian asks it whether a worker dies in a loop.

    granian would end the server when one worker dies twice within 5.5 s. A gateway goes on through a few deaths in a
    row; only workers that cannot live at all end it, so that whoever supervises it notices.
    """

    def __init__(self) -> None:
        super().__init__()
        self._deaths: deque[float] = deque(maxlen=MOST_DEATHS)

    def get(self, key: int, default: Any = None, /) -> Any:
        """Long ago, unless MOST_DEATHS came within DEATHS_SECONDS."""
        now = time.monotonic()
        self._deaths.append(now)
        is_loop = len(self._deaths) == MOST_DEATHS and now - self._deaths[0] < DEATHS_SECONDS
        return now if is_loop else default


class Supervisor(MPServer):
    """granian's multi-process server, draining as design §7 asks."""

    def __init__(self, run_dir: Path, drain_notice: float, **options: Any) -> None:
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType]  # granian's annotations are partial
        self._mark = run_dir / DRAIN_MARK
        self._drain_notice = drain_notice
        self._is_draining = False
        self.respawned_wrks = _Respawns()

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        """First: mark, notice, drain. Again: end now."""
        if self._is_draining:
            for worker in list(self.wrks):
                worker.kill()
            os._exit(130)
        self._is_draining = True
        self._mark.touch()
        if self._drain_notice <= 0:
            self._stop()
            return
        timer = threading.Timer(self._drain_notice, self._stop)
        timer.daemon = True
        timer.start()

    def run(self) -> None:
        """Serve until told to stop."""
        self.serve(target_loader=partial(load_worker, parent=os.getpid()))  # pyright: ignore[reportUnknownMemberType]

    def _stop(self) -> None:
        super().signal_handler_interrupt()  # pyright: ignore[reportUnknownMemberType]


def run_folder(data: Path, port: int) -> Path:
    """Where a proxy's processes meet: metrics files and the drain mark. Emptied at every start."""
    return data / "run" / f"proxy-{port}"


def make_supervisor(
    *, target: str, address: str, port: int, workers: int, run_dir: Path, drain_notice: float, drain_timeout: float
) -> Supervisor:
    """The server, not yet serving."""
    return Supervisor(
        run_dir,
        drain_notice,
        target=target,
        address=address,
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000, max_buffer_size=HEADER_BYTES),
        websockets=False,
        workers=workers,
        backlog=BACKLOG,
        backpressure=BACKPRESSURE,
        respawn_failed_workers=True,
        respawn_interval=0.1,
        # Past this a worker is killed; its journal is then recovered like any dead worker's.
        workers_kill_timeout=max(1, int(drain_timeout) + 15),
        log_level=LogLevels.warning,
        log_access=False,
    )


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when process `parent` ends: a worker without supervisor must not linger.

    Ends it at once when `parent` is gone already. Linux only; elsewhere the parent's pid is watched by `is_orphan`.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if is_orphan(parent):
        os._exit(1)


def load_worker(target: str, *, parent: int) -> Any:
    """What a worker does first, before an import that takes a second: tie itself to its supervisor, then load."""
    die_with(parent)
    module, _, factory = target.partition(":")
    return getattr(importlib.import_module(module), factory)()


def is_orphan(parent: int) -> bool:
    """Whether the parent of old is gone."""
    return os.getppid() != parent


def ignore_interrupt(loop: asyncio.AbstractEventLoop) -> None:
    """Ctrl-C reaches the whole process group; only the supervisor may act on it."""
    loop.remove_signal_handler(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
