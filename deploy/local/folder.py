"""The data folder of the stack (`.weir`): one stack at a time, closed to others, secrets made once.

    admin-key  master-key     mode 0600, one line each
    passwords/                of the embedded PostgreSQL's users
    postgres/ valkey/         the servers' data
    logs/                     one file per child, appended to
    sockets                   of the servers: a folder, or a link to one where the path here is too long

It decides names and modes. What runs on it is the stack's affair.
"""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deploy.local.child import LaunchError
from deploy.local.postgres import is_socket_folder

_SHORT_PREFIX = "weir-"
_FORMER_SECONDS = 15


class Folder:
    """An opened data folder. Its lock is held until `close`, and by children that were given `lock`, until they end."""

    def __init__(self, path: Path) -> None:
        """Open it, made when missing. Raises LaunchError when it cannot be written or another stack runs on it."""
        self.path = path.absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LaunchError(f"cannot write to {self.path}: {error.strerror}") from None
        try:
            self._take_lock()
            os.chmod(self.path, 0o700)
        except OSError as error:
            os.close(self.lock)
            raise LaunchError(f"cannot write to {self.path}: {error.strerror}") from None
        except LaunchError:
            os.close(self.lock)
            raise

    def _take_lock(self) -> None:
        deadline = time.monotonic() + _FORMER_SECONDS
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
            holder = os.pread(self.lock, 32, 0).decode().strip()
            # A launcher that was killed leaves children that stop by themselves; they hold the lock meanwhile.
            if holder and _lives(int(holder)):
                raise LaunchError(f"a stack is already running on {self.path} (process {holder}): stop it first")
            if time.monotonic() > deadline:
                raise LaunchError(f"processes of a former stack on {self.path} are still stopping: try again later")
            time.sleep(0.1)
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, f"{os.getpid()}\n".encode(), 0)

    def secret(self, name: str, mint: Callable[[], str]) -> str:
        """The secret in the file `name`, minted on first use. The file appears whole or not at all, mode 0600."""
        file = self.path / name
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if file.exists():
                secret = file.read_text(encoding="ascii").strip()
                if not secret:
                    raise LaunchError(f"{file} is empty: restore it, or remove it to have a new one made")
                os.chmod(file, 0o600)
                return secret
            secret = mint()
            fresh = file.with_name(file.name + ".new")
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as target:
                target.write(secret + "\n")
                target.flush()
                os.fsync(target.fileno())
            fresh.rename(file)
        except OSError as error:
            raise LaunchError(f"cannot use {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise LaunchError(f"{file} is not text: restore it, or remove it to have a new one made") from None
        return secret

    def sockets(self) -> Path:
        """The folder for sockets, empty and private. A stack that was killed may have left the one before."""
        link = self.path / "sockets"
        try:
            self._drop_sockets(link)
            if is_socket_folder(str(link)):
                link.mkdir(mode=0o700)
                return link
            short = Path(tempfile.mkdtemp(prefix=_SHORT_PREFIX, dir="/tmp"))  # mode 0700; TMPDIR may be long, too
            link.symlink_to(short)
            return short
        except OSError as error:
            raise LaunchError(f"cannot make a folder for sockets: {error}") from None

    def _drop_sockets(self, link: Path) -> None:
        if link.is_symlink():
            target = Path(os.readlink(link))
            if target.name.startswith(_SHORT_PREFIX) and target.is_dir() and target.lstat().st_uid == os.geteuid():
                shutil.rmtree(target, ignore_errors=True)
            link.unlink()
        elif link.exists():
            shutil.rmtree(link)

    def close(self) -> None:
        """Drop the sockets' folder and give up the lock."""
        with suppress(OSError):  # the next start drops it
            self._drop_sockets(self.path / "sockets")
        os.close(self.lock)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a zombie has ended: what is left of it holds nothing
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return not Path("/proc/self").exists()
