"""The README says what is: every setting, endpoint and kind of error stands in it, and no setting that is not."""

import re
from pathlib import Path

import pytest

from proxy.endpoints import ENDPOINTS
from shared.errors import ERROR_KINDS
from shared.settings import BY_NAME, SETTINGS, Setting

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_setting_is_in_the_table(setting: Setting) -> None:
    """With its default, its plane and its meaning."""
    default = f"`{setting.default}`" if setting.default else ""
    assert f"| `{setting.name}` | {default} | {setting.plane} | {setting.meaning} |" in README


def test_the_table_has_no_other_settings() -> None:
    """A name in the table is a setting."""
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE)) <= set(BY_NAME)


def test_every_endpoint_is_named() -> None:
    """As method and template."""
    for endpoint in ENDPOINTS:
        assert f"`{endpoint.method} {endpoint.template}`" in README


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_a_kind_of_error_is_in_the_table(kind: str) -> None:
    """On the line of its status."""
    [line] = [line for line in README.splitlines() if line.startswith(f"| {ERROR_KINDS[kind].status} |")]
    assert f"`{kind}`" in line


def test_nothing_is_left_to_fill_in() -> None:
    """No placeholder stayed."""
    assert not re.search(r"^@[A-Z]+@$", README, re.MULTILINE)
