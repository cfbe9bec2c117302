"""The operator's prices as rows become views: nothing stale, a bad row leaves the last good one."""

import pytest

from proxy.core.overrides import Overrides, OverridesBuilder
from shared.price_overrides import PriceRecord

BAD = b'{"prices": []}'


def record(usd: int = 1, model: str = "m", provider: str = "openai", entry: bytes | None = None) -> PriceRecord:
    content = b'{"prices": [{"classes": {"input": "%d", "output": "9"}}]}' % usd if entry is None else entry
    return PriceRecord(provider, model, 0, content)


def grow(former: Overrides, *records: PriceRecord, is_full: bool = False) -> tuple[Overrides, list[str]]:
    builder = OverridesBuilder(former, is_full=is_full)
    told = [builder.put(one) for one in records]
    return builder.build(), [why for why in told if why]


def dollars(view: Overrides, model: str = "m", provider: str = "openai") -> int | None:
    price = view.catalog.price(provider, model, 0)
    return None if price is None else price.rates().input // 1_000_000_000


def test_without_rows_nothing_has_a_price() -> None:
    assert dollars(Overrides()) is None


def test_a_row_prices_one_model_of_one_provider() -> None:
    view, _ = grow(Overrides(), record(3))

    assert (dollars(view), dollars(view, "n"), dollars(view, "m", "azure")) == (3, None, None)


def test_a_changed_row_replaces_and_the_former_view_stays_as_it_was() -> None:
    former, _ = grow(Overrides(), record(3), record(7, "n"))
    view, _ = grow(former, record(4))

    assert (dollars(view), dollars(view, "n")) == (4, 7)
    assert dollars(former) == 3


def test_an_unchanged_row_makes_no_new_view() -> None:
    former, _ = grow(Overrides(), record(3))

    assert grow(former, record(3))[0] is former
    assert grow(former, record(3), is_full=True)[0] is former


def test_a_deleted_row_is_gone() -> None:
    former, _ = grow(Overrides(), record(3), record(4, "a/b"))
    builder = OverridesBuilder(former, is_full=False)
    builder.remove("openai/m")
    builder.remove("openai/never-was")
    view = builder.build()

    assert (dollars(view), dollars(view, "a/b")) == (None, 4)
    assert builder.changed_rows == 1


def test_a_full_load_forgets_what_is_no_longer_there() -> None:
    former, _ = grow(Overrides(), record(3), record(4, "n"))
    view, _ = grow(former, record(3), is_full=True)

    assert (dollars(view), dollars(view, "n")) == (3, None)


def test_what_is_not_kept_is_gone() -> None:
    former, _ = grow(Overrides(), record(3), record(4, "n"))
    builder = OverridesBuilder(former, is_full=False)
    builder.keep({"openai/n"})

    assert dollars(builder.build()) is None


@pytest.mark.parametrize("is_full", [False, True])
def test_a_bad_row_is_told_and_leaves_the_last_good_one(is_full: bool) -> None:
    former, _ = grow(Overrides(), record(3))
    view, told = grow(former, record(entry=BAD), is_full=is_full)

    assert len(told) == 1
    assert told[0].startswith("prices: must hold at least one row")
    assert dollars(view) == 3


def test_a_bad_row_without_a_good_one_is_told_and_nothing_else() -> None:
    view, told = grow(Overrides(), record(entry=BAD), record(5, "n"))

    assert len(told) == 1
    assert (dollars(view), dollars(view, "n")) == (None, 5)


def test_a_row_that_is_good_again_counts() -> None:
    former, _ = grow(Overrides(), record(3))
    broken, _ = grow(former, record(entry=BAD))

    assert dollars(grow(broken, record(8))[0]) == 8
    assert dollars(grow(broken, record(3))[0]) == 3
