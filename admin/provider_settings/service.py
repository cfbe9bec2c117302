"""Rules and queries of provider settings. Secret parameters are sealed here and never leave again."""

from typing import Any
from uuid import UUID, uuid4

import msgspec
from piccolo.columns.combination import WhereRaw

from admin import audit
from admin.answers import unscaled
from admin.database import DB
from admin.errors import not_found
from admin.provider_settings.checks import PRICE_DECIMALS, check_rest, cost_map_of, params_of
from admin.provider_settings.schemas import PricesAnswer, SettingAnswer, SettingCreate
from admin.tables import ProviderSetting
from shared.records import CostMap
from shared.secrets import Secrets

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


async def create_setting(body: SettingCreate, secrets: Secrets, remote_address: str) -> SettingAnswer:
    """Store a new setting. Raises Problem (400)."""
    secret, params = params_of(body)
    check_rest(body)
    cost_map = None if body.cost_map is None else msgspec.json.encode(cost_map_of(body.cost_map)).decode()
    setting_id = uuid4()
    async with DB.write() as now:
        await ProviderSetting.insert(
            ProviderSetting(
                id=setting_id,
                provider=body.provider,
                name=body.name,
                params=msgspec.json.encode(params).decode(),
                sealed=secrets.seal(msgspec.json.encode(secret), str(setting_id)),
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
            "setting": params,
            "secretSettings": sorted(secret),
            "allowedModels": body.allowed_models,
            "costMap": body.cost_map,
            "unpriced": body.unpriced,
        }
        await audit.record("create", "provider_setting", str(setting_id), remote_address, change)
        row = await ProviderSetting.select(*_SHOWN).where(ProviderSetting.id == setting_id).first()
        assert row is not None  # read in the transaction that wrote it
        return _answer(row)


async def find_settings(ids: list[str]) -> list[SettingAnswer]:
    """One setting per id in the order of `ids`; without ids all, oldest first. Raises Problem (404)."""
    query = ProviderSetting.select(*_SHOWN)
    if not ids:
        return [_answer(row) for row in await query.order_by(ProviderSetting.created_at, ProviderSetting.id)]
    missing = not_found("provider setting is not found", "provider setting is not found")
    try:
        wanted = [UUID(text) for text in ids]
    except ValueError:
        raise missing from None
    rows = {row["id"]: row for row in await query.where(WhereRaw("id = ANY({}::uuid[])", list(set(wanted))))}
    if not set(wanted) <= set(rows):
        raise missing
    return [_answer(rows[setting_id]) for setting_id in wanted]
