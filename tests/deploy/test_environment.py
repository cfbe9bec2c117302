"""The environment's makers: which Python the Makefile takes, and when environment.py has something to do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import environment
from deploy.local.environment import SetupError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the lock's files and an environment that looks complete."""
    monkeypatch.chdir(tmp_path)
    for path in environment.INPUTS:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((ROOT / path).read_bytes())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def refuse(*_arguments: object) -> None:
    raise SetupError("would have worked")


@pytest.mark.parametrize(
    ("stamp", "kind", "works"),
    [("run", "run", False), ("dev", "run", False), ("dev", "dev", False), ("run", "dev", True), ("none", "run", True)],
)
def test_nothing_is_done_when_up_to_date(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stamp: str, kind: str, works: bool
) -> None:
    """What `dev` made serves `run` as well, not the other way round."""
    (folder / ".venv" / f"stamp-{stamp}").write_text(environment.digest(*environment.INPUTS))
    monkeypatch.setattr(environment, "provide_uv", refuse)
    if works:
        with pytest.raises(SetupError, match="would have worked"):
            environment.provide(kind)
    else:
        environment.provide(kind)


@pytest.mark.parametrize("path", environment.INPUTS)
def test_a_changed_lock_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Any of the files that decide what is installed."""
    (folder / ".venv" / "stamp-dev").write_text(environment.digest(*environment.INPUTS))
    path.write_bytes(path.read_bytes() + b"\n")
    monkeypatch.setattr(environment, "provide_uv", refuse)
    with pytest.raises(SetupError, match="would have worked"):
        environment.provide("dev")


def test_a_python_that_is_gone_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to a Python that was removed, or is not ours to read."""
    (folder / ".venv" / "stamp-dev").write_text(environment.digest(*environment.INPUTS))
    (folder / ".venv" / "bin" / "python").unlink()
    (folder / ".venv" / "bin" / "python").symlink_to("/nonexistent/python")
    monkeypatch.setattr(environment, "provide_uv", refuse)
    with pytest.raises(SetupError, match="would have worked"):
        environment.provide("run")


def test_a_python_without_ensurepip_is_told_its_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian ships venv apart."""
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"has no ensurepip: .*python3\.\d+-venv"):
        environment.provide_uv()


def test_an_unwritable_folder_is_one_line(folder: Path) -> None:
    """A file where the folder should be stands in for all that can be in the way, also for root."""
    (folder / ".weir").touch()
    with pytest.raises(SetupError, match=r"cannot write to .*\.weir: File exists"):
        environment.provide("run")


def test_the_cache_moves_in_when_home_is_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of uv lies in the home folder, or in .weir where that cannot be written."""
    (folder / ".weir").mkdir()
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(folder / "home"))
    assert environment.uv_environ()["UV_CACHE_DIR"] == str(folder / "home" / ".cache" / "uv")

    monkeypatch.setenv("HOME", "/dev/null")
    assert environment.uv_environ()["UV_CACHE_DIR"] == str(folder / ".weir" / "uv-cache")


def make(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`make` on a copy of the Makefile, with an environment.py that only tells who runs it."""
    (folder / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    script = folder / "deploy" / "local" / "environment.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(
        "import os, sys; print(sys.argv[1:], sys.executable, 'VIRTUAL_ENV' in os.environ, sys.flags.isolated)"
    )
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "PYTHON"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=clean | environ, capture_output=True, text=True, timeout=60
    )


def test_make_takes_the_first_python_that_starts(tmp_path: Path) -> None:
    """One that fails, one that is missing and one that is too old are passed over, in a folder with a space."""
    folder = tmp_path / "a folder"
    tools = folder / "tools"
    tools.mkdir(parents=True)
    (tools / "python3.11").write_text("#!/bin/sh\necho 'pyenv: python3.11: command not found' >&2; exit 127\n")
    (tools / "python3.12").symlink_to(sys.executable)
    (tools / "python3.11").chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"

    done = make(folder, "environment-run", PATH=path, VIRTUAL_ENV="/elsewhere", PYTHON="/nonexistent/python")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['run'] ")
    assert str(tools / "python3.12") in done.stdout
    assert done.stdout.endswith(" False 1\n")
    assert done.stderr == ""


def test_make_says_that_there_is_no_python(tmp_path: Path) -> None:
    """One line, and make's own."""
    tools = tmp_path / "tools"
    tools.mkdir()
    text = re.sub(r"/usr/(local/)?bin/", "/nonexistent/", (ROOT / "Makefile").read_text())
    for name in ("make", "sh"):
        found = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
        (tools / name).symlink_to(found.stdout.strip())
    (tmp_path / "Makefile").write_text(text)
    done = subprocess.run(
        ["make", "environment-run"], cwd=tmp_path, env={"PATH": str(tools)}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].startswith("weir: found no Python 3.11 or newer")


def test_make_alone_prints_help(tmp_path: Path) -> None:
    """Every target that a person calls is in it."""
    done = make(tmp_path)
    assert re.findall(r"^  make ([a-z]+)\t", done.stdout, re.MULTILINE) == [
        *("help", "run", "test", "lint", "check", "bench", "clean")
    ]
