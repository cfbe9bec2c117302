"""Looking at processes from outside: which of them belong to a folder, and waiting for something to come true."""

import os
import time
from collections.abc import Callable
from pathlib import Path


def living_under(folder: Path) -> set[int]:
    """Processes whose working folder is `folder` or in it; everything that a stack starts is among them."""
    found: set[int] = set()
    root = str(folder.resolve())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                where = os.readlink(entry / "cwd")
            except OSError:
                continue  # ended meanwhile, a zombie, or another user's
            if where == root or where.startswith(root + "/"):
                found.add(int(entry.name))
    return found


def named(pids: set[int]) -> dict[int, str]:
    """What each of them is, for the message of a test that fails."""
    told: dict[int, str] = {}
    for pid in pids:
        try:
            told[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            told[pid] = "ended meanwhile"
    return told


def within(seconds: float, is_true: Callable[[], bool]) -> bool:
    """True as soon as `is_true()` is; False when it was not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
