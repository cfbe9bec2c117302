"""A setting that is accepted and documented does something: code reads it."""

import ast
from pathlib import Path

import pytest

from proxy.providers import PROVIDERS
from shared.settings import BY_NAME

ROOT = Path(__file__).parents[2]
# Read by name: where providers are, by their rows; the JSON file, by `load` before there are settings.
READ_BY_NAME = {row.base_url_setting for row in PROVIDERS.values()} | {"CONFIG_FILE_NAME"}
HOLDERS = {"settings", "_settings", "_given"}


def attributes_read() -> set[str]:
    """Names that are read off something called settings, anywhere in the planes."""
    found: set[str] = set()
    for folder in ("proxy", "admin", "deploy", "shared"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    holder = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
                    if holder in HOLDERS:
                        found.add(node.attr)
    return found


READ = attributes_read()


@pytest.mark.parametrize("name", BY_NAME)
def test_a_setting_is_read(name: str) -> None:
    """As an attribute of settings, or by its name where that is the way."""
    assert name.lower() in READ or name in READ_BY_NAME
