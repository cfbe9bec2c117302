"""Bodies that lie, on every route of keys and settings that reads one: 400 in the contract's shape, told what is wrong.

Nothing is changed by them, and no value of theirs reaches the database as anything but a value.
"""

from typing import Any

import asyncpg
import httpx2
import msgspec
import pytest

from tests.admin.conftest import KEYS, SETTINGS, make_key, make_setting

QUERY = "/api/v2/key-management/keys"
CREATE_KEY, CHANGE_KEY, FIND_KEYS = ("PUT", KEYS), ("PATCH", f"{KEYS}/:key"), ("POST", QUERY)
CREATE_SETTING, CHANGE_SETTING = ("PUT", SETTINGS), ("PATCH", f"{SETTINGS}/:setting")
EVERY = (CREATE_KEY, CHANGE_KEY, FIND_KEYS, CREATE_SETTING, CHANGE_SETTING)
KEY_BODIES, SETTING_BODIES = (CREATE_KEY, CHANGE_KEY), (CREATE_SETTING, CHANGE_SETTING)
Routes = tuple[tuple[str, str], ...]

# What is sent, where to, and what the detail must name.
LIES: list[tuple[str, Routes, str]] = [
    ('{"name": 5}', EVERY, "$.name"),
    ('{"name": ["a"]}', EVERY, "$.name"),
    ('{"name": "a\\u0000b"}', EVERY, "$.name"),
    ('{"name": "a", "name": "b"}', EVERY, "$.name"),
    ('{"name": "a", "NAME": "b"}', EVERY, "$.name"),
    ('{"name": "\\ud800 and more"}', EVERY, "surrogate"),
    ('{"unknown": 1e999999}', EVERY, "out of range"),
    ('{"unknown": 1e99999999999999999999}', EVERY, "out of range"),
    ('{"unknown": 9223372036854775808}', EVERY, "out of range"),
    ('{"unknown": NaN}', EVERY, "JSON"),
    ('{"unknown": ' + "[" * 64 + "]" * 64 + "}", EVERY, "deeper than 64"),
    ("[" * 500_000, EVERY, "deeper than 64"),
    ("[]", EVERY, "object"),
    ('"text"', EVERY, "object"),
    ("", EVERY, "truncated"),
    ('{"name": "a"', EVERY, "truncated"),
    ('{"name": "a"}x', EVERY, "malformed"),
    ('{"tags": "a"}', (*KEY_BODIES, FIND_KEYS), "$.tags"),
    ('{"tags": ["a", 1]}', (*KEY_BODIES, FIND_KEYS), "$.tags[1]"),
    ('{"tags": [null]}', (*KEY_BODIES, FIND_KEYS), "$.tags[0]"),
    ('{"tags": ["\\u0000"]}', (*KEY_BODIES, FIND_KEYS), "$.tags[0]"),
    ('{"costLimitInUsd": NaN}', KEY_BODIES, "JSON"),
    ('{"costLimitInUsd": -Infinity}', KEY_BODIES, "JSON"),
    ('{"costLimitInUsd": "5"}', KEY_BODIES, "$.costLimitInUsd"),
    ('{"costLimitInUsd": true}', KEY_BODIES, "$.costLimitInUsd"),
    ('{"costLimitInUsd": 1e401}', KEY_BODIES, "$.costLimitInUsd"),
    ('{"costLimitInUsd": 0e-999999}', KEY_BODIES, "$.costLimitInUsd"),
    ('{"costLimitInUsd": 1.' + "0" * 401 + "}", KEY_BODIES, "$.costLimitInUsd"),
    ('{"name": "n", "costLimitInUsd": 1e400}', KEY_BODIES, "costLimitInUsd is too large"),
    ('{"costLimitInUsd": -0.000000001}', KEY_BODIES, "costLimitInUsd"),
    ('{"rateLimitOverTime": 1.5, "rateLimitUnit": "m"}', KEY_BODIES, "$.rateLimitOverTime"),
    ('{"rateLimitOverTime": 1e3, "rateLimitUnit": "m"}', KEY_BODIES, "$.rateLimitOverTime"),
    ('{"rateLimitOverTime": 99999999999999999999, "rateLimitUnit": "m"}', KEY_BODIES, "$.rateLimitOverTime"),
    ('{"rateLimitOverTime": "1", "rateLimitUnit": "m"}', KEY_BODIES, "$.rateLimitOverTime"),
    ('{"revoked": "true"}', (CHANGE_KEY, FIND_KEYS), "$.revoked"),
    ('{"revoked": 1}', (CHANGE_KEY, FIND_KEYS), "$.revoked"),
    ('{"rotationEnabled": 1}', KEY_BODIES, "$.rotationEnabled"),
    ('{"shouldLogRequest": "yes"}', KEY_BODIES, "$.shouldLogRequest"),
    ('{"allowedPaths": {}}', KEY_BODIES, "$.allowedPaths"),
    ('{"allowedPaths": [{"path": 1}]}', KEY_BODIES, "$.allowedPaths[0].path"),
    ('{"allowedPaths": [{"path": "/a", "PATH": "/b", "method": "GET"}]}', KEY_BODIES, "$.allowedPaths[0].path"),
    ('{"settingIds": {"0": "x"}}', KEY_BODIES, "$.settingIds"),
    ('{"limit": "5"}', (FIND_KEYS,), "$.limit"),
    ('{"limit": 1.0}', (FIND_KEYS,), "$.limit"),
    ('{"limit": -5}', (FIND_KEYS,), "limit"),
    ('{"returnCount": "yes"}', (FIND_KEYS,), "$.returnCount"),
    ('{"setting": {"apikey": 5}}', SETTING_BODIES, "$.setting"),
    ('{"setting": ["apikey"]}', SETTING_BODIES, "$.setting"),
    ('{"setting": {"apikey": "a", "apikey": "b"}}', SETTING_BODIES, "$.setting"),
    ('{"setting": {"apikey": "a\\u0000"}}', SETTING_BODIES, "$.setting"),
    ('{"provider": "openai", "setting": {"apikey": "a\\nb"}}', SETTING_BODIES, "apikey"),
    ('{"allowedModels": "all"}', SETTING_BODIES, "$.allowedModels"),
    ('{"costMap": []}', SETTING_BODIES, "$.costMap"),
    ('{"costMap": {"promptCostPerModel": {"m": "1"}}}', SETTING_BODIES, "$.costMap.promptCostPerModel"),
    ('{"costMap": {"promptCostPerModel": {"m": 1e401}}}', SETTING_BODIES, "$.costMap.promptCostPerModel"),
    ('{"costMap": {"promptCostPerModel": {"m": 1, "m": 2}}}', SETTING_BODIES, "$.costMap"),
    ('{"costMap": {"promptCostPerModel": {}, "PROMPTCOSTPERMODEL": {}}}', SETTING_BODIES, "$.costMap.promptCostPer"),
]  # fmt: skip
CASES = [
    pytest.param(method, path, text, named, id=f"{number} {method} {text[:40]}")
    for number, (text, routes, named) in enumerate(LIES)
    for method, path in routes
]


