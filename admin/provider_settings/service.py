"""Rules and queries of provider settings. Secret parameters are sealed here and never leave again.

Where a setting leads and with which credential is one row, written by one statement: a proxy sees both or neither. Two
changes of a setting happen one after the other (its row is locked), and it cannot be deleted while a key uses it.
"""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET
from piccolo.columns.combination import WhereRaw

from admin import audit
from admin.answers import parse_id, unscaled
from admin.database import DB
from admin.errors import Problem, invalid, not_found
from admin.listing import STEP
from admin.provider_settings.checks import (
    INVALID,
    KIND,
    PRICE_DECIMALS,
    Params,
    check_rest,
    create_params,
    merge_params,
    stored_cost_map,
)
from admin.provider_settings.schemas import PricesAnswer, SettingAnswer, SettingCreate, SettingUpdate
from admin.tables import Key, ProviderSetting
from shared.records import CostMap
from shared.secrets import SecretError, Secrets

_NOT_FOUND = "provider setting is not found"

_SHOWN = (
    ProviderSetting.id,
    ProviderSetting.provider,
    ProviderSetting.name,
    ProviderSetting.params,
    ProviderSetting.allowed_models,
    ProviderSetting.cost_map,
    ProviderSetting.unpriced,
    ProviderSetting.created_at,
    ProviderSetting.updated_at,
)
_WITH_SECRET = (ProviderSetting.provider, ProviderSetting.params, ProviderSetting.sealed, ProviderSetting.updated_at)
_params_decoder = msgspec.json.Decoder(dict[str, str])
_cost_map_decoder = msgspec.json.Decoder(CostMap)


def _usd(prices: dict[str, int]) -> dict[str, Any]:
    return {model: unscaled(price, PRICE_DECIMALS) for model, price in prices.items()}


def _answer(row: dict[str, Any]) -> SettingAnswer:
    params = _params_decoder.decode(row["params"])
    cost_map = _cost_map_decoder.decode(row["cost_map"]) if row["cost_map"] else None
    return SettingAnswer(
        created_at=int(row["created_at"].timestamp()),
        updated_at=int(row["updated_at"].timestamp()),
        provider=row["provider"],
        setting=params or msgspec.UNSET,
        id=str(row["id"]),
        name=row["name"],
        allowed_models=row["allowed_models"],
        cost_map=cost_map
        and PricesAnswer(
            _usd(cost_map.prompt_cost_per_model),
            _usd(cost_map.completion_cost_per_model),
            _usd(cost_map.embeddings_cost_per_model),
        ),
        unpriced=row["unpriced"] or "",
    )


def _sealed(params: Params, setting_id: UUID, secrets: Secrets) -> bytes:
    return secrets.seal(msgspec.json.encode(params.secret), str(setting_id))


def _opened(sealed: bytes, setting_id: UUID, secrets: Secrets) -> dict[str, str] | None:
    """The secret parameters; None when they do not open with the configured master keys."""
    try:
        return _params_decoder.decode(secrets.open(bytes(sealed), str(setting_id)))
    except SecretError:
        return None


async def _read(setting_id: UUID) -> SettingAnswer:
    row = await ProviderSetting.select(*_SHOWN).where(ProviderSetting.id == setting_id).first()
    assert row is not None  # read in the transaction that wrote it
    return _answer(row)


async def create_setting(body: SettingCreate, secrets: Secrets, remote_address: str) -> SettingAnswer:
    """Store a new setting. Raises Problem (400)."""
    params = create_params(body.provider, body.setting)
    check_rest(body)
    cost_map = stored_cost_map(body.cost_map)
    setting_id = uuid4()
    async with DB.write() as now:
        await ProviderSetting.insert(
            ProviderSetting(
                id=setting_id,
                provider=body.provider,
                name=body.name,
                params=msgspec.json.encode(params.shown).decode(),
                sealed=_sealed(params, setting_id, secrets),
                allowed_models=body.allowed_models,
                cost_map=cost_map,
                unpriced=body.unpriced or None,
                created_at=now,
                updated_at=now,
            )
        )
        change = {
            "provider": body.provider,
            "name": body.name,
            "setting": params.shown,
            "secretSettings": sorted(params.secret),
            "allowedModels": body.allowed_models,
            "costMap": body.cost_map,
            "unpriced": body.unpriced,
        }
        await audit.record("create", "provider_setting", str(setting_id), remote_address, change)
        return await _read(setting_id)


