"""The price list: exact names only, effective days, an operator's file over the shipped one."""

import itertools
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from deploy.catalog.render import content_hash, render
from shared.catalog import SHIPPED, Catalog, CatalogError, ModelEntry, load_catalog, read_entries
from shared.usage import COMPLETION_CLASSES, PROMPT_CLASSES

NOW_MS = 1_795_000_000_000
USD_PER_MILLION = 1_000_000_000


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return load_catalog()


def write(folder: Path, models: object, **more: object) -> Path:
    path = folder / "prices.json"
    path.write_bytes(msgspec.json.encode({"models": models, **more}))
    return path


def milliseconds(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)


# The shipped file.


@pytest.mark.parametrize(
    ("model", "prompt", "cached", "completion"),
    [
        ("gpt-4o", 2_500_000_000, 1_250_000_000, 10_000_000_000),
        ("gpt-4o-2024-08-06", 2_500_000_000, 1_250_000_000, 10_000_000_000),
        ("gpt-4o-2024-05-13", 5_000_000_000, 5_000_000_000, 15_000_000_000),
        ("gpt-4o-mini", 150_000_000, 75_000_000, 600_000_000),
        ("gpt-4.1", 2_000_000_000, 500_000_000, 8_000_000_000),
        ("gpt-4.1-nano", 100_000_000, 25_000_000, 400_000_000),
        ("gpt-5", 1_250_000_000, 125_000_000, 10_000_000_000),
        ("gpt-5-nano-2025-08-07", 50_000_000, 5_000_000, 400_000_000),
        ("o1", 15_000_000_000, 7_500_000_000, 60_000_000_000),
        ("o3", 2_000_000_000, 500_000_000, 8_000_000_000),
        ("o4-mini", 1_100_000_000, 275_000_000, 4_400_000_000),
        ("gpt-3.5-turbo", 500_000_000, 500_000_000, 1_500_000_000),
        ("gpt-4", 30_000_000_000, 30_000_000_000, 60_000_000_000),
        ("gpt-6.1-sol", 2_000_000_000, 100_000_000, 10_000_000_000),
        ("ft:gpt-4o-mini-2024-07-18:acme::a1", 300_000_000, 150_000_000, 1_200_000_000),
    ],
)
def test_published_prices_are_found(shipped: Catalog, model: str, prompt: int, cached: int, completion: int) -> None:
    price = shipped.price(model, NOW_MS)
    assert price is not None
    rates = price.rates()

    assert (rates.input, rates.cached_input, rates.output) == (prompt, cached, completion)


def test_every_shipped_price_is_sane(shipped: Catalog) -> None:
    assert len(shipped.models()) >= 100
    for model in shipped.models():
        price = shipped.price(model, NOW_MS)
        assert price is not None
        assert price.version == shipped.version
        assert price.max_output is None or 0 < price.max_output <= 1_000_000
        assert price.max_input is None or 0 < price.max_input <= 10_000_000
        assert 0 <= price.per_call_nano <= USD_PER_MILLION
        for band in price.bands:
            for rates in band.billed.values():
                prompt = [getattr(rates, name) for name in PROMPT_CLASSES]
                assert 0 < rates.cached_input <= rates.input <= rates.cache_write_5m, model
                assert min(prompt) > 0, model
                assert max(prompt) <= 1000 * USD_PER_MILLION, model
                assert rates.input <= rates.output == rates.reasoning <= rates.audio_output, model
                assert max(getattr(rates, name) for name in COMPLETION_CLASSES) <= 2000 * USD_PER_MILLION, model


def test_longer_prompts_and_faster_tiers_are_never_cheaper(shipped: Catalog) -> None:
    seen = set[str]()
    for model in shipped.models():
        price = shipped.price(model, NOW_MS)
        assert price is not None
        longest_first = [band.billed for band in price.bands]
        for longer, shorter in itertools.pairwise(longest_first):
            seen.add("long")
            assert longer.keys() == shorter.keys()
            assert all(longer[tier].input >= shorter[tier].input for tier in longer), model
            assert all(longer[tier].output >= shorter[tier].output for tier in longer), model
        for billed in longest_first:
            standard = billed["default"]
            if "priority" in billed:
                seen.add("priority")
                assert billed["priority"].input >= standard.input, model
            seen |= {"flex"} if billed["flex"].input < standard.input else set()
            assert billed["flex"].input <= standard.input, model
    assert seen == {"long", "priority", "flex"}


