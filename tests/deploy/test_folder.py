"""The data folder: one stack at a time, closed to others, secrets made once."""

import os
from pathlib import Path

import pytest

from deploy.local.child import LaunchError
from deploy.local.folder import Folder


def test_a_folder_is_closed_to_others_and_its_secrets_too(tmp_path: Path) -> None:
    """The folder has mode 0700 and a secret 0600, whatever the umask and whatever they had before."""
    (tmp_path / ".weir").mkdir(mode=0o755)
    before = os.umask(0)
    try:
        folder = Folder(tmp_path / ".weir")
        folder.secret("passwords/one", lambda: "hush")
    finally:
        os.umask(before)
    assert (tmp_path / ".weir").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".weir" / "passwords").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".weir" / "passwords" / "one").stat().st_mode & 0o777 == 0o600
    folder.close()


def test_a_secret_is_minted_once(tmp_path: Path) -> None:
    """The next start finds the same secret."""
    folder = Folder(tmp_path)
    assert folder.secret("admin-key", lambda: "first") == "first"
    folder.close()

    folder = Folder(tmp_path)
    assert folder.secret("admin-key", lambda: "second") == "first"
    folder.close()


def test_an_empty_secret_is_named(tmp_path: Path) -> None:
    """A file that lost its content stops the start: a new master key would make every stored secret unreadable."""
    (tmp_path / "master-key").touch()
    folder = Folder(tmp_path)
    with pytest.raises(LaunchError, match=r"master-key is empty"):
        folder.secret("master-key", lambda: "new")
    folder.close()


def test_a_second_stack_is_told_who_runs(tmp_path: Path) -> None:
    """The same folder cannot be opened twice; the first one's process is named."""
    folder = Folder(tmp_path)
    with pytest.raises(LaunchError, match=rf"already running on .*process {os.getpid()}\)"):
        Folder(tmp_path)
    folder.close()
    Folder(tmp_path).close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One line with the path and the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(LaunchError, match=r"cannot write to .*file/\.weir: Not a directory"):
        Folder(tmp_path / "file" / ".weir")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_named(tmp_path: Path) -> None:
    """As an ordinary user, in a folder of another's."""
    tmp_path.chmod(0o500)
    with pytest.raises(LaunchError, match=r"cannot write to .*\.weir: Permission denied"):
        Folder(tmp_path / ".weir")
    tmp_path.chmod(0o700)


def test_sockets_of_a_killed_stack_are_dropped(tmp_path: Path) -> None:
    """The short folder elsewhere that a SIGKILL left behind goes with the next start; there is never a second one."""
    deep = tmp_path / ("x" * 100)
    folder = Folder(deep)
    left = folder.sockets()
    (left / "valkey.sock").touch()
    os.close(folder.lock)  # what the kernel does for a killed process

    folder = Folder(deep)
    fresh = folder.sockets()
    assert not left.exists()
    assert list(fresh.iterdir()) == []
    folder.close()
    assert not fresh.exists()


def test_a_link_to_a_folder_of_no_stack_is_left_alone(tmp_path: Path) -> None:
    """A link that points anywhere else is unlinked, and what it points to is not touched."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    folder = Folder(tmp_path / ".weir")
    (tmp_path / ".weir" / "sockets").symlink_to(tmp_path / "precious")
    folder.sockets()
    assert (tmp_path / "precious" / "file").exists()
    folder.close()
