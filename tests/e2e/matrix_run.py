"""Runs the cells of the matrix through the whole product, many at once, and keeps what was seen of each.

Each cell has a provider setting of its own, whose credential carries the script to the scripted upstream, and a gateway
key of its own with a limit on cost and one on requests: so each leaves a hold, an event and a call that are its own.
"""

import asyncio
from dataclasses import dataclass, field

import asyncpg

from tests.e2e.matrix_rows import ANTHROPIC, COST_MAPS, NAMED_MODELS, OPENAI, VLLM, body_of
from tests.e2e.matrix_situations import Cell
from tests.e2e.stack import Stack
from tests.fakes.upstream import Call, FakeUpstream

AT_ONCE = 12
EVENTS_SECONDS = 60.0


@dataclass
class Seen:
    """What became of a cell."""

    cell: Cell
    key_id: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    calls: list[Call] = field(default_factory=list)
    events: list[asyncpg.Record] = field(default_factory=list)
    error: Exception | None = None
    """Why the caller got no answer at all, or the product could not be asked."""

    @property
    def call(self) -> Call:
        """The one call that upstream saw. What changes nothing may be asked again on a fresh connection."""
        if self.error is not None:
            raise self.error
        is_repeatable = self.cell.row.method != "POST" and self.cell.situation.error_kind == "upstream_cut"
        assert 1 <= len(self.calls) <= 1 + is_repeatable, f"upstream saw {len(self.calls)} calls"
        assert len({call.request_id for call in self.calls}) == 1
        return self.calls[-1]

    @property
    def event(self) -> asyncpg.Record:
        """The one event."""
        if self.error is not None:
            raise self.error
        [event] = self.events
        return event


class Runner:
    """Runs cells."""

    def __init__(self, stack: Stack, upstream: FakeUpstream) -> None:
        self._stack = stack
        self._upstream = upstream

    async def run(self, cells: list[Cell]) -> list[Seen]:
        """What became of each cell. Nothing raises here: a cell that fails keeps its error."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, cell: Cell) -> Seen:
            seen = Seen(cell)
            async with turns:
                try:
                    await self._call(number, seen)
                except Exception as error:
                    seen.error = error
            return seen

        found = await asyncio.gather(*(one(number, cell) for number, cell in enumerate(cells)))
        await self._collect_events(found)
        return found

    async def _call(self, number: int, seen: Seen) -> None:
        row, situation = seen.cell.row, seen.cell.situation
        mark = "&" if "?" in situation.script else "?"
        credential = f"script:{situation.script}{mark}note={number}"
        parameters = {"apikey": credential}
        if row.provider == VLLM:
            parameters["url"] = f"{self._upstream.url}/vllm"
        setting = await self._stack.create_setting(
            provider=row.provider, setting=parameters, costMap=COST_MAPS[row.provider] or None
        )
        made = await self._stack.create_key(
            setting, costLimitInUsd=5, rateLimitOverTime=100, rateLimitUnit="h", name=f"cell {number}"
        )
        seen.key_id = made["keyId"]
        path = row.path.replace(":model", NAMED_MODELS[row.provider])
        if row.needs_response:
            path = path.replace(":response_id", await self._make_response(made["key"]))
        before = len(self._upstream.calls_with(credential))
        async with self._stack.http.request(
            row.method,
            self._stack.proxy_url + path,
            json=body_of(row, situation.is_stream),
            headers=headers_of(row.provider, made["key"]) | {"x-custom-event-id": str(seen.cell)},
            allow_redirects=False,
        ) as answer:
            seen.status = answer.status
            seen.headers = {name.lower(): value for name, value in answer.headers.items()}
            seen.body = await answer.read()
        seen.calls = self._upstream.calls_with(credential)[before:]

    async def _make_response(self, key: str) -> str:
        """A response that the key's account owns, made without a fault; its id."""
        async with self._stack.http.post(
            f"{self._stack.proxy_url}/api/providers/openai/v1/responses",
            json={"model": NAMED_MODELS[OPENAI], "input": "Say hello.", "user": "script:ok"},
            headers=headers_of(OPENAI, key),
        ) as answer:
            assert answer.status == 200, await answer.text()
            return (await answer.json())["id"]

    async def _collect_events(self, found: list[Seen]) -> None:
        """Give each its events, once every call that was answered has one: they are shipped within moments."""
        answered = {seen.key_id: seen for seen in found if seen.status}
        deadline = asyncio.get_running_loop().time() + EVENTS_SECONDS
        while True:
            rows = await self._stack.rows(
                "SELECT * FROM events WHERE key_id = ANY($1) AND custom_id <> ''", list(answered)
            )
            if len({row["key_id"] for row in rows}) == len(answered):
                break
            if asyncio.get_running_loop().time() > deadline:
                break  # the cells that lack theirs say so
            await asyncio.sleep(0.3)
        for row in rows:
            answered[row["key_id"]].events.append(row)


def headers_of(provider: str, key: str) -> dict[str, str]:
    """How the provider's own SDK presents a key."""
    if provider == ANTHROPIC:
        return {"x-api-key": key, "anthropic-version": "2023-06-01"}
    return {"authorization": f"Bearer {key}"}
