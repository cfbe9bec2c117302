"""Make `.venv` from the lock file, with nothing but a Python: `python -I deploy/local/environment.py run|dev`.

Runs before there is an environment, so it imports only the standard library. uv comes by pip, pinned by hash, into a
private venv under .weir; Pythons are never downloaded. When everything is up to date it does nothing. `run` adds what
the stack needs and removes nothing, `dev` makes it exactly the lock's; so the two share one `.venv` without a fight.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ENVIRONMENT = Path(".venv")
PRIVATE = Path(".weir")
UV = PRIVATE / "uv"
UV_REQUIREMENTS = Path("deploy/local/uv.txt")
INPUTS = (Path("pyproject.toml"), Path("uv.lock"), UV_REQUIREMENTS)
EXTRAS = {
    "run": ("--extra", "embedded", "--no-dev", "--inexact"),
    "dev": ("--extra", "embedded"),
}
# An active environment, or a developer's own choices for other projects, must not lead ours elsewhere.
FOREIGN = {
    *("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH"),
    *("PIP_TARGET", "PIP_PREFIX", "PIP_USER"),
    *("UV_PROJECT_ENVIRONMENT", "UV_PROJECT", "UV_PYTHON", "UV_WORKING_DIRECTORY", "UV_FROZEN", "UV_LOCKED"),
}
CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class SetupError(Exception):
    """The environment cannot be made; the message is the one line that says what to do."""


def digest(*paths: Path) -> str:
    """What a stamp holds: it changes with the content of `paths` and with Python's minor version."""
    found = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()


def is_current(folder: Path, stamp: str, wanted: str) -> bool:
    """True when `folder` is an environment whose Python starts and whose stamp is `wanted`."""
    try:
        is_same = (folder / stamp).read_text(encoding="ascii") == wanted
    except OSError:
        return False
    return is_same and os.access(folder / "bin" / "python", os.X_OK)  # false for a link to a Python that is gone


def clean_environ() -> dict[str, str]:
    """The environment for pip and uv."""
    return {name: text for name, text in os.environ.items() if name not in FOREIGN}


def run(what: str, command: Sequence[str | Path], environ: dict[str, str]) -> None:
    """Run a step; its own output is all there is to read when it fails."""
    words = [str(part) for part in command]
    done = subprocess.run(words, env=environ, stdin=subprocess.DEVNULL, check=False)  # noqa: S603 - no shell
    if done.returncode != 0:
        raise SetupError(f"could not {what}: see above")


def provide_uv() -> None:
    """Put uv into its private venv, when it is not there in the pinned version."""
    wanted = digest(UV_REQUIREMENTS)
    if is_current(UV, "stamp", wanted):
        return
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if not (importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv")):
        raise SetupError(f"{sys.executable} has no ensurepip: install its package, on Debian {version}-venv")
    shutil.rmtree(UV, ignore_errors=True)
    environ = clean_environ()
    run("make a private environment", [sys.executable, "-I", "-m", "venv", UV], environ)
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes", "--only-binary", ":all:"]
    pip = [UV / "bin" / "python", "-I", "-m", "pip", "install", *options, "-r", UV_REQUIREMENTS]
    run("install uv", pip, environ)
    (UV / "stamp").write_text(wanted, encoding="ascii")


def uv_environ() -> dict[str, str]:
    """The environment for uv: no Pythons from the network, the system's certificates, a cache we may write to."""
    environ = clean_environ()
    environ["UV_PYTHON_DOWNLOADS"] = "never"
    if any(os.path.exists(path) for path in CERTIFICATES):
        environ.setdefault("UV_SYSTEM_CERTS", "true")  # a company's own authority is known there
    if not environ.get("UV_CACHE_DIR"):
        home = environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        cache = Path(home) / "uv"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            is_writable = os.access(cache, os.W_OK | os.X_OK)
        except OSError:
            is_writable = False
        if not is_writable:
            cache = (PRIVATE / "uv-cache").absolute()
            cache.mkdir(exist_ok=True)
        environ["UV_CACHE_DIR"] = str(cache)
    if os.stat(environ["UV_CACHE_DIR"]).st_dev != os.stat(".").st_dev:
        environ.setdefault("UV_LINK_MODE", "copy")  # hard links do not cross devices; uv would warn about each run
    return environ


def provide(kind: str) -> None:
    """Bring `.venv` up to date for `kind`. Raises SetupError."""
    wanted = digest(*INPUTS)
    stamps = ("stamp-dev",) if kind == "dev" else ("stamp-run", "stamp-dev")
    if any(is_current(ENVIRONMENT, stamp, wanted) for stamp in stamps):
        return
    try:
        PRIVATE.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(PRIVATE / "environment.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SetupError(f"cannot write to {PRIVATE.absolute()}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second finds the work done
        if any(is_current(ENVIRONMENT, stamp, wanted) for stamp in stamps):
            return
        told = "Setting up the Python environment in .venv (the first time it downloads about 100 MB) ..."
        print(told, file=sys.stderr, flush=True)
        provide_uv()
        sync = ["sync", "--quiet", "--frozen", "--no-build", "--python", sys.executable, *EXTRAS[kind]]
        run("install the locked packages", [UV / "bin" / "uv", *sync], uv_environ())
        (ENVIRONMENT / f"stamp-{kind}").write_text(wanted, encoding="ascii")
    except OSError as error:
        raise SetupError(f"cannot write to {error.filename or ENVIRONMENT}: {error.strerror}") from None
    finally:
        os.close(lock)


if __name__ == "__main__":
    try:
        provide(sys.argv[1])
    except SetupError as problem:
        sys.exit(f"weir: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
