"""Events in the OpenAPI document."""

from admin.docs.operations import Operation, Query, Route
from admin.events.schemas import EventAnswer, EventPage, EventQuery
from admin.events.service import ACTIONS, LATEST_SECOND, MAX_EVENTS, ORDERS

_TAG = "Events"
_SECOND = {"minimum": 1, "maximum": LATEST_SECOND}
_ORDER = {"enum": list(ORDERS)}
_MORE = {"x-weir-more": f"`true` when `limit` was 0 and there are more than the {MAX_EVENTS} events of one answer."}
_BODIES = "Where keys log bodies (`shouldLogRequest`, `shouldLogResponse`), a long answer is sent piece by piece."


def _query(name: str, method: str, text: str = "") -> Operation:
    return Operation(
        name=name,
        tag=_TAG,
        summary=f"Find events, version 2 by {method}",
        text=f"Events that ended in [`start`, `end`) and match every filter, newest first. {text}{_BODIES}",
        body=EventQuery,
        required=("start", "end"),
        refined={
            "start": _SECOND,
            "end": _SECOND,
            "costOrder": {**_ORDER, "description": "By cost, unknown ones last; this or `dateOrder`."},
            "dateOrder": _ORDER,
            "actions": {"items": {"type": "string", "enum": sorted(ACTIONS)}},
            "limit": {"minimum": 0, "maximum": MAX_EVENTS},
            "offset": {"minimum": 0},
        },
        example={"start": 1735689600, "end": 4102444800, "limit": 10, "returnCount": True},
        answer=EventPage,
        answer_headers=_MORE,
    )


OPERATIONS: dict[Route, Operation] = {
    ("GET", "/api/events"): Operation(
        name="findEvents",
        tag=_TAG,
        summary="Find events, version 1",
        text="One of `customId`, `userId` and `keyIds` is needed; events that match all that are given, newest first. "
        + _BODIES,
        query=(
            Query("customId", "What the call said in `X-CUSTOM-EVENT-ID`."),
            Query("userId", "The user that the call named."),
            Query("keyIds", "Ids of keys; they need `start` and `end`.", is_list=True),
            Query("start", "Unix seconds, included; it counts with `keyIds` only.", kind="integer"),
            Query("end", "Unix seconds, included; it counts with `keyIds` only.", kind="integer"),
        ),
        answer=list[EventAnswer],
        answer_headers=_MORE,
        errors=(400,),
    ),
    ("POST", "/api/v2/events"): _query("queryEvents", "POST"),
    ("GET", "/api/v2/events"): _query(
        "queryEventsByGet", "GET", "Browsers send no body with GET: here, try POST, which is the same. "
    ),
}
