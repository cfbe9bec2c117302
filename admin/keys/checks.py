"""What a key's fields may hold: the contract's checks in its order, with its texts (§2.2). Pure.

Amounts of money become nano-USD here, exactly; what does not fit is refused rather than rounded.
"""

from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from admin.answers import scaled
from admin.errors import Problem, invalid
from admin.keys.schemas import AllowedPath, KeyCreate, KeyUpdate
from shared.durations import parse_duration
from shared.keys import is_junk
from shared.money import LARGEST_LIMIT_NANO, NANO_PER_USD

INVALID = "key validation failed"
SHORTEST_KEY, LONGEST_KEY = 8, 1024
LARGEST_REQUESTS = 9_000_000_000_000_000
LONGEST_TEXT = 255
"""Characters of a name, a tag, a reason, a path: what BricksLLM's columns hold."""

MOST_SETTINGS = 100
ROOM = 24_000
"""Characters that tags, and allowed paths, may take as JSON: with the rest of a key they must fit into the 65,536 that
a proxy reads of one, or the key would be closed."""

NOT_ENFORCED = {"policy_id": "policyId"}


class WindowLimit(NamedTuple):
    """A limit per window: which fields of a body say it, and which units it knows."""

    resource: str
    amount_field: str
    unit_field: str
    label: str
    units: tuple[str, ...]


WINDOW_LIMITS = (
    WindowLimit("requests", "rate_limit_over_time", "rate_limit_unit", "rate limit", ("s", "m", "h", "d")),
    WindowLimit("cost", "cost_limit_in_usd_over_time", "cost_limit_in_usd_unit", "cost limit", ("m", "h", "d", "mo")),
)
_MONEY = {
    "cost_limit_in_usd": "costLimitInUsd",
    "cost_limit_in_usd_over_time": "costLimitInUsdOverTime",
}


def amount_of(value: Decimal | int) -> int:
    """A limit's amount as it is stored: nano-USD for money, the number itself for requests."""
    return scaled(value, 9) if isinstance(value, Decimal) else value


def _money_problem(name: str, value: Decimal) -> str:
    try:
        nano = scaled(value, 9)
    except ValueError as error:
        return f"{name} {error}"
    if nano > LARGEST_LIMIT_NANO:
        return f"{name} is larger than {LARGEST_LIMIT_NANO // NANO_PER_USD}"
    return ""


def _wrong_fields(body: KeyCreate | KeyUpdate) -> list[str]:
    wrong: list[str] = []
    if "" in body.tags:
        wrong.append("tags")
    if isinstance(body, KeyCreate):
        wrong += [name for name in ("key", "name") if getattr(body, name) == ""]
    wrong += [
        f"settingIds[{index}]" for index, setting_id in enumerate(body.setting_ids[:MOST_SETTINGS]) if not setting_id
    ]
    for field, name in (*_MONEY.items(), ("rate_limit_over_time", "rateLimitOverTime")):
        amount = getattr(body, field)
        if amount is not UNSET and (amount < 0 or (isinstance(amount, int) and amount > LARGEST_REQUESTS)):
            wrong.append(name)
    if isinstance(body, KeyCreate) and body.ttl:
        try:
            parse_duration(body.ttl)
        except ValueError:
            wrong.append("ttl")
    if body.allowed_paths is not UNSET:
        wrong += _wrong_paths(body.allowed_paths)
    return wrong


def _wrong_paths(paths: list[AllowedPath]) -> list[str]:
    for index, allowed in enumerate(paths):
        if not allowed.path.startswith("/"):
            return [f"allowedPaths.{index}.path"]
        if not (allowed.method.isascii() and allowed.method.isalpha()):
            return [f"allowedPaths.{index}.method"]
    return []


def _check_fields(body: KeyCreate | KeyUpdate) -> None:
    wrong = _wrong_fields(body)
    if wrong:
        raise invalid(INVALID, f"fields [{', '.join(wrong)}] are invalid")
    for field, name in _MONEY.items():
        value = getattr(body, field)
        if value is not UNSET and (problem := _money_problem(name, value)):
            raise invalid(INVALID, problem)
    if problem := _room_problem(body):
        raise invalid(INVALID, problem)