@pytest.fixture
async def state(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> dict[str, Any]:
    """A key and a setting, as they are shown."""
    setting = await make_setting(admin)
    return {"setting": setting, "key": await make_key(admin, settingId=setting["id"])}


def filled(method: str, path: str, text: str, setting_id: str) -> str:
    """The lie with what a new key or setting needs besides, so that nothing else is wrong."""
    needed = {CREATE_KEY: f'"settingId": "{setting_id}"', CREATE_SETTING: '"provider": "openai"'}.get((method, path))
    is_filled = not needed or not text.startswith('{"') or "settingIds" in text or "provider" in text
    return text if is_filled else f"{{{needed}, {text[1:]}"


COUNTS = """
    SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM provider_settings), (SELECT max(id) FROM audit_log)
"""


@pytest.mark.parametrize(("method", "path", "text", "named"), CASES)
async def test_a_lie_is_400_and_changes_nothing(
    admin: httpx2.AsyncClient,
    state: dict[str, Any],
    owner: asyncpg.Connection,
    method: str,
    path: str,
    text: str,
    named: str,
) -> None:
    """In the error's own shape, with the route's template."""
    before = await owner.fetchrow(COUNTS)
    key, setting = state["key"], state["setting"]
    url = path.replace(":key", key["keyId"]).replace(":setting", setting["id"])
    answer = await admin.request(method, url, content=filled(method, path, text, setting["id"]).encode())

    told = answer.json()
    assert answer.status_code == told["status"] == 400, answer.text
    assert set(told) == {"type", "title", "status", "detail", "instance"}
    assert told["type"] in ("/errors/json-unmarshal", "/errors/validation")
    assert told["instance"] == path.replace(":key", ":id").replace(":setting", ":id")
    assert named in told["detail"]
    assert await owner.fetchrow(COUNTS) == before
    assert (await admin.get(KEYS, params={"keyIds": key["keyId"]})).json() == [key]
    assert (await admin.get(SETTINGS, params={"ids": setting["id"]})).json() == [setting]


@pytest.mark.parametrize(("method", "path"), EVERY)
async def test_ten_megabytes_are_413(admin: httpx2.AsyncClient, method: str, path: str) -> None:
    """They are not read to the end."""
    text = b'{"name": "' + b"x" * (10 << 20) + b'"}'
    answer = await admin.request(method, path, content=text)

    assert (answer.status_code, answer.json()["type"]) == (413, "/errors/body-too-large")


@pytest.mark.parametrize(
    ("method", "path", "member"),
    [
        (*CREATE_KEY, "tags"),
        (*CREATE_KEY, "settingIds"),
        (*CHANGE_KEY, "tags"),
        (*CHANGE_KEY, "settingIds"),
        (*FIND_KEYS, "tags"),
        (*FIND_KEYS, "keyIds"),
        (*CREATE_SETTING, "allowedModels"),
        (*CHANGE_SETTING, "allowedModels"),
    ],
)
async def test_a_full_megabyte_of_members_is_answered(
    admin: httpx2.AsyncClient, state: dict[str, Any], method: str, path: str, member: str
) -> None:
    """Short ones, long ones, empty ones: refused in few words, or found nothing by."""
    url = path.replace(":key", state["key"]["keyId"]).replace(":setting", state["setting"]["id"])
    for item in ("", "a", "é" * 200_000):
        items = [item] * (1_000_000 // (len(item.encode()) + 3))
        answer = await admin.request(method, url, content=msgspec.json.encode({member: items}))
        assert answer.status_code in (200, 400, 404), answer.text
        assert len(answer.content) < 5_000


@pytest.mark.parametrize("path_id", ["%00", "%F0%9F", "..", "a" * 8_000, "'; DROP TABLE keys; --", "{}", "%2e%2e"])
async def test_ids_that_are_none(admin: httpx2.AsyncClient, path_id: str) -> None:
    """404, or gone already: no id of the path reaches the database as anything but an id."""
    for base in (KEYS, SETTINGS):
        changed = await admin.patch(f"{base}/{path_id}", json={"name": "x"})
        deleted = await admin.delete(f"{base}/{path_id}")
        assert changed.status_code == 404
        assert deleted.status_code in (200, 404)