def test_a_dated_snapshot_has_a_price_of_its_own_and_so_has_every_chat_model_of_today(shipped: Catalog) -> None:
    today = {"gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5", "gpt-5-mini", "gpt-5.1", "gpt-5.2", "gpt-5.4"}
    today |= {"gpt-5.5", "gpt-5.6-sol", "gpt-6-sol", "gpt-6.1-sol", "gpt-6-astra", "o3", "o4-mini", "gpt-audio"}
    dated = {"gpt-4o-2024-11-20", "gpt-4.1-mini-2025-04-14", "gpt-5-2025-08-07", "o3-2025-04-16", "o1-2024-12-17"}

    assert today | dated <= shipped.models()


def test_the_shipped_version_names_exactly_this_content() -> None:
    version, entries = read_entries(SHIPPED)

    assert version.endswith(f".{content_hash(entries)}")
    assert SHIPPED.read_text() == render(version, {"prices": "litellm 1.109.1"}, entries)


# Look-up.


@pytest.mark.parametrize(
    "model",
    [
        "",
        "gpt-4o ",
        "GPT-4o",
        "gpt-4o-",
        "gpt-4o-2099-01-01",
        "openai/gpt-4o",
        "ft:",
        "ft:gpt-4o",
        "ft:unheard-of:acme::x",
        "ft:gpt-4o-mini",
        "my-own",
    ],
)
def test_a_name_that_is_not_in_the_list_is_unknown_never_guessed(shipped: Catalog, model: str) -> None:
    assert shipped.price(model, NOW_MS) is None


def test_a_fine_tuned_model_costs_what_the_list_says_of_its_base_as_fine_tuned(shipped: Catalog) -> None:
    tuned = shipped.price("ft:gpt-4o-2024-08-06:acme:mail:a1b2:ckpt-step-90", NOW_MS)
    entry = shipped.price("ft:gpt-4o-2024-08-06", NOW_MS)
    base = shipped.price("gpt-4o-2024-08-06", NOW_MS)
    assert tuned is not None
    assert base is not None

    assert tuned is entry
    assert tuned.rates().input > base.rates().input


def test_a_price_holds_from_its_day_on(tmp_path: Path) -> None:
    rows = [
        {"classes": {"input": "1", "output": "1"}},
        {"from": "2026-08-21", "classes": {"input": "2", "output": "2"}},
        {"from": "2026-09-01", "classes": {"input": "3", "output": "3"}},
    ]
    catalog = load_catalog(write(tmp_path, {"m": {"prices": rows}}))

    def rate(at_ms: int) -> int:
        price = catalog.price("m", at_ms)
        assert price is not None
        return price.rates().input // USD_PER_MILLION

    assert rate(0) == 1
    assert rate(milliseconds("2026-08-21") - 1) == 1
    assert rate(milliseconds("2026-08-21")) == 2
    assert rate(milliseconds("2026-09-01") - 1) == 2
    assert rate(milliseconds("2026-09-01")) == 3
    assert rate(milliseconds("2099-01-01")) == 3


def test_before_its_first_day_a_price_is_unknown(tmp_path: Path) -> None:
    rows = [{"from": "2026-08-21", "classes": {"input": "1", "output": "1"}}]
    catalog = load_catalog(write(tmp_path, {"m": {"prices": rows}}))

    assert catalog.price("m", milliseconds("2026-08-21") - 1) is None
    assert catalog.price("m", milliseconds("2026-08-21")) is not None


def test_an_alias_has_the_price_of_its_model(tmp_path: Path) -> None:
    entry = {"prices": [{"classes": {"input": "1", "output": "2"}}], "aliases": ["house-model"]}
    catalog = load_catalog(write(tmp_path, {"m": entry}))

    assert catalog.price("house-model", 0) is catalog.price("m", 0)
    assert catalog.models() == {"m", "house-model"}