def _room_problem(body: KeyCreate | KeyUpdate) -> str:
    texts = {"name": [body.name], "tags": body.tags, "settingIds": body.setting_ids}
    if isinstance(body, KeyUpdate):
        texts["revokedReason"] = [body.revoked_reason]
    if body.allowed_paths is not UNSET:
        texts["allowedPaths"] = [text for allowed in body.allowed_paths for text in (allowed.path, allowed.method)]
    for name, values in texts.items():
        if any(len(value) > LONGEST_TEXT for value in values):
            return f"{name} must have at most {LONGEST_TEXT} characters"
    if len(body.setting_ids) > MOST_SETTINGS:
        return f"settingIds must name at most {MOST_SETTINGS} settings"
    for name, member in (("tags", body.tags), ("allowedPaths", body.allowed_paths)):
        if len(msgspec.json.encode([] if member is UNSET else member).decode()) > ROOM:
            return f"{name} must take at most {ROOM} characters as JSON"
    return ""


def _check_key(key: Any) -> None:
    if not isinstance(key, str):
        return
    if len(key) > LONGEST_KEY or not all("!" <= character <= "~" for character in key):
        raise invalid(INVALID, f"key must be at most {LONGEST_KEY} printable ASCII characters without spaces")
    if len(key) < SHORTEST_KEY:  # its mask shows 5 characters, or the only one there is
        raise invalid(INVALID, f"key must have at least {SHORTEST_KEY} characters")
    if is_junk(key):
        raise invalid(INVALID, "key looks like one of Weir's own, but its checksum is wrong")


def _check_not_enforced(body: KeyCreate | KeyUpdate) -> None:
    given = [name for field, name in NOT_ENFORCED.items() if getattr(body, field)]
    if given:
        raise invalid(INVALID, f"fields [{', '.join(given)}] are not supported yet")


def check_create(body: KeyCreate) -> None:
    """Raises Problem for the first rule that `body` breaks."""
    if not body.setting_id and not body.setting_ids:
        raise Problem(
            400, "key-manager", "key creation error", "settingId is not set in either setting_id or setting_ids field"
        )
    if body.setting_id and body.setting_ids:
        raise Problem(400, "key-manager", "key creation error", "either settingId or settingIds")
    _check_fields(body)
    for limit in WINDOW_LIMITS:
        amount, unit, label = getattr(body, limit.amount_field), getattr(body, limit.unit_field), limit.label
        if unit and not amount:
            raise invalid(INVALID, f"{label} over time can not be empty if {label} unit is specified")
        if amount and not unit:
            raise invalid(INVALID, f"{label} unit can not be empty if {label} over time is specified")
        if unit and unit not in limit.units:
            raise invalid(INVALID, f"{label} unit can not be identified")
    _check_key(body.key)
    _check_not_enforced(body)


def check_update(body: KeyUpdate) -> None:
    """Raises Problem for the first rule that `body` breaks without a look at the key itself."""
    if body.setting_id and body.setting_ids:
        raise Problem(400, "key-manager", "update key error", "either settingId or settingIds")
    _check_fields(body)
    for limit in WINDOW_LIMITS:
        amount, unit, label = getattr(body, limit.amount_field), getattr(body, limit.unit_field), limit.label
        if amount is UNSET and unit is UNSET:
            continue
        if amount is UNSET:
            raise invalid(INVALID, f"{label} over time can not be empty if {label} unit is specified")
        if unit is UNSET:
            raise invalid(INVALID, f"{label} unit can not be empty if {label} over time is specified")
        if not unit and amount:
            raise invalid(INVALID, f"{label} over time must be 0 if {label} unit is empty")
        if unit and not amount:
            raise invalid(INVALID, f"{label} unit has to be empty if {label} over time is 0")
        if unit and unit not in limit.units:
            raise invalid(INVALID, f"{label} unit can not be identified")
    _check_not_enforced(body)
