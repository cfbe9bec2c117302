"""Rules and queries of prices: the catalogue as this plane has it, and the operator's overrides over it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from piccolo.columns.combination import WhereRaw

from admin import audit
from admin.database import DB
from admin.errors import not_found
from admin.prices.checks import check_name, entry_of
from admin.prices.schemas import OverrideAnswer, PriceAnswer, PricePut
from admin.provider_settings.checks import PROVIDER_PARAMS
from admin.tables import Price
from shared.catalog import ListedEntry, load_entries
from shared.price_entries import ModelEntry, entry_decoder, row_on
from shared.price_overrides import PriceRecord, override_version

_NONE = ListedEntry("", ModelEntry(prices=()))
_UPSERT = """
    INSERT INTO prices (provider, model, effective_from, entry, created_at, updated_at)
    VALUES ({}, {}, {}, {}::jsonb, {}, {})
    ON CONFLICT (provider, model) DO UPDATE
    SET effective_from = excluded.effective_from, entry = excluded.entry, updated_at = excluded.updated_at
    RETURNING xmax = 0 AS is_new
"""


class PriceList:
    """The shipped catalogue with the operator's file over it, as the proxy loads them."""

    def __init__(self, override_path: Path | None) -> None:
        """Raises CatalogError when a file cannot be used."""
        self.entries = load_entries(override_path)
        self.providers = frozenset(self.entries) | frozenset(PROVIDER_PARAMS)
        """Providers that a price can be given for."""

    def listed(self, provider: str, model: str) -> ListedEntry:
        """What the files say of a model; nothing, where they do not know it."""
        return self.entries.get(provider, {}).get(model, _NONE)


async def put_price(body: PricePut, prices: PriceList, remote_address: str) -> PriceAnswer:
    """Create or replace the override of one model. Raises Problem (400)."""
    check_name(body, prices.providers)
    entry = entry_of(body)
    effective_from = datetime.fromtimestamp(body.effective_from, UTC) if body.effective_from else None
    async with DB.write() as now:
        text = msgspec.json.encode(entry).decode()
        [row] = await Price.raw(_UPSERT, body.provider, body.model, effective_from, text, now, now)
        action = "create" if row["is_new"] else "update"
        change = {"effectiveFrom": body.effective_from, "price": entry}
        await audit.record(action, "price", f"{body.provider}/{body.model}", remote_address, change)
        [override] = await _overrides([body.provider], [body.model])
    return _answer(body.provider, body.model, prices, override)


async def delete_price(provider: str, model: str, remote_address: str) -> None:
    """Take an override away: the catalogue counts again. Raises Problem (404)."""
    unknown = not_found("price is not found", "no override of that provider and model")
    if "\x00" in provider + model:  # no row has it, and PostgreSQL would not even be asked
        raise unknown
    async with DB.write():
        rows = await Price.raw(
            "DELETE FROM prices WHERE provider = {} AND model = {} RETURNING entry::text AS entry", provider, model
        )
        if not rows:
            raise unknown
        change = {"price": msgspec.Raw(rows[0]["entry"].encode())}
        await audit.record("delete", "price", f"{provider}/{model}", remote_address, change)


async def find_prices(providers: list[str], models: list[str], prices: PriceList, source: str) -> list[PriceAnswer]:
    """What models cost now, by provider and name; those named by the filters, or all."""
    overrides = {(row["provider"], row["model"]): row for row in await _overrides(providers, models)}
    named = {
        (provider, model)
        for provider, listed in prices.entries.items()
        if not providers or provider in providers
        for model in (models or listed)
        if model in listed
    }
    answers = (_answer(*name, prices, overrides.get(name)) for name in sorted(named | overrides.keys()))
    return [answer for answer in answers if not source or answer.source == source]


async def _overrides(providers: list[str], models: list[str]) -> list[dict[str, Any]]:
    query = Price.select()
    if providers:
        query = query.where(WhereRaw("provider = ANY({}::text[])", providers))
    if models:
        query = query.where(WhereRaw("model = ANY({}::text[])", models))
    return await query


def _answer(provider: str, model: str, prices: PriceList, row: dict[str, Any] | None) -> PriceAnswer:
    listed, override = prices.listed(provider, model), None if row is None else _override(row)
    now = datetime.now(UTC)
    source, version, current = "override", "", None
    if override is not None and override.effective_from <= now.timestamp():
        version, current = override.version, row_on(override.price.prices, now.date())
    if current is None:
        source, version, current = "catalogue", listed.version, row_on(listed.entry.prices, now.date())
    if current is None:
        source, version = "none", ""
    own = override.price if override and source == "override" else listed.entry
    return PriceAnswer(
        provider=provider,
        model=model,
        source=source,
        version=version,
        price=current,
        max_input=own.max_input or listed.entry.max_input,
        max_output=own.max_output or listed.entry.max_output,
        is_reasoning=own.is_reasoning or listed.entry.is_reasoning,
        override=override,
    )


def _override(row: dict[str, Any]) -> OverrideAnswer:
    effective_from = int(row["effective_from"].timestamp()) if row["effective_from"] else 0
    record = PriceRecord(row["provider"], row["model"], effective_from * 1000, row["entry"].encode())
    entry = entry_decoder.decode(record.entry)
    return OverrideAnswer(
        effective_from=effective_from,
        version=override_version(record, entry),
        created_at=int(row["created_at"].timestamp()),
        updated_at=int(row["updated_at"].timestamp()),
        price=entry,
    )
