"""Keys in the OpenAPI document."""

from typing import Any

from admin.docs.operations import Operation, Query, Route
from admin.keys.checks import LARGEST_REQUESTS, LONGEST_KEY, LONGEST_TEXT, SHORTEST_KEY, WINDOW_LIMITS
from admin.keys.schemas import KeyAnswer, KeyCreate, KeyPage, KeyQuery, KeyUpdate
from shared.money import LARGEST_LIMIT_NANO, NANO_PER_USD

_TAG = "Keys"
_ID = {"id": "The key's id (`keyId`)."}
_UNITS = {limit.resource: {"enum": ["", *limit.units]} for limit in WINDOW_LIMITS}
_MONEY = {"minimum": 0, "maximum": LARGEST_LIMIT_NANO // NANO_PER_USD}
_LIMITS: dict[str, dict[str, Any]] = {
    "costLimitInUsd": {**_MONEY, "description": "For the key's whole life. 0: none."},
    "costLimitInUsdOverTime": {**_MONEY, "description": "Per `costLimitInUsdUnit`; both or neither."},
    "costLimitInUsdUnit": _UNITS["cost"],
    "rateLimitOverTime": {
        "minimum": 0,
        "maximum": LARGEST_REQUESTS,
        "description": "Requests per `rateLimitUnit`; both or neither.",
    },
    "rateLimitUnit": _UNITS["requests"],
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "settingId": {"description": "One provider setting; this or `settingIds`."},
    "settingIds": {"description": "Several provider settings."},
}
_LOGS: dict[str, dict[str, Any]] = {
    "shouldLogRequest": {"description": "Keep the bodies of calls on their events."},
    "shouldLogResponse": {"description": "Keep the bodies of answers on their events."},
}

OPERATIONS: dict[Route, Operation] = {
    ("PUT", "/api/key-management/keys"): Operation(
        name="createKey",
        tag=_TAG,
        summary="Create a key",
        text="Without `key` Weir mints one, and this answer alone shows it.",
        body=KeyCreate,
        required=("name",),
        refined={
            **_LIMITS,
            **_SETTINGS,
            **_LOGS,
            "name": {"minLength": 1, "maxLength": LONGEST_TEXT},
            "key": {"minLength": SHORTEST_KEY, "maxLength": LONGEST_KEY},
            "ttl": {"description": "How long it works: `90s`, `24h`. Empty: for ever."},
        },
        example={
            "name": "my first key",
            "settingId": "00000000-0000-4000-8000-000000000000",
            "tags": ["team-a"],
            "costLimitInUsd": 5,
            "rateLimitOverTime": 60,
            "rateLimitUnit": "m",
            "ttl": "720h",
            "allowedPaths": [{"path": "/api/providers/openai/v1/chat/completions", "method": "POST"}],
        },
        answer=KeyAnswer,
        errors=(404, 409),
    ),
    ("GET", "/api/key-management/keys"): Operation(
        name="findKeys",
        tag=_TAG,
        summary="Find keys, version 1",
        text="Keys that match every filter; one filter at least.",
        query=(
            Query("tag", "A tag that the key has."),
            Query("tags", "Tags that the key has, all of them.", is_list=True),
            Query("keyIds", "Ids of keys.", is_list=True),
            Query("provider", "The key has a setting of this provider."),
        ),
        answer=list[KeyAnswer],
        errors=(400,),
    ),
    ("POST", "/api/v2/key-management/keys"): Operation(
        name="queryKeys",
        tag=_TAG,
        summary="Find keys, version 2",
        text="Keys that match every filter of the body; `{}` lists all.",
        body=KeyQuery,
        refined={"order": {"enum": ["", "asc", "desc"]}},
        example={"tags": ["team-a"], "revoked": False, "limit": 50, "returnCount": True},
        answer=KeyPage,
    ),
    ("PATCH", "/api/key-management/keys/:id"): Operation(
        name="updateKey",
        tag=_TAG,
        summary="Change a key",
        text="What the body does not say stays; an empty name, tags or settings count as not said. A limit's amount and"
        " unit come together, and giving the unit begins the window anew; 0 and an empty unit take the limit away.",
        path_texts=_ID,
        body=KeyUpdate,
        refined={**_LIMITS, **_SETTINGS, **_LOGS, "allowedPaths": {"description": "Empty: every path again."}},
        example={"name": "renamed", "rateLimitOverTime": 2, "rateLimitUnit": "m", "revoked": False},
        answer=KeyAnswer,
        errors=(404,),
    ),
    ("DELETE", "/api/key-management/keys/:id"): Operation(
        name="deleteKey",
        tag=_TAG,
        summary="Delete a key",
        text="One that does not exist is deleted already. Its events stay.",
        path_texts=_ID,
    ),
}
