"""Node's SDKs: OpenAI's, Anthropic's, Vercel's AI SDK; directly and through Weir. And aimock, an upstream of others.

What they check stands in `node/*.mjs`; a script is run once for each door and every check of it must have passed.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.e2e.node_sdks import OLDEST, Node, find_node, provide_packages, scripts_beside
from tests.e2e.sdk_doors import DOORS, UNKNOWN_KEY, door_of, weir_door
from tests.e2e.stack import Stack
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.timeout(400)

SCRIPTS = {"openai.mjs": 19, "anthropic.mjs": 15, "vercel.mjs": 17}
"""Script -> checks it makes at least."""
RUN_SECONDS = 90


class Scripts:
    """Runs node on our scripts."""

    def __init__(self, node: Node, folder: Path) -> None:
        self._node = node
        self._folder = folder

    async def start(self, name: str, door: dict[str, Any]) -> asyncio.subprocess.Process:
        """A running script; it reads where to go from DOOR."""
        environ = {**self._node.environ(), "DOOR": msgspec.json.encode(door).decode(), "NODE_NO_WARNINGS": "1"}
        return await asyncio.create_subprocess_exec(
            str(self._node.node), str(self._folder / name), env=environ,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def checks(self, name: str, door: dict[str, Any]) -> list[dict[str, str]]:
        """Run a script to its end: what became of each of its checks."""
        process = await self.start(name, door)
        try:
            out, complaint = await asyncio.wait_for(process.communicate(), RUN_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, complaint.decode()[-3000:]
        return msgspec.json.decode(out.splitlines()[-1])


@pytest.fixture(scope="module")
def scripts() -> Iterator[Scripts]:
    node = find_node()
    if node is None:
        pytest.skip(f"no Node {OLDEST} or newer with npm: neither in the environment nor in PATH")
    with scripts_beside(provide_packages(node)) as folder:
        yield Scripts(node, folder)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("through", DOORS)
async def test_an_sdk_finds_all_as_it_should_be(
    scripts: Scripts, stack: Stack, upstream: FakeUpstream, through: str, script: str
) -> None:
    """Every check of the script passes, and none was left out."""
    door: dict[str, Any] = {}
    chosen = await door_of(through, stack, upstream)
    door = {
        "is_direct": chosen.is_direct,
        "openai_url": chosen.openai_url,
        "openai_key": chosen.key,
        "anthropic_url": chosen.anthropic_url,
        "anthropic_key": chosen.key,
        "unknown_key": UNKNOWN_KEY,
    }
    if not chosen.is_direct:
        for provider in ("openai", "anthropic"):
            limited = await weir_door(stack, rateLimitOverTime=1, rateLimitUnit="h")
            door[f"limited_{provider}_key"] = limited.key
    told = await scripts.checks(script, door)
    failed = [f"{check['name']}: {check['error']}" for check in told if check["error"]]
    assert not failed, "\n\n".join(failed)
    assert len(told) >= SCRIPTS[script]


# ------------------------------------------------------------------------------------------------------- aimock


@pytest.fixture(scope="module")
async def aimock(scripts: Scripts) -> AsyncIterator[str]:
    """A running aimock; its base URL."""
    process = await scripts.start("aimock.mjs", {})
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        yield line.decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


class Mocked:
    """The same application, pointed at aimock and at Weir before it."""

    def __init__(self, stack: Stack, aimock: str, key: str) -> None:
        self._stack, self._aimock, self._key = stack, aimock, key

    async def ask(self, provider: str, path: str, body: dict[str, Any]) -> list[tuple[int, bytes]]:
        """Status and body of one call, directly and through Weir."""
        answers: list[tuple[int, bytes]] = []
        for url in (self._aimock, f"{self._stack.proxy_url}/api/providers/{provider}"):
            headers = {"x-api-key": self._key, "anthropic-version": "2023-06-01"}
            if provider == "openai":
                headers = {"authorization": f"Bearer {self._key}"}
            async with self._stack.http.post(f"{url}{path}", json=body, headers=headers) as answer:
                answers.append((answer.status, await answer.read()))
        return answers


@pytest.fixture
async def made(stack: Stack, aimock: str) -> dict[str, Any]:
    """A key whose providers are aimock."""
    settings = [
        await stack.create_setting(provider=provider, setting={"apikey": "k", "url": aimock})
        for provider in ("openai", "anthropic")
    ]
    return await stack.create_key("", settingId=None, settingIds=settings, costLimitInUsd=5)


def asked(words: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": words}], "max_tokens": 64, **fields}


CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "chat": ("openai", "/v1/chat/completions", asked("counted", model="gpt-4o")),
    "chat stream": ("openai", "/v1/chat/completions", asked("counted", model="gpt-4o", stream=True)),
    "responses": ("openai", "/v1/responses", {"model": "gpt-4o", "input": "counted"}),
    "responses stream": ("openai", "/v1/responses", {"model": "gpt-4o", "input": "counted", "stream": True}),
    "messages": ("anthropic", "/v1/messages", asked("counted", model="claude-sonnet-5-5")),
    "messages stream": ("anthropic", "/v1/messages", asked("counted", model="claude-sonnet-5-5", stream=True)),
}


@pytest.mark.parametrize("name", CALLS)
async def test_what_aimock_reports_is_what_is_billed(
    stack: Stack, aimock: str, made: dict[str, Any], name: str
) -> None:
    """The same words come out, and the event has the usage that an upstream of others reports."""
    provider, path, body = CALLS[name]
    direct, through = await Mocked(stack, aimock, made["key"]).ask(provider, path, body)
    assert direct[0] == through[0] == 200
    assert b"One two three." in through[1]
    assert len(through[1].split(b"\n\n")) == len(direct[1].split(b"\n\n"))
    [row] = await stack.events(made["keyId"], 1)
    assert (row["input_tokens"], row["output_tokens"], row["is_estimated"]) == (41, 7, False)
    assert row["outcome"] == "completed"


@pytest.mark.parametrize(("words", "status"), [("too fast", 429), ("broken", 503)])
@pytest.mark.parametrize("name", CALLS)
async def test_aimock_s_errors_pass_as_they_are(
    stack: Stack, aimock: str, made: dict[str, Any], name: str, words: str, status: int
) -> None:
    """Status and body, byte for byte; they cost nothing."""
    provider, path, body = CALLS[name]
    body = {**body, "input": words} if "input" in body else {**body, **asked(words)}
    direct, through = await Mocked(stack, aimock, made["key"]).ask(provider, path, body)
    assert direct == through
    assert through[0] == status
    [row] = await stack.events(made["keyId"], 1)
    assert (row["status"], row["charged_cost_nano"]) == (status, 0)


@pytest.mark.parametrize("name", [name for name in CALLS if name.endswith("stream")])
async def test_a_stream_that_aimock_cuts_is_an_error_event(
    stack: Stack, aimock: str, made: dict[str, Any], name: str
) -> None:
    """Whole frames, then the event of the dialect; what was seen is billed, flagged."""
    provider, path, body = CALLS[name]
    body = {**body, "input": "cut"} if "input" in body else {**body, **asked("cut")}
    async with stack.http.post(
        f"{stack.proxy_url}/api/providers/{provider}{path}", json=body,
        headers={"x-api-key": made["key"], "anthropic-version": "2023-06-01"},
    ) as answer:  # fmt: skip
        got = await answer.read()
    assert answer.status == 200
    assert b"[Weir] " in got.rstrip().rpartition(b"\n\n")[2]
    [row] = await stack.events(made["keyId"], 1)
    assert (row["outcome"], row["is_estimated"]) == ("cut", True)
    assert row["charged_cost_nano"] > 0
