"""The price list: exact names only, effective days, an operator's file over the shipped one."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from deploy.catalog.render import content_hash, render
from shared.catalog import SHIPPED, Catalog, ModelEntry, load_catalog, load_entries, read_entries
from shared.price_entries import held_fields
from shared.prices import Price
from shared.usage import COMPLETION_CLASSES, PROMPT_CLASSES

NOW_MS = 1_795_000_000_000
USD_PER_MILLION = 1_000_000_000


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return load_catalog()


def write(folder: Path, models: object, **more: object) -> Path:
    path = folder / "prices.json"
    path.write_bytes(msgspec.json.encode({"providers": {"openai": models}, **more}))
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
    price = shipped.price("openai", model, NOW_MS)
    assert price is not None
    rates = price.rates()

    assert (rates.input, rates.cached_input, rates.output) == (prompt, cached, completion)


def every_price(catalog: Catalog) -> Iterator[tuple[str, Price]]:
    for provider in catalog.providers():
        for model in catalog.names(provider):
            rows = catalog.rows(provider, model)
            assert rows, model
            for _, price in rows:
                yield f"{provider}/{model}", price


def held() -> set[str]:
    """Models of which something is held and not counted."""
    _, entries = read_entries(SHIPPED)
    return {f"{p}/{name}" for p, models in entries.items() for name, entry in models.items() if any(held_fields(entry))}


def test_every_shipped_price_is_sane(shipped: Catalog) -> None:
    uncounted = held()
    assert len(uncounted) > 80
    assert len(list(every_price(shipped))) > 1300
    for model, price in every_price(shipped):
        assert price.version == shipped.version
        assert price.max_output is None or 0 < price.max_output <= 2_000_000, model
        assert price.max_input is None or 0 < price.max_input <= 10_000_000, model
        assert 0 <= price.per_call_nano <= USD_PER_MILLION, model
        assert price.is_by_token or price.units or model in uncounted, model
        assert not (price.is_by_token and model in uncounted), model
        assert all(rate > 0 for _, rate in price.units), model
        for band in price.bands if price.is_by_token else ():
            for rates in band.billed.values():
                prompt = [getattr(rates, name) for name in PROMPT_CLASSES]
                assert 0 <= rates.cached_input <= rates.input <= rates.cache_write_5m <= rates.cache_write_1h, model
                assert max(prompt) <= 1000 * USD_PER_MILLION, model
                assert max(getattr(rates, name) for name in COMPLETION_CLASSES) <= 2000 * USD_PER_MILLION, model


def test_nothing_is_free_but_what_is_published_as_free(shipped: Catalog) -> None:
    free = {model for model, price in every_price(shipped) if price.is_by_token and not price.rates().input}

    assert free == {"openai/omni-moderation-latest", "openai/omni-moderation-2024-09-26"}


def test_longer_prompts_and_faster_tiers_are_never_cheaper(shipped: Catalog) -> None:
    seen = set[str]()
    for model, price in every_price(shipped):
        longest_first = [band.billed for band in price.bands]
        for longer, shorter in itertools.pairwise(longest_first):
            seen.add("long")
            assert longer.keys() == shorter.keys()
            assert all(longer[tier].input >= shorter[tier].input for tier in longer), model
            assert all(longer[tier].output >= shorter[tier].output for tier in longer), model
        for billed in longest_first:
            standard = billed["default"]
            for dearer in ("priority", "fast", "us", "us-fast"):
                if dearer in billed:
                    seen.add(dearer)
                    assert billed[dearer].input >= standard.input, model
                    assert billed[dearer].output >= standard.output, model
            for cheaper in ("flex", "batch", "us-batch"):
                seen |= {cheaper} if billed[cheaper].input < standard.input else set()
                assert billed[cheaper].input <= standard.input, model
    assert seen == {"long", "priority", "fast", "us", "us-fast", "flex", "batch", "us-batch"}


def test_every_provider_has_its_models(shipped: Catalog) -> None:
    counts = {provider: len(list(shipped.names(provider))) for provider in shipped.providers()}

    assert counts.keys() == {
        "openai", "anthropic", "azure", "bedrock", "deepinfra", "mistral", "groq", "google", "deepseek", "xai",
    }  # fmt: skip
    assert min(counts.values()) >= 10
    assert sum(counts.values()) > 1300


@pytest.mark.parametrize(
    ("provider", "model", "prompt", "completion"),
    [
        ("openai", "gpt-4o", 2_500_000_000, 10_000_000_000),
        ("azure", "gpt-4o", 2_500_000_000, 10_000_000_000),
        ("azure", "eu/gpt-4o", 2_750_000_000, 11_000_000_000),
        ("anthropic", "claude-sonnet-4-5", 3_000_000_000, 15_000_000_000),
        # AWS: anywhere is a tenth cheaper than in one region or geography.
        ("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", 3_000_000_000, 15_000_000_000),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 3_300_000_000, 16_500_000_000),
        ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", 3_300_000_000, 16_500_000_000),
        ("groq", "openai/gpt-oss-120b", 150_000_000, 600_000_000),
        ("google", "gemini-2.5-pro", 1_250_000_000, 10_000_000_000),
    ],
)
def test_one_name_may_have_a_price_at_each_provider(
    shipped: Catalog, provider: str, model: str, prompt: int, completion: int
) -> None:
    price = shipped.price(provider, model, NOW_MS)
    assert price is not None

    assert (price.rates().input, price.rates().output) == (prompt, completion)


def test_a_provider_that_publishes_no_prices_has_none(shipped: Catalog) -> None:
    assert shipped.price("vllm", "gpt-4o", NOW_MS) is None
    assert shipped.rows("vllm", "gpt-4o") is None
    assert list(shipped.names("vllm")) == []


def test_announced_prices_hold_from_their_day_on(shipped: Catalog) -> None:
    def rates(day: str, tier: str = "") -> tuple[int, int]:
        price = shipped.price("google", "gemini-4-argon", milliseconds(day))
        assert price is not None
        return price.rates(tier).input, price.rates(tier).output

    assert rates("2026-11-30") == (2_000_000_000, 10_000_000_000)
    assert rates("2026-12-01") == (4_000_000_000, 20_000_000_000)
    assert rates("2026-12-01", "priority") == (7_200_000_000, 36_000_000_000)


def test_former_prices_are_kept(shipped: Catalog) -> None:
    price = shipped.price("openai", "o3", milliseconds("2025-06-09"))
    assert price is not None

    assert price.rates().input == 10_000_000_000


def test_a_dated_snapshot_has_a_price_of_its_own_and_so_has_every_chat_model_of_today(shipped: Catalog) -> None:
    today = {"gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5", "gpt-5-mini", "gpt-5.1", "gpt-5.2", "gpt-5.4"}
    today |= {"gpt-5.5", "gpt-5.6-sol", "gpt-6-sol", "gpt-6.1-sol", "gpt-6-astra", "o3", "o4-mini", "gpt-audio"}
    dated = {"gpt-4o-2024-11-20", "gpt-4.1-mini-2025-04-14", "gpt-5-2025-08-07", "o3-2025-04-16", "o1-2024-12-17"}

    assert today | dated <= set(shipped.names("openai"))


def test_the_shipped_version_names_exactly_this_content() -> None:
    version, entries = read_entries(SHIPPED)

    assert version.endswith(f".{content_hash(entries)}")
    sources = msgspec.json.decode(SHIPPED.read_bytes())["source"]
    assert (sources["prices"], sources["history"]) == ("litellm 1.109.1", "genai-prices 0.2.3")
    assert SHIPPED.read_text() == render(version, sources, entries)


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
    assert shipped.price("openai", model, NOW_MS) is None


def test_a_fine_tuned_model_costs_what_the_list_says_of_its_base_as_fine_tuned(shipped: Catalog) -> None:
    tuned = shipped.price("openai", "ft:gpt-4o-2024-08-06:acme:mail:a1b2:ckpt-step-90", NOW_MS)
    entry = shipped.price("openai", "ft:gpt-4o-2024-08-06", NOW_MS)
    base = shipped.price("openai", "gpt-4o-2024-08-06", NOW_MS)
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
        price = catalog.price("openai", "m", at_ms)
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

    assert catalog.price("openai", "m", milliseconds("2026-08-21") - 1) is None
    assert catalog.price("openai", "m", milliseconds("2026-08-21")) is not None


def test_an_alias_has_the_price_of_its_model(tmp_path: Path) -> None:
    entry = {"prices": [{"classes": {"input": "1", "output": "2"}}], "aliases": ["house-model"]}
    catalog = load_catalog(write(tmp_path, {"m": entry}))

    assert catalog.price("openai", "house-model", 0) is catalog.price("openai", "m", 0)
    assert catalog.models() == {"m", "house-model"}


# The operator's file.


def test_an_override_replaces_whole_models_and_adds_new_ones(tmp_path: Path, shipped: Catalog) -> None:
    entry = {"prices": [{"classes": {"input": 1.25, "output": "4"}}]}
    path = write(tmp_path, {"gpt-4o": entry, "llama-at-home": entry}, version="ours-7")
    catalog = load_catalog(override_path=path)
    ours, other = catalog.price("openai", "gpt-4o", NOW_MS), catalog.price("openai", "gpt-4o-mini", NOW_MS)
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
    price = load_catalog(write(tmp_path, {"m": {"prices": [{"classes": classes}]}})).price("openai", "m", 0)
    assert price is not None

    assert (price.rates().input, price.rates().cached_input, price.rates().output) == (1, 100_000_000, 3_000_000_000)


def test_an_entry_survives_the_way_to_the_file_and_back() -> None:
    _, entries = read_entries(SHIPPED)

    for models in entries.values():
        for entry in models.values():
            assert msgspec.json.decode(msgspec.json.encode(entry), type=ModelEntry) == entry


def test_entries_and_the_catalogue_know_the_same_names_and_versions(tmp_path: Path) -> None:
    entry = {"prices": [{"classes": {"input": "1", "output": "2"}}], "aliases": ["house-model"]}
    path = write(tmp_path, {"gpt-4o": entry}, version="ours-7")
    catalog, listed = load_catalog(override_path=path), load_entries(path)

    assert {provider: sorted(models) for provider, models in listed.items()} == {
        provider: list(catalog.names(provider)) for provider in catalog.providers()
    }
    assert listed["openai"]["house-model"].version == "ours-7"
    assert listed["openai"]["gpt-4o-mini"].version == load_catalog().version


def test_the_shipped_file_has_no_aliases() -> None:
    """It is read entry by entry, when one is asked for by its own name."""
    _, entries = read_entries(SHIPPED)

    assert not any(entry.aliases for models in entries.values() for entry in models.values())
