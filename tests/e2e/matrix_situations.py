"""What may happen to a call upstream, and what then holds for the caller and for the event. One table.

The scripts are the scripted upstream's (tests/fakes/scripts.py); no expectation here is read from the product.
"""

from typing import Literal, NamedTuple

from tests.e2e.matrix_rows import ROWS, Row

Group = Literal["plain", "stream", "upstream error", "upstream cut", "hostile upstream"]
GROUPS: tuple[Group, ...] = ("plain", "stream", "upstream error", "upstream cut", "hostile upstream")

Caller = Literal["answer", "error", "frames"]
"""answer: upstream's status and bytes. error: ours, in the dialect. frames: upstream's whole frames, then our event."""
Bill = Literal["reported", "late", "seen", "prompt", "nothing"]
"""reported: upstream's figures. late: those, where they come before the last frame; else seen. seen: an estimate.
prompt: an estimate of the prompt alone. nothing: no tokens."""


class Situation(NamedTuple):
    """One thing that happens."""

    name: str
    group: Group
    script: str
    """For the scripted upstream: `name?field=value`."""
    status: int = 200
    caller: Caller = "answer"
    outcome: str = "completed"
    error_kind: str = ""
    bill: Bill = "reported"
    is_stream: bool = False
    rows: Literal["all", "charged", "reporting", "sized"] = "all"
    """charged: those that cost something. reporting: by upstream's own usage. sized: whose usage has parts."""


# Every class of token, so that a class that is lost or counted twice costs another amount.
_TOKENS = (
    "prompt_tokens=1200&cached_tokens=300&written_tokens=100&written_1h_tokens=50"
    "&completion_tokens=47&reasoning_tokens=13"
)
_WRONG = (("negative", "reporting"), ("text", "reporting"), ("huge", "reporting"), ("parts", "sized"))


def _error(status: int, *, is_stream: bool = False) -> Situation:
    name = f"{status} to a stream" if is_stream else str(status)
    headers = '&headers=[["retry-after","3"]]' if status in (429, 529) else ""
    return Situation(
        name, "upstream error", f"ok?status={status}{headers}", status, bill="nothing", is_stream=is_stream
    )


def _cut(name: str, script: str, *, is_stream: bool = False, bill: Bill = "prompt") -> Situation:
    if is_stream:
        return Situation(name, "upstream cut", script, 200, "frames", "cut", "upstream_cut", "seen", True)
    return Situation(name, "upstream cut", script, 502, "error", "failed", "upstream_cut", bill)


def _hostile(name: str, script: str, **fields: object) -> Situation:
    return Situation(name, "hostile upstream", script, **fields)  # type: ignore[arg-type]


SITUATIONS = (
    Situation("plain", "plain", f"ok?{_TOKENS}"),
    Situation("plain, capped", "plain", "ok?completion_tokens=5000&prompt_tokens=77", rows="reporting"),
    Situation("plain, late", "plain", f"ok?delay=0.2&{_TOKENS}"),
    Situation("plain, in small pieces", "plain", f"ok?split=7&{_TOKENS}"),
    Situation("stream", "stream", f"ok?events=20&{_TOKENS}", is_stream=True),
    Situation("stream, late", "stream", f"ok?delay=0.2&interval=0.02&{_TOKENS}", is_stream=True),
    Situation("stream, in small pieces", "stream", f"ok?split=7&{_TOKENS}", is_stream=True),
    Situation("stream, in one piece", "stream", f"ok?batch=0&events=49&{_TOKENS}", is_stream=True),
    *(_error(status) for status in (400, 401, 403, 404, 429, 500, 529)),
    *(_error(status, is_stream=True) for status in (400, 401, 429, 529)),
    _cut("before the head", "ok?cut_after=-1&cut_with=fin", bill="nothing"),
    _cut("in the body", "ok?cut_at_byte=10&cut_with=fin"),
    _cut("stream, before the head", "ok?cut_after=-1&cut_with=fin", bill="nothing")._replace(is_stream=True),
    _cut("stream, at a frame's end", "ok?events=10&cut_after=5&cut_with=fin", is_stream=True),
    _cut("stream, within a frame", "ok?events=10&cut_at_byte=1100&cut_with=fin", is_stream=True),
    _cut("stream, in its last frame", "ok?events=1&cut_at_byte=-3&cut_with=fin", is_stream=True)._replace(bill="late"),
    _hostile("a line of 1 MiB", f"ok?padding=1048576&events=1&{_TOKENS}"),
    _hostile("stream, a line just under 1 MiB", f"ok?padding=1040000&events=1&{_TOKENS}", is_stream=True),
    _hostile("stream, a line of 2 MiB", "ok?padding=2097152&events=2", caller="frames", outcome="cut",
             error_kind="upstream_invalid", bill="seen", is_stream=True),
    *(_hostile(f"usage: {how}", f"ok?wrong_usage={how}", rows=rows, bill="seen") for how, rows in _WRONG),
    *(_hostile(f"stream, usage: {how}", f"ok?wrong_usage={how}", rows=rows, bill="seen", is_stream=True)
      for how, rows in _WRONG),
    _hostile("no usage", "ok?has_usage=false", rows="reporting", bill="seen"),
    _hostile("stream, no usage", "ok?has_usage=false", rows="reporting", bill="seen", is_stream=True),
    _hostile("an error with status 200", "ok?is_error=true", bill="nothing"),
    _hostile("stream, an error with status 200", "ok?is_error=true", bill="nothing", is_stream=True),
    _hostile("stream, an error event", "ok?error_event=true", bill="seen", is_stream=True),
    _hostile("not JSON", "not_json", bill="seen"),
    _hostile("stream, not JSON", "not_json", bill="seen", is_stream=True),
    _hostile("a redirect", "redirect", status=302, bill="nothing"),
    _hostile("not HTTP", "garbage", status=502, caller="error", outcome="failed", error_kind="upstream_invalid",
             bill="nothing"),
    _hostile("stream, not HTTP", "garbage", status=502, caller="error", outcome="failed",
             error_kind="upstream_invalid", bill="nothing", is_stream=True),
)  # fmt: skip


class Cell(NamedTuple):
    """One situation on one endpoint."""

    row: Row
    situation: Situation

    def __str__(self) -> str:
        return f"{self.row.method} {self.row.provider}{self.row.template} - {self.situation.name}"

    @property
    def bill(self) -> Bill:
        """How the call is billed here."""
        if self.row.bills == "free":
            return "nothing"
        if self.situation.bill == "late":
            return "reported" if self.row.tells_early else "seen"
        if self.situation.bill == "reported" and self.row.bills == "estimate":
            return "seen"
        return self.situation.bill


def applies(situation: Situation, row: Row) -> bool:
    """Whether this can happen there."""
    if situation.is_stream and not row.streams:
        return False
    return {
        "all": True,
        "charged": row.bills != "free",
        "reporting": row.bills == "usage",
        "sized": row.sized,
    }[situation.rows]


CELLS = tuple(Cell(row, situation) for row in ROWS for situation in SITUATIONS if applies(situation, row))
