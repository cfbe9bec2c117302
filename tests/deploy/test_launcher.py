"""`python -m deploy.local` from outside: one clear line for whatever is wrong, and nothing left running."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.processes import living_under, within
from tests.ports import free_port
from tests.servers import clean_environ

ROOT = Path(__file__).parents[2]
PORT_NAMES = ("WEIR_ADMIN_PORT", "WEIR_PROXY_PORT", "PROMETHEUS_PORT", "WEIR_ADMIN_PROMETHEUS_PORT")


class Launcher:
    """One run of the stack in `folder`; ports are free ones, the environment holds nothing else of Weir's."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        environ = clean_environ() | {name: str(free_port()) for name in PORT_NAMES} | settings
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local"],
            cwd=folder,
            env=environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read_until(self, text: str) -> str:
        """What it prints, up to the line that holds `text`. Fails when it ends before."""
        assert self.process.stdout is not None
        seen = ""
        for line in self.process.stdout:
            seen += line
            if text in line:
                return seen
        assert self.process.stderr is not None
        raise AssertionError(f"the launcher ended: {seen}{self.process.stderr.read()}")

    def end(self, seconds: float = 60) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of the ended launcher."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; nothing may live in it afterwards."""
    yield tmp_path
    left = living_under(tmp_path)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "the test left a process running"


WRONG = [
    pytest.param({"WEIR_PROXY_PORT": "many"}, r"weir: WEIR_PROXY_PORT: 'many' must be", 2, id="malformed"),
    pytest.param({"WEIR_PROXY_PROT": "8002"}, r"weir: WEIR_PROXY_PROT: no such setting", 2, id="unknown"),
    pytest.param({"WEIR_MASTER_KEY": "short"}, r"weir: WEIR_MASTER_KEY: ", 2, id="secret"),
    pytest.param({"POSTGRESQL_PASSWORD": "x"}, r"weir: POSTGRESQL_PASSWORD: set without POSTGRESQL_HOSTS", 2, id="pg"),
    pytest.param({"REDIS_PORT": "6379"}, r"weir: REDIS_PORT: set without REDIS_HOSTS", 2, id="redis"),
    pytest.param({"CONFIG_FILE_NAME": "none.json"}, r"weir: CONFIG_FILE_NAME: cannot read none.json", 2, id="config"),
    pytest.param({"WEIR_DATA_DIR": "/dev/null/x"}, r"weir: cannot write to /dev/null/x: Not a directory", 1, id="dir"),
    pytest.param({"WEIR_PROXY_ADDRESS": "192.0.2.1"}, r"weir: WEIR_PROXY_PORT: cannot listen on 192.0.2.1", 1, id="ip"),
]


@pytest.mark.parametrize(("settings", "line", "code"), WRONG)
def test_a_wrong_setting_is_one_line(folder: Path, settings: dict[str, str], line: str, code: int) -> None:
    """The variable is named, a secret's value is not shown, the exit code is not 0."""
    found, out, err = Launcher(folder, **settings).end()
    assert found == code
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(line.replace("\\", ""))
    assert "short" not in err


def test_dot_env_counts(folder: Path) -> None:
    """A wrong value in .env stops the start like one in the environment."""
    (folder / ".env").write_text("DRAIN_TIMEOUT=never\n")
    code, _, err = Launcher(folder).end()
    assert code == 2
    assert err.startswith("weir: DRAIN_TIMEOUT: 'never' ")


@pytest.mark.parametrize("name", PORT_NAMES)
def test_a_port_in_use_is_one_line(folder: Path, name: str) -> None:
    """Each of the four ports is checked before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = Launcher(folder, **{name: port}).end()
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert name in err
    assert port in err
    assert not (folder / ".weir" / "postgres").exists()


def test_an_unreachable_database_is_one_line(folder: Path) -> None:
    """With POSTGRESQL_HOSTS no PostgreSQL is started; one that does not answer is named."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = str(closed.getsockname()[1])
    code, out, err = Launcher(folder, POSTGRESQL_HOSTS="127.0.0.1", POSTGRESQL_PORT=port).end()
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert "cannot bring the database on 127.0.0.1 up to date" in err
    assert not (folder / ".weir" / "postgres").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_an_unwritable_folder_is_one_line(folder: Path) -> None:
    """As an ordinary user, in a folder of another's."""
    folder.chmod(0o500)
    code, _, err = Launcher(folder).end()
    folder.chmod(0o700)
    assert code == 1
    assert err == f"weir: cannot write to {folder}/.weir: Permission denied\n"


def test_ctrl_c_while_starting_leaves_nothing(folder: Path) -> None:
    """At whatever moment of the start it comes."""
    for delay in (0.5, 1.0, 1.5, 2.5):
        launcher = Launcher(folder)
        time.sleep(delay)
        launcher.process.send_signal(signal.SIGINT)
        code, _, err = launcher.end()
        assert code in (0, -signal.SIGINT, 130), err
        assert within(5, lambda: not living_under(folder))