async def update_setting(id_text: str, body: SettingUpdate, secrets: Secrets, remote_address: str) -> SettingAnswer:
    """Change what `body` says. Raises Problem: 400, 404 (unknown setting), 409 (its secret does not open)."""
    check_rest(body)
    values: dict[Any, Any] = {}
    change: dict[str, Any] = {}
    for name, column, said, stored in (
        ("name", ProviderSetting.name, body.name, body.name),
        ("allowedModels", ProviderSetting.allowed_models, body.allowed_models, body.allowed_models),
        ("costMap", ProviderSetting.cost_map, body.cost_map, stored_cost_map(body.cost_map or None)),
        ("unpriced", ProviderSetting.unpriced, body.unpriced, body.unpriced or None),
    ):
        if said is not UNSET:
            values[column] = stored
            change[name] = said
    setting_id = parse_id(id_text)
    async with DB.write() as now:
        query = ProviderSetting.select(*_WITH_SECRET).where(ProviderSetting.id == setting_id)
        row = await query.lock_rows("NO KEY UPDATE").first() if setting_id else None
        if row is None or setting_id is None:
            raise not_found(_NOT_FOUND, _NOT_FOUND)
        if body.provider and body.provider != row["provider"]:
            raise invalid(INVALID, "provider cannot be changed")
        if body.setting:
            old_secret = _opened(row["sealed"], setting_id, secrets)
            params = merge_params(row["provider"], old_secret, _params_decoder.decode(row["params"]), body.setting)
            if params is not None:
                values[ProviderSetting.params] = msgspec.json.encode(params.shown).decode()
                values[ProviderSetting.sealed] = _sealed(params, setting_id, secrets)
                change["setting"] = params.shown
                change["secretSettings"] = sorted(params.secret)
        values[ProviderSetting.updated_at] = max(now, row["updated_at"])  # it began before it waited for the lock
        await ProviderSetting.update(values).where(ProviderSetting.id == setting_id)
        await audit.record("update", "provider_setting", str(setting_id), remote_address, change)
        return await _read(setting_id)


async def delete_setting(id_text: str, remote_address: str) -> None:
    """Remove a setting, if it is there; the proxies learn of it by its tombstone. Raises Problem (409: it is used)."""
    setting_id = parse_id(id_text)
    if setting_id is None:
        return
    async with DB.write():
        if not await ProviderSetting.delete().where(ProviderSetting.id == setting_id).returning(ProviderSetting.id):
            return
        # Asked after the row is locked by its deletion: whoever named it has finished, nobody can name it any more.
        used = await Key.count().where(WhereRaw("setting_ids @> ARRAY[{}::uuid]", setting_id))
        if used:
            detail = f"keys use this provider setting: {used}"
            raise Problem(409, KIND, "provider setting deletion failed", detail)
        await audit.record("delete", "provider_setting", str(setting_id), remote_address, {})


async def find_settings(ids: list[str], provider: str) -> list[SettingAnswer]:
    """One setting per id in the order of `ids`, less those of another provider than asked. Raises Problem (404)."""
    wanted = [parse_id(text) for text in ids]
    query = ProviderSetting.select(*_SHOWN).where(
        WhereRaw("id = ANY({}::uuid[])", list({one for one in wanted if one}))
    )
    rows = {row["id"]: row for row in await query}
    if not set(wanted) <= set(rows):
        raise not_found(_NOT_FOUND, _NOT_FOUND)
    return [_answer(rows[one]) for one in wanted if provider in ("", rows[one]["provider"])]


async def all_settings(provider: str) -> AsyncGenerator[list[SettingAnswer]]:
    """Every setting, of one provider if that is asked, oldest first, in steps."""
    last: tuple[datetime, UUID] | None = None
    while True:
        query = ProviderSetting.select(*_SHOWN).order_by(ProviderSetting.created_at, ProviderSetting.id).limit(STEP)
        if provider:
            query = query.where(ProviderSetting.provider == provider)
        if last is not None:
            query = query.where(WhereRaw("(created_at, id) > ({}, {})", *last))
        rows = await query
        yield [_answer(row) for row in rows]
        if len(rows) < STEP:
            return
        last = rows[-1]["created_at"], rows[-1]["id"]
