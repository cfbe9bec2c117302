"""A price file that cannot be used is refused with the name of what is wrong in it."""

from pathlib import Path

import msgspec
import pytest

from shared.catalog import CatalogError, load_catalog

GOOD = {"input": "1", "output": "2"}


def write(folder: Path, models: object) -> Path:
    path = folder / "prices.json"
    path.write_bytes(msgspec.json.encode({"providers": {"openai": models}}))
    return path


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({}, "prices"),
        ({"prices": []}, "prices: must hold at least one row"),
        ({"prices": [{"classes": {"input": "1"}}]}, "prices[0].classes: needs both input and output"),
        ({"prices": [{"classes": {**GOOD, "inptu": "1"}}]}, "inptu"),
        ({"prices": [{"classes": {**GOOD, "input": "free"}}]}, "classes"),
        ({"prices": [{"classes": {**GOOD, "input": "-1"}}]}, "prices[0].classes.input: -1 is not an amount"),
        ({"prices": [{"classes": {**GOOD, "input": "1000001"}}]}, "prices[0].classes.input"),
        ({"prices": [{"classes": {**GOOD, "input": "NaN"}}]}, "prices[0].classes.input"),
        ({"prices": [{"classes": {**GOOD, "input": "Infinity"}}]}, "prices[0].classes.input"),
        (
            {"prices": [{"classes": {**GOOD, "input": "0.0000000001"}}]},
            "prices[0].classes.input: 1E-10 has more than nine",
        ),
        ({"prices": [{"classes": GOOD, "tiers": {"flex": {"output": "-2"}}}]}, "prices[0].tiers.flex.output"),
        ({"prices": [{"classes": GOOD, "tiers": {"default": GOOD}}]}, "prices[0].tiers: the default tier"),
        ({"prices": [{"classes": GOOD, "call": "-0.01"}]}, "prices[0].call"),
        ({"prices": [{"classes": GOOD, "units": {"serch": "0.01"}}]}, "serch"),
        ({"prices": [{"classes": GOOD, "units": {"search": "-0.01"}}]}, "prices[0].units.search: -0.01 is not"),
        ({"prices": [{"classes": GOOD, "units": {"search": "10001"}}]}, "prices[0].units.search"),
        ({"prices": [{"classes": GOOD, "units": {"page": "NaN"}}]}, "prices[0].units.page"),
        ({"prices": [{"classes": GOOD, "units": {"page": "1e-16"}}]}, "prices[0].units.page: 1E-16 has too many"),
        ({"prices": [{"classes": GOOD, "units": {"page": "1." + "1" * 40}}]}, "has too many decimals"),
        ({"prices": [{}]}, "prices[0]: needs classes, units or sizes"),
        ({"prices": [{"units": {"page": "1"}, "call": "1"}]}, "prices[0].classes: needs both input and output"),
        ({"prices": [{"units": {"page": "1"}, "tiers": {"flex": GOOD}}]}, "prices[0].classes: needs both"),
        ({"prices": [{"classes": GOOD, "form": "2026-01-01"}]}, "form"),
        ({"prices": [{"classes": GOOD, "from": "yesterday"}]}, "from"),
        ({"prices": [{"classes": GOOD}, {"classes": GOOD}]}, "every row but the first needs a `from`"),
        (
            {"prices": [{"classes": GOOD, "from": "2026-02-01"}, {"classes": GOOD, "from": "2026-01-01"}]},
            "rows must be in the order of their `from`",
        ),
        (
            {"prices": [{"classes": GOOD, "from": "2026-02-01"}, {"classes": GOOD, "from": "2026-02-01"}]},
            "rows must be in the order of their `from`",
        ),
        ({"prices": [{"classes": GOOD, "above": [{"input_tokens": 0, "classes": GOOD}]}]}, "prices[0].above"),
        ({"prices": [{"classes": GOOD, "above": [{"input_tokens": 9, "classes": GOOD}] * 2}]}, "prices[0].above"),
        (
            {"prices": [{"classes": GOOD, "above": [{"input_tokens": 9, "classes": {"input": "1"}}]}]},
            "prices[0].above[0].classes: needs both",
        ),
        ({"prices": [{"classes": GOOD}], "max_output": 0}, "max_output: must be at least 1"),
        ({"prices": [{"classes": GOOD}], "max_input": -5}, "max_input: must be at least 1"),
        ({"prices": [{"classes": GOOD}], "max_output": "many"}, "max_output"),
        ({"prices": [{"classes": GOOD}], "aliases": [""]}, "aliases: '' is empty"),
        ({"prices": [{"classes": GOOD}], "aliases": ["fine"]}, "aliases: 'fine' is empty or already taken"),
        ({"prices": [{"classes": GOOD}], "aliases": ["bad"]}, "aliases: 'bad' is empty or already taken"),
    ],
)
def test_a_bad_entry_is_refused_naming_file_model_and_field(tmp_path: Path, entry: object, complaint: str) -> None:
    path = write(tmp_path, {"fine": {"prices": [{"classes": GOOD}]}, "bad": entry})

    with pytest.raises(CatalogError) as caught:
        load_catalog(override_path=path)

    assert str(caught.value).startswith(f"{path}: openai: model 'bad': ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"models": {}}',
        b'{"providers": 1}',
        b'{"providers": {"openai": 1}}',
        b'{"providers": {}, "provders": {}}',
        b"\xff",
        b"{}",
    ],
)
def test_a_file_that_is_no_catalogue_is_refused_naming_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "prices.json"
    path.write_bytes(content)

    with pytest.raises(CatalogError, match=str(path)):
        load_catalog(override_path=path)


def test_a_file_that_is_not_there_is_refused_naming_it(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"absent\.json: cannot be read: No such file"):
        load_catalog(override_path=tmp_path / "absent.json")
