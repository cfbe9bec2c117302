"""The file's text: valid JSON, models sorted, one line for each table of prices."""

from decimal import Decimal

import msgspec

from deploy.catalog.render import content_hash, render
from shared.price_entries import LongPrompts, ModelEntry, PriceRow

ROW = PriceRow(
    classes={"output": Decimal("10"), "input": Decimal("2.5"), "cached_input": Decimal("0.25")},
    tiers={"priority": {"output": Decimal("20"), "input": Decimal("5")}},
    above=(LongPrompts(input_tokens=1000, classes={"output": Decimal("15"), "input": Decimal("5")}),),
)
MODELS = {
    "q": {"zeta": ModelEntry(prices=(ROW,), max_output=10), "alpha": ModelEntry(prices=(ROW,), aliases=("a", "é"))},
    "b": {"omega": ModelEntry(prices=(PriceRow(units={"search": Decimal("0.01"), "page": Decimal("0.004")}),))},
}


def test_the_text_is_the_json_of_the_content() -> None:
    decoded = msgspec.json.decode(render("v", {"prices": "here"}, MODELS))

    assert decoded["version"] == "v"
    assert msgspec.convert(decoded["providers"], dict[str, dict[str, ModelEntry]]) == MODELS


def test_models_are_sorted_and_a_table_of_prices_is_one_line_in_the_order_of_its_classes() -> None:
    text = render("v", {}, MODELS)

    assert text.index('"b"') < text.index('"q"') < text.index('"alpha"') < text.index('"zeta"')
    assert '\n            "units": {"page": "0.004", "search": "0.01"}\n' in text
    assert '\n            "classes": {"input": "2.5", "cached_input": "0.25", "output": "10"},\n' in text
    assert text.endswith("}\n")


def test_the_hash_follows_the_content_and_not_the_order_it_came_in() -> None:
    turned = dict(reversed(MODELS.items()))
    dearer = {**MODELS, "q": {**MODELS["q"], "zeta": msgspec.structs.replace(MODELS["q"]["zeta"], max_output=11)}}

    assert content_hash(MODELS) == content_hash(turned)
    assert content_hash(MODELS) != content_hash(dearer)


def test_a_line_that_would_be_too_long_is_broken() -> None:
    many = {"p": {"m": ModelEntry(prices=(ROW,), aliases=tuple(f"alias-number-{n}" for n in range(20)))}}

    assert max(len(line) for line in render("v", {}, many).splitlines()) <= 120