# The operator's file.


def test_an_override_replaces_whole_models_and_adds_new_ones(tmp_path: Path, shipped: Catalog) -> None:
    entry = {"prices": [{"classes": {"input": 1.25, "output": "4"}}]}
    path = write(tmp_path, {"gpt-4o": entry, "llama-at-home": entry}, version="ours-7")
    catalog = load_catalog(override_path=path)
    ours, other = catalog.price("gpt-4o", NOW_MS), catalog.price("gpt-4o-mini", NOW_MS)
    assert ours is not None
    assert other is not None

    assert ours.rates().input == 1_250_000_000
    assert ours.rates("priority") == ours.rates()  # nothing of the shipped entry is left
    assert ours.max_output is None
    assert (ours.version, other.version) == ("ours-7", shipped.version)
    assert catalog.version == f"{shipped.version}+ours-7"
    assert catalog.models() == shipped.models() | {"llama-at-home"}


def test_a_file_without_a_version_is_named_by_its_content(tmp_path: Path) -> None:
    first = load_catalog(write(tmp_path, {"m": {"prices": [{"classes": {"input": "1", "output": "2"}}]}}))
    second = load_catalog(write(tmp_path, {"m": {"prices": [{"classes": {"input": "1", "output": "3"}}]}}))

    assert first.version.startswith("sha256-")
    assert first.version != second.version


def test_amounts_may_be_strings_or_numbers_and_are_exact(tmp_path: Path) -> None:
    classes = {"input": "0.000000001", "cached_input": 0.1, "output": 3}
    price = load_catalog(write(tmp_path, {"m": {"prices": [{"classes": classes}]}})).price("m", 0)
    assert price is not None

    assert (price.rates().input, price.rates().cached_input, price.rates().output) == (1, 100_000_000, 3_000_000_000)


GOOD = {"input": "1", "output": "2"}


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({}, "prices"),
        ({"prices": []}, "prices: must hold at least one row"),
        ({"prices": [{"classes": {"input": "1"}}]}, "prices[0].classes: needs both input and output"),
        ({"prices": [{"classes": {**GOOD, "inptu": "1"}}]}, "inptu"),
        ({"prices": [{"classes": {**GOOD, "input": "free"}}]}, "classes"),
        ({"prices": [{"classes": {**GOOD, "input": "-1"}}]}, "prices[0].input: -1 is not an amount"),
        ({"prices": [{"classes": {**GOOD, "input": "1000001"}}]}, "prices[0].input"),
        ({"prices": [{"classes": {**GOOD, "input": "NaN"}}]}, "prices[0].input"),
        ({"prices": [{"classes": {**GOOD, "input": "Infinity"}}]}, "prices[0].input"),
        ({"prices": [{"classes": {**GOOD, "input": "0.0000000001"}}]}, "prices[0].input: 1E-10 has more than nine"),
        ({"prices": [{"classes": GOOD, "tiers": {"flex": {"output": "-2"}}}]}, "prices[0].tiers.flex.output"),
        ({"prices": [{"classes": GOOD, "tiers": {"default": GOOD}}]}, "prices[0].tiers: the default tier"),
        ({"prices": [{"classes": GOOD, "call": "-0.01"}]}, "prices[0].call"),
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

    assert str(caught.value).startswith(f"{path}: model 'bad': ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"models": 1}', b'{"models": {}, "modles": {}}', b"\xff", b"{}"]
)
def test_a_file_that_is_no_catalogue_is_refused_naming_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "prices.json"
    path.write_bytes(content)

    with pytest.raises(CatalogError, match=str(path)):
        load_catalog(override_path=path)


def test_a_file_that_is_not_there_is_refused_naming_it(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"absent\.json: cannot be read: No such file"):
        load_catalog(override_path=tmp_path / "absent.json")


def test_an_entry_survives_the_way_to_the_file_and_back() -> None:
    _, entries = read_entries(SHIPPED)

    assert {
        name: msgspec.json.decode(msgspec.json.encode(e), type=ModelEntry) for name, e in entries.items()
    } == entries
