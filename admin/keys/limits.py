"""Limits of a key as rows of `limits`, and what a PATCH does to them.

Naming a window limit's unit starts a new generation: the counter begins at 0 now (contract §2.2 "resets that window
counter"). The lifetime cost never starts anew: what was spent since the key exists stays spent.
"""

from datetime import datetime
from uuid import UUID

from msgspec import UNSET

from admin.keys.checks import WINDOW_LIMITS, amount_of
from admin.keys.schemas import KeyCreate, KeyUpdate
from admin.tables import Limit

LIFETIME = "total"


def _row(key_id: UUID, resource: str, unit: str, amount: int, since: datetime) -> Limit:
    return Limit(
        scope="key", scope_id=key_id, resource=resource, window_unit=unit, amount=amount, generation=1, reset_at=since
    )


async def create_limits(key_id: UUID, body: KeyCreate, now: datetime) -> None:
    """The rows of a new key; an amount of 0 is no limit."""
    rows: list[Limit] = []
    if lifetime := amount_of(body.cost_limit_in_usd):
        rows.append(_row(key_id, "cost", LIFETIME, lifetime, now))
    rows += [
        _row(key_id, limit.resource, getattr(body, limit.unit_field), amount, now)
        for limit in WINDOW_LIMITS
        if (amount := amount_of(getattr(body, limit.amount_field)))
    ]
    if rows:
        await Limit.insert(*rows)


async def update_limits(key_id: UUID, body: KeyUpdate, created_at: datetime, now: datetime) -> None:
    """Bring the rows of a key to what `body` says of them; what it does not say stays."""
    if body.cost_limit_in_usd is not UNSET:
        await _set_limit(
            key_id, "cost", LIFETIME, amount_of(body.cost_limit_in_usd), since=created_at, begins_anew=False
        )
    for limit in WINDOW_LIMITS:
        amount, unit = getattr(body, limit.amount_field), getattr(body, limit.unit_field)
        if unit is UNSET:
            continue
        mine = (Limit.scope == "key") & (Limit.scope_id == key_id) & (Limit.resource == limit.resource)
        others = mine & (Limit.window_unit != unit) & (Limit.window_unit != LIFETIME)
        await Limit.delete().where(others)
        if unit:
            await _set_limit(key_id, limit.resource, unit, amount_of(amount), since=now, begins_anew=True)


async def _set_limit(
    key_id: UUID, resource: str, unit: str, amount: int, since: datetime, *, begins_anew: bool
) -> None:
    here = (
        (Limit.scope == "key") & (Limit.scope_id == key_id) & (Limit.resource == resource) & (Limit.window_unit == unit)
    )
    if amount == 0:
        await Limit.delete().where(here)
        return
    row = await Limit.select(Limit.generation).where(here).first()
    if row is None:
        await Limit.insert(_row(key_id, resource, unit, amount, since))
    elif begins_anew:
        values = {Limit.amount: amount, Limit.generation: row["generation"] + 1, Limit.reset_at: since}
        await Limit.update(values).where(here)
    else:
        await Limit.update({Limit.amount: amount}).where(here)
