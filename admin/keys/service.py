"""Changes of keys. A key's text passes through here once and is never stored: its digest and mask are.

Two changes of one key happen one after the other (its row is locked); a setting that a change names cannot be deleted
before the change is there (KEY SHARE), nor can a change name one that is being deleted.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from msgspec import UNSET
from piccolo.columns.combination import WhereRaw

from admin import audit
from admin.answers import parse_id
from admin.database import DB
from admin.errors import Problem, invalid, not_found
from admin.keys.checks import INVALID, check_create, check_update
from admin.keys.finding import EXPIRED, is_used_up, read_key
from admin.keys.limits import create_limits, update_limits
from admin.keys.schemas import KeyAnswer, KeyCreate, KeyUpdate
from admin.tables import Key, ProviderSetting
from shared.durations import parse_duration
from shared.keys import key_sha256, mask_key, mint_key, peppered_digest
from shared.secrets import Secrets

_CREATE, _UPDATE = "key creation error", "update key failed"


def _digests(key: str, secrets: Secrets) -> list[bytes]:
    sha256 = key_sha256(key)
    return [peppered_digest(sha256, pepper) for pepper in secrets.peppers.values()]


async def _known_settings(setting_id: str, setting_ids: Sequence[str], title: str) -> list[UUID]:
    """The ids in the order given, each once. Raises Problem (404) when one does not exist."""
    ids = list(dict.fromkeys(map(parse_id, [setting_id] if setting_id else setting_ids)))
    known = {
        row["id"]
        for row in await ProviderSetting.select(ProviderSetting.id)
        .where(WhereRaw("id = ANY({}::uuid[])", [one for one in ids if one is not None]))
        .lock_rows("KEY SHARE")
    }
    found = [one for one in ids if one is not None and one in known]
    if len(found) < len(ids):
        raise not_found(title, "provider setting is not found" if setting_id else "not all settings are found")
    return found


def _paths(body: KeyCreate | KeyUpdate) -> str:
    assert body.allowed_paths is not UNSET
    upper = [{"path": allowed.path, "method": allowed.method.upper()} for allowed in body.allowed_paths]
    return msgspec.json.encode(upper).decode()


def _change(body: KeyCreate | KeyUpdate, **more: Any) -> dict[str, Any]:
    """What the audit log keeps of a body: all but the key itself."""
    fields = msgspec.to_builtins(body, builtin_types=(Decimal,))
    return {name: value for name, value in fields.items() if name != "key"} | more


async def create_key(body: KeyCreate, secrets: Secrets, remote_address: str) -> KeyAnswer:
    """Store a new key. Raises Problem: 400, 404 (unknown setting), 409 (the key exists)."""
    check_create(body)
    key = mint_key() if body.key is UNSET else body.key
    key_id = uuid4()
    async with DB.write() as now:
        setting_ids = await _known_settings(body.setting_id, body.setting_ids, _CREATE)
        digests = _digests(key, secrets)
        try:
            if await Key.exists().where(WhereRaw("digest = ANY({}::bytea[])", digests)):
                raise Problem(409, "key-manager", _CREATE, "key already exists")
            await Key.insert(
                Key(
                    id=key_id,
                    name=body.name,
                    tags=body.tags,
                    digest=digests[0],
                    digest_version=secrets.pepper_version,
                    mask=mask_key(key),
                    is_key_not_hashed=body.is_key_not_hashed,
                    is_revoked=False,
                    revoked_reason="",
                    ttl=body.ttl,
                    expires_at=_expiry(body.ttl, now),
                    setting_ids=setting_ids,
                    setting_id=str(setting_ids[0]) if body.setting_id else "",
                    allowed_paths=_paths(body),
                    rotation=body.rotation_enabled,
                    should_log_request=body.should_log_request,
                    should_log_response=body.should_log_response,
                    created_at=now,
                    updated_at=now,
                )
            )
        except asyncpg.UniqueViolationError:
            raise Problem(409, "key-manager", _CREATE, "key already exists") from None
        await create_limits(key_id, body, now)
        await audit.record("create", "key", str(key_id), remote_address, _change(body, minted=body.key is UNSET))
        created = await read_key(key_id)
    if body.key is UNSET:
        created.key = key
    return created


def _expiry(ttl: str, now: datetime) -> datetime | None:
    nanoseconds = parse_duration(ttl) if ttl else 0
    return now + timedelta(microseconds=max(1, nanoseconds // 1000)) if nanoseconds else None


async def update_key(key_id_text: str, body: KeyUpdate, secrets: Secrets, remote_address: str) -> KeyAnswer:
    """Change what `body` says. Raises Problem: 400, 404 (unknown key or setting)."""
    check_update(body)
    key_id = parse_id(key_id_text)
    async with DB.write() as now:
        columns = (Key.created_at, Key.updated_at, Key.digest, Key.mask, Key.ttl, Key.is_revoked)
        row = await Key.select(*columns).where(Key.id == key_id).lock_rows("UPDATE").first() if key_id else None
        if row is None or key_id is None:
            raise not_found(_UPDATE, "key is not found")
        moment = max(now, row["updated_at"])  # `now` is from before it waited for the lock
        _check_fixed_fields(body, row, secrets)
        values: dict[Any, Any] = {Key.updated_at: moment}
        if body.name:
            values[Key.name] = body.name
        if body.tags:
            values[Key.tags] = body.tags
        if body.setting_id or body.setting_ids:
            setting_ids = await _known_settings(body.setting_id, body.setting_ids, _UPDATE)
            values[Key.setting_ids] = setting_ids
            values[Key.setting_id] = str(setting_ids[0]) if body.setting_id else ""
        if body.allowed_paths is not UNSET:
            values[Key.allowed_paths] = _paths(body)
        flags = (
            (Key.is_key_not_hashed, body.is_key_not_hashed),
            (Key.rotation, body.rotation_enabled),
            (Key.should_log_request, body.should_log_request),
            (Key.should_log_response, body.should_log_response),
        )
        values |= {column: said for column, said in flags if said is not UNSET}
        values |= await _revocation(key_id, body, row["is_revoked"])
        await Key.update(values).where(Key.id == key_id)
        await update_limits(key_id, body, row["created_at"], moment)
        await audit.record("update", "key", str(key_id), remote_address, _change(body))
        return await read_key(key_id)


def _check_fixed_fields(body: KeyUpdate, row: dict[str, Any], secrets: Secrets) -> None:
    """A key that was read may be sent back whole; but its text and ttl do not change."""
    if body.key and body.key != row["mask"] and bytes(row["digest"]) not in _digests(body.key, secrets):
        raise invalid(INVALID, "key cannot be changed")
    if body.ttl is not UNSET and body.ttl != row["ttl"]:
        raise invalid(INVALID, "ttl cannot be changed")


async def _revocation(key_id: UUID, body: KeyUpdate, is_revoked: bool) -> dict[Any, Any]:
    if body.revoked is not UNSET:
        if not body.revoked:
            return {Key.is_revoked: False, Key.revoked_reason: ""}
        if not is_revoked and body.revoked_reason == EXPIRED and await is_used_up(key_id):
            return {}  # a used-up key that was read and is sent back: nobody revoked it
        return {Key.is_revoked: True} | ({Key.revoked_reason: body.revoked_reason} if body.revoked_reason else {})
    if not body.revoked_reason:
        return {}
    if not is_revoked:
        raise invalid(INVALID, "revokedReason needs revoked to be true")
    return {Key.revoked_reason: body.revoked_reason}


async def delete_key(key_id_text: str, remote_address: str) -> None:
    """Remove a key and its limits, if it is there; the proxies learn of it by its tombstone."""
    key_id = parse_id(key_id_text)
    if key_id is None:
        return
    async with DB.write():
        if await Key.delete().where(Key.id == key_id).returning(Key.id):
            await audit.record("delete", "key", str(key_id), remote_address, {})
