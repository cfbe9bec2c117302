"""The rules of the house that no other tool checks."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("shared", "proxy", "admin", "deploy", "tests") for path in (ROOT / folder).rglob("*.py")
)
PLANES = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ("shared", "proxy", "admin", "deploy")]
LONGEST, LONGEST_TEST = 350, 400
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc", "manager", "base"}
PROVIDER_NAMES = re.compile(r"""["'](openai|anthropic|azure|bedrock|vllm|deepinfra)["']""")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_stays_short(path: Path) -> None:
    """A file over 350 lines is two rooms; a table of cases may be a little longer."""
    longest = LONGEST if path in PLANES else LONGEST_TEST
    assert len(path.read_text(encoding="utf-8").splitlines()) <= longest


@pytest.mark.parametrize("path", PLANES, ids=name_of)
def test_a_module_states_its_law(path: Path) -> None:
    """Every module that holds code opens by saying what it is for."""
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or text.startswith(('"""', 'r"""', "#!"))


@pytest.mark.parametrize("path", PLANES, ids=name_of)
def test_a_module_is_named_after_what_it_holds(path: Path) -> None:
    """No drawer for odds and ends."""
    assert path.stem not in FORBIDDEN_NAMES


@pytest.mark.parametrize(
    "path", [p for p in PLANES if p.is_relative_to(ROOT / "proxy") and "providers" not in p.parts], ids=name_of
)
def test_a_provider_is_named_only_in_its_room(path: Path) -> None:
    """Outside `proxy/providers/` nothing decides by a provider's name."""
    assert not PROVIDER_NAMES.findall(path.read_text(encoding="utf-8"))


def test_the_import_contracts_hold() -> None:
    """The planes meet only in shared, imports point down, the pure rooms do no I/O."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [ROOT / ".venv/bin/python", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
