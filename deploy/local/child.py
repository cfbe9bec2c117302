"""A child process of the launcher: started in a session of its own, tied to our life, stopped by the right signal.

It knows nothing of what runs in it. Ctrl-C in a terminal reaches only the launcher, which decides the order.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
LOG_MAX_BYTES = 64 << 20


class LaunchError(Exception):
    """The stack cannot start or go on. The message is the one line the user sees; it names what to change."""


def guarded(program: Sequence[str | Path], death_signal: int, identity: str = "same") -> list[str]:
    """The command that runs `program` so that it gets `death_signal` when this process ends, even by SIGKILL."""
    guard = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), str(int(death_signal)), identity]
    return [*guard, *map(str, program)]


def open_log(path: Path) -> int:
    """A descriptor that appends to `path` (mode 0600); a log that grew large is set aside first, one is kept."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_MAX_BYTES:
        path.replace(path.with_suffix(path.suffix + ".1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


class Child:
    """One running program. `name` is what the user calls it."""

    def __init__(
        self,
        name: str,
        program: Sequence[str | Path],
        log: Path,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals | None = None,
        identity: str = "same",
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        lock: int | None = None,
    ) -> None:
        """Start it.

        `death_signal` is what it gets when we are killed, its stop signal unless told otherwise. `lock` is a
        descriptor for it to keep open: a lock on it lasts as long as the child, if that is longer.
        """
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        output = open_log(log)
        try:
            self._log_start = os.fstat(output).st_size
            self._process = subprocess.Popen(  # noqa: S603 - programs of ours, no shell
                guarded(program, death_signal or stop_signal, identity),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environ,
                cwd=cwd,
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
            )
        finally:
            os.close(output)

    @property
    def pid(self) -> int:
        """Its process id; the guard became the program, so it is the program's."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def told(self) -> str:
        """What it wrote to its log since it was started (the last 64 KiB)."""
        with self.log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, end - 65536))
            return file.read().decode(errors="replace")

    def wait(self, seconds: float) -> bool:
        """True when it ended within `seconds`."""
        deadline = time.monotonic() + seconds
        while self.exit_code is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def ask_to_stop(self) -> None:
        """Send its stop signal and return at once."""
        if self.exit_code is None:
            self._process.send_signal(self._stop_signal)

    def stop(self, seconds: float) -> None:
        """Ask it to stop, end it after `seconds`, and leave nobody of its process group behind."""
        self.ask_to_stop()
        self.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End it and its process group at once."""
        # The errors say that nobody of the group is left (macOS: or only one who has ended).
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
