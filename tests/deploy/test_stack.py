"""The whole stack as a user meets it: what it prints can be pasted, what it keeps survives, what ends it ends all."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local.welcome import welcome
from tests.deploy.processes import living_under, named, within
from tests.deploy.test_launcher import PORT_NAMES, ROOT, Launcher
from tests.fakes.upstream import FakeUpstream
from tests.servers import clean_environ

UP = "gpt-4o-mini"
"""In the last line of what the launcher prints."""
ROUNDS = 20
REBUILT_SECONDS = 15
"""A limiter that was restarted counts anew from the events before a key with a budget may pass (503 meanwhile)."""


@pytest_asyncio.fixture(loop_scope="session")
async def upstream() -> AsyncIterator[FakeUpstream]:
    """What stands in for the provider."""
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a long path and a space, in which nothing may live afterwards."""
    path = tmp_path / ("my gateway " + "x" * max(1, 139 - len(str(tmp_path))))
    path.mkdir()
    yield path
    left = named(living_under(path))
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "the test left a process running"


def pasted(text: str) -> str:
    """The commands in what the launcher printed."""
    return text[text.index("SETTING=$(") :]


async def paste(commands: str, folder: Path, **environ: str) -> str:
    """What a shell in `folder` answers to the commands."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash"],
        input=commands,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "OPENAI_API_KEY": "sk-upstream-secret"} | environ,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands to paste use curl")
@pytest.mark.parametrize("settings", [{}, {"ADMIN_PASS": "chosen by the operator"}], ids=["minted", "chosen"])
async def test_the_printed_commands_work_at_once(
    folder: Path, upstream: FakeUpstream, settings: dict[str, str]
) -> None:
    """Pasted back to back they give an answer, again and again; after a restart what they made is still there."""
    settings = settings | {"WEIR_UPSTREAM_OPENAI_URL": upstream.url}
    launcher = Launcher(folder, **settings)
    text = await asyncio.to_thread(launcher.read_until, UP)
    commands = pasted(text) + '\necho "$KEY" > key\n'
    for _ in range(ROUNDS):
        answer = await paste(commands, folder, **settings)
        assert '"chat.completion"' in answer, answer
    assert len(upstream.calls) == ROUNDS
    assert dict(upstream.calls[0].headers)["authorization"] == "Bearer sk-upstream-secret"
    assert (folder / ".weir" / "admin-key").exists() is not bool(settings.get("ADMIN_PASS"))

    launcher.process.terminate()
    code, _, err = await asyncio.to_thread(launcher.end)
    assert (code, err) == (0, "")
    assert not living_under(folder)

    launcher = Launcher(folder, **settings)
    text = await asyncio.to_thread(launcher.read_until, UP)
    again = "KEY=$(cat key)\n" + text[text.rindex("curl -sS") :]
    deadline = asyncio.get_running_loop().time() + REBUILT_SECONDS
    while '"code":"503"' in (answer := await paste(again, folder, **settings)):
        assert asyncio.get_running_loop().time() < deadline, answer
        await asyncio.sleep(0.2)
    assert '"chat.completion"' in answer, answer
    launcher.process.send_signal(signal.SIGINT)
    code, _, err = await asyncio.to_thread(launcher.end)
    assert (code, err) == (0, "")

    for file in (folder / ".weir" / "logs").iterdir():
        assert b"sk-upstream-secret" not in file.read_bytes(), file
        assert b"chosen by the operator" not in file.read_bytes(), file


def test_a_killed_launcher_leaves_nothing_and_can_start_again(folder: Path) -> None:
    """SIGKILL of the launcher ends both planes with their workers, and both servers."""
    for _ in range(2):
        launcher = Launcher(folder, WEIR_PROXY_WORKERS="2")
        launcher.read_until(UP)
        assert len(living_under(folder)) > 6
        launcher.process.kill()
        launcher.process.communicate()
        assert within(60, lambda: not living_under(folder)), named(living_under(folder))  # a last checkpoint takes time


def test_a_second_stack_in_the_folder_is_one_line(folder: Path) -> None:
    """It does not disturb the first."""
    first = Launcher(folder)
    first.read_until(UP)
    code, out, err = Launcher(folder).end()
    assert (code, out) == (1, "")
    assert err == (f"weir: a stack is already running on {folder}/.weir (process {first.process.pid}): stop it first\n")
    assert first.process.poll() is None
    first.process.terminate()
    assert first.end()[0] == 0


@pytest.mark.parametrize("name", ["postgres", "valkey-server", "-m admin", "-m proxy"])
def test_a_part_that_dies_ends_the_stack_with_one_line(folder: Path, name: str) -> None:
    """Half a stack is no stack: the rest is stopped, and the part is named."""
    launcher = Launcher(folder)
    launcher.read_until(UP)
    children = Path(f"/proc/{launcher.process.pid}/task/{launcher.process.pid}/children").read_text().split()
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in children}
    victim = next(pid for pid, line in lines.items() if name in line.split(" -D ")[0])
    os.kill(int(victim), signal.SIGKILL)
    code, _, err = launcher.end()
    assert code == 1
    assert err.count("\n") == 1
    assert "ended unexpectedly" in err
    assert within(5, lambda: not living_under(folder))


def test_a_second_ctrl_c_ends_everything_at_once(folder: Path) -> None:
    """However long open streams may take."""
    launcher = Launcher(folder, DRAIN_NOTICE="60s")
    launcher.read_until(UP)
    launcher.process.send_signal(signal.SIGINT)
    launcher.read_until("Ctrl-C again")
    launcher.process.send_signal(signal.SIGINT)
    code, _, _ = launcher.end(10)
    assert code == 130
    assert within(5, lambda: not living_under(folder))


def test_the_stack_follows_make(folder: Path) -> None:
    """SIGKILL of the process that started it, as of make, stops it in order."""
    environ = clean_environ() | dict.fromkeys(PORT_NAMES, "0") | {"PYTHONPATH": str(ROOT)}
    command = '"$0" -m deploy.local --follow-parent; true'  # not the shell's last command, or it becomes it
    shell = subprocess.Popen(
        ["sh", "-c", command, sys.executable], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True
    )
    assert shell.stdout is not None
    while UP not in shell.stdout.readline():
        assert shell.poll() is None
    shell.kill()
    shell.communicate()
    assert within(30, lambda: not living_under(folder))


def test_the_welcome_shows_no_secret_and_quotes_paths(tmp_path: Path) -> None:
    """The key is read from its file when a command runs; a folder elsewhere is named in full."""
    text = welcome("http://127.0.0.1:8002", "http://127.0.0.1:8001", tmp_path / "it's here", has_admin_pass=False)
    assert "$(cat '" in text
    assert "it'\"'\"'s here/admin-key" in text

    text = welcome("http://127.0.0.1:8002", "http://127.0.0.1:8001", Path(".weir"), has_admin_pass=False)
    assert "admin key  in the file .weir/admin-key" in text
    assert "$(cat .weir/admin-key)" in text

    text = welcome("http://127.0.0.1:8002", "http://127.0.0.1:8001", Path(".weir"), has_admin_pass=True)
    assert "admin-key" not in text
    assert "X-API-KEY: $ADMIN_PASS" in text
