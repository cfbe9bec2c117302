"""Overrides as rows: the catalogue's checks, a version that names the content, a moment from which they hold."""

from decimal import Decimal

import msgspec
import pytest

from shared.catalog import Catalog
from shared.price_entries import ModelEntry, PriceRow, entry_decoder
from shared.price_overrides import PriceRecord, check_override, compile_override, override_version

ENTRY = b'{"prices": [{"classes": {"input": "1", "output": "2"}}]}'
TWO_ROWS = b"""{"prices": [{"classes": {"input": "1", "output": "2"}},
                           {"from": "2026-12-01", "classes": {"input": "3", "output": "4"}}]}"""
DECEMBER_MS = 1_796_083_200_000


def make_record(entry: bytes = ENTRY, effective_from_ms: int = 0, model: str = "m") -> PriceRecord:
    return PriceRecord("openai", model, effective_from_ms, entry)


def version_of(record: PriceRecord) -> str:
    return override_version(record, entry_decoder.decode(record.entry))


def test_an_override_is_named_by_its_provider_and_model() -> None:
    assert make_record(model="meta-llama/Llama-3").id == "openai/meta-llama/Llama-3"


def test_its_version_names_what_it_says_however_it_was_written() -> None:
    version = version_of(make_record())

    assert version.startswith("override-")
    assert len(version) == len("override-") + 8
    assert version_of(make_record(b'{ "prices":[ {"classes":{"output":2,"input":1}} ] }')) == version
    others = [
        make_record(model="n"),
        make_record(effective_from_ms=1000),
        make_record(b'{"prices": [{"classes": {"input": "1", "output": "3"}}]}'),
        make_record(b'{"prices": [{"classes": {"input": "1", "output": "2"}}], "max_output": 9}'),
        msgspec.structs.replace(make_record(), provider="azure"),
    ]
    assert len({version, *map(version_of, others)}) == 6


@pytest.mark.parametrize(
    ("from_ms", "at_ms", "dollars"),
    [
        (0, 0, 1),
        (0, DECEMBER_MS - 1, 1),
        (0, DECEMBER_MS, 3),
        (5000, 4999, None),
        (5000, 5000, 1),
        (DECEMBER_MS + 5000, DECEMBER_MS + 4999, None),
        (DECEMBER_MS + 5000, DECEMBER_MS + 5000, 3),
    ],
)
def test_it_holds_from_its_moment_on_and_its_rows_from_their_days(
    from_ms: int, at_ms: int, dollars: int | None
) -> None:
    rows = compile_override(make_record(TWO_ROWS, from_ms))
    price = Catalog({"openai": {"m": rows}}, "").price("openai", "m", at_ms)

    assert (price and price.rates().input) == (dollars and dollars * 1_000_000_000)
    assert all(price.version.startswith("override-") for _, price in rows)


@pytest.mark.parametrize(
    "entry",
    [
        b"", b"{}", b"[]", b"nonsense", b"\xff", b"[" * 100_000,
        b'{"prices": []}',
        b'{"prices": [{"classes": {"input": "1"}}]}',
        b'{"prices": [{"classes": {"input": "-1", "output": "2"}}]}',
        b'{"prices": [{"classes": {"input": "1", "output": "2"}}], "aliases": ["n"]}',
    ],
)  # fmt: skip
def test_a_bad_row_is_an_error_and_no_price(entry: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, ValueError, RecursionError)):
        compile_override(make_record(entry))


def test_aliases_are_refused_by_name() -> None:
    row = PriceRow(classes={"input": Decimal(1), "output": Decimal(2)})

    with pytest.raises(ValueError, match="aliases: an override prices one name"):
        check_override("m", ModelEntry(prices=(row,), aliases=("n",)))
