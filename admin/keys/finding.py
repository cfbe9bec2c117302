"""Queries of keys: how a row is shown, which keys match a filter, and in which order they come.

Reads only. Whether a key is used up is derived here, by the view; no row says it (design §6).
"""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import UNSET
from piccolo.columns.combination import WhereRaw

from admin.answers import parse_id, unscaled
from admin.errors import invalid
from admin.keys.schemas import KeyAnswer, KeyQuery, allowed_paths_decoder
from admin.listing import STEP
from admin.tables import KeyState

EXPIRED = "expired"
"""The contract's reason for a used-up ttl and for a used-up lifetime cost alike (§3.5)."""

INVALID = "get keys request validation failed"
ORDERS = ("", "asc", "desc")


class KeyFilter(NamedTuple):
    """What a key must be to be found. An empty member does not filter."""

    key_ids: Sequence[str] = ()
    """One of them; an id that cannot exist finds nothing rather than everything."""
    tags: Sequence[str] = ()
    """All of them."""
    name: str = ""
    """A part of the key's name, in any case."""
    is_revoked: bool | None = None
    """As it is shown: also by time or spend."""
    provider: str = ""
    """One of the key's settings is of this provider."""


def answer_of(row: dict[str, Any]) -> KeyAnswer:
    """A row of the view as it is shown."""
    is_used_up = row["is_expired"] or row["is_exhausted"]
    return KeyAnswer(
        name=row["name"],
        created_at=int(row["created_at"].timestamp()),
        updated_at=int(row["updated_at"].timestamp()),
        tags=row["tags"],
        key_id=str(row["id"]),
        revoked=row["is_revoked"] or is_used_up,
        key=row["mask"],
        revoked_reason=EXPIRED if is_used_up and not row["is_revoked"] else row["revoked_reason"],
        cost_limit_in_usd=unscaled(row["cost_total_nano"], 9),
        cost_limit_in_usd_over_time=unscaled(row["cost_window_nano"], 9),
        cost_limit_in_usd_unit=row["cost_window_unit"],
        rate_limit_over_time=row["requests_window"],
        rate_limit_unit=row["requests_window_unit"],
        ttl=row["ttl"],
        setting_id=row["setting_id"],
        allowed_paths=allowed_paths_decoder.decode(row["allowed_paths"]),
        setting_ids=[] if row["setting_id"] else [str(setting_id) for setting_id in row["setting_ids"]],
        should_log_request=row["should_log_request"],
        should_log_response=row["should_log_response"],
        rotation_enabled=row["rotation"],
        is_key_not_hashed=row["is_key_not_hashed"],
    )


async def read_key(key_id: UUID) -> KeyAnswer:
    """A key that exists, as the present transaction sees it."""
    row = await KeyState.select().where(KeyState.id == key_id).first()
    assert row is not None  # asked in the transaction that wrote it
    return answer_of(row)


async def is_used_up(key_id: UUID) -> bool:
    """True when the ttl has passed or the lifetime cost is spent, whether revoked or not."""
    row = await KeyState.select(KeyState.is_expired, KeyState.is_exhausted).where(KeyState.id == key_id).first()
    return row is not None and (row["is_expired"] or row["is_exhausted"])


def _part(text: str) -> str:
    """A LIKE pattern that finds `text` anywhere, literally."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _conditions(wanted: KeyFilter) -> list[WhereRaw]:
    conditions: list[WhereRaw] = []
    if wanted.key_ids:
        ids = [one for one in map(parse_id, wanted.key_ids) if one is not None]
        conditions.append(WhereRaw("id = ANY({}::uuid[])", ids))
    if wanted.tags:
        conditions.append(WhereRaw("tags @> {}::text[]", list(wanted.tags)))
    if wanted.name:
        conditions.append(WhereRaw("name ILIKE {}", _part(wanted.name)))
    if wanted.is_revoked is not None:
        conditions.append(WhereRaw("(is_revoked OR is_expired OR is_exhausted) = {}", wanted.is_revoked))
    if wanted.provider:
        used = "EXISTS (SELECT FROM provider_settings s WHERE s.id = ANY(admin_keys.setting_ids) AND s.provider = {})"
        conditions.append(WhereRaw(used, wanted.provider))
    return conditions


async def _steps(
    wanted: KeyFilter, *, is_ascending: bool = False, limit: int = 0, offset: int = 0
) -> AsyncGenerator[list[KeyAnswer]]:
    conditions, left, most = _conditions(wanted), limit, STEP
    beyond = "(created_at, id) > ({}, {})" if is_ascending else "(created_at, id) < ({}, {})"
    last: tuple[datetime, UUID] | None = None
    while True:
        if limit:
            most = min(left, STEP)
        query = KeyState.select().order_by(KeyState.created_at, KeyState.id, ascending=is_ascending).limit(most)
        for condition in conditions:
            query = query.where(condition)
        if last is not None:
            query = query.where(WhereRaw(beyond, *last))
        elif offset:
            query = query.offset(offset)
        rows = await query
        yield [answer_of(row) for row in rows]
        left -= len(rows)
        if len(rows) < most or left == 0:
            return
        last = rows[-1]["created_at"], rows[-1]["id"]


def find_keys(wanted: KeyFilter) -> AsyncGenerator[list[KeyAnswer]]:
    """Version 1: the keys that match, newest first, in steps."""
    return _steps(wanted)


def check_query(query: KeyQuery) -> None:
    """Raises Problem (400) for the first rule that `query` breaks."""
    wrong = [name for name, values in (("keyIds", query.key_ids), ("tags", query.tags)) if "" in values]
    wrong += [name for name in ("limit", "offset") if not 0 <= getattr(query, name) < 2**31]
    if wrong:
        raise invalid(INVALID, f"fields [{', '.join(wrong)}] are invalid")
    if query.order not in ORDERS:
        raise invalid(INVALID, "order must be asc or desc")


async def query_keys(query: KeyQuery) -> tuple[AsyncGenerator[list[KeyAnswer]], int]:
    """Version 2: the keys that match, in steps, and how many there are of them if that was asked for, else 0.

    Without a limit there is none, and the offset does not count (contract §2.2). Raises Problem (400).
    """
    check_query(query)
    revoked = None if query.revoked is UNSET else query.revoked
    wanted = KeyFilter(query.key_ids, query.tags, query.name, revoked)
    count = 0
    if query.return_count:
        counting = KeyState.count()
        for condition in _conditions(wanted):
            counting = counting.where(condition)
        count = await counting
    offset = query.offset if query.limit else 0
    return _steps(wanted, is_ascending=query.order == "asc", limit=query.limit, offset=offset), count
