"""Several settings of one key: which one serves, and what happens when upstream refuses one of them."""

import asyncio
from typing import Any

import pytest

from tests.e2e.stack import Stack, chat_body
from tests.fakes.upstream import FakeUpstream, Script


async def settings(stack: Stack, *credentials: str, **fields: Any) -> list[str]:
    """Provider settings with these credentials; the scripted upstream reads its part from them."""
    return [await stack.create_setting(setting={"apikey": credential}, **fields) for credential in credentials]


async def make_key(stack: Stack, setting_ids: list[str], **fields: Any) -> dict[str, Any]:
    body = {"name": "several", "settingIds": setting_ids, **fields}
    return await stack.admin("PUT", "/api/key-management/keys", body)


async def test_the_first_setting_serves(stack: Stack, upstream: FakeUpstream) -> None:
    """Without rotation: the operator's order."""
    key = await make_key(stack, await settings(stack, "sk-one", "sk-two"))
    for _ in range(5):
        assert (await stack.chat(key["key"]))[0] == 200
    assert len(upstream.calls_with("sk-one")) == 5


async def test_rotation_spreads_whole_settings(stack: Stack, upstream: FakeUpstream) -> None:
    """Each with its own credential and URL, and each event names the one that served."""
    one, other = [
        await stack.create_setting(setting={"apikey": name, "url": f"{upstream.url}/{name}"})
        for name in ("sk-left", "sk-right")
    ]
    key = await make_key(stack, [one, other], rotationEnabled=True)
    answers = await asyncio.gather(*(stack.chat(key["key"]) for _ in range(40)))
    assert {status for status, _, _ in answers} == {200}
    for call in upstream.calls:
        name = dict(call.headers)["authorization"].removeprefix("Bearer ")
        assert call.path == f"/{name}/v1/chat/completions"
    assert len(upstream.calls_with("sk-left")) >= 4
    assert len(upstream.calls_with("sk-right")) >= 4
    events = await stack.events(key["keyId"], 40)
    assert {event["setting_id"] for event in events} == {one, other}


async def test_a_setting_that_may_not_serve_the_model_is_passed_over(stack: Stack, upstream: FakeUpstream) -> None:
    """`allowedModels` of a setting chooses among several; a model that none allows is refused."""
    mini = await stack.create_setting(setting={"apikey": "sk-mini"}, allowedModels=["gpt-4o-mini"])
    large = await stack.create_setting(setting={"apikey": "sk-large"}, allowedModels=["gpt-4o"])
    key = await make_key(stack, [mini, large], rotationEnabled=True)
    for _ in range(10):
        assert (await stack.chat(key["key"], chat_body(model="gpt-4o")))[0] == 200
    assert len(upstream.calls_with("sk-large")) == 10
    assert (await stack.chat(key["key"], chat_body(model="gpt-4.1")))[0] == 403


@pytest.mark.parametrize(
    ("status", "observed"), [(401, "setting_put_aside"), (403, "setting_put_aside"), (429, "setting_rested")]
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_refused_setting_is_replaced_within_the_call(
    stack: Stack, upstream: FakeUpstream, status: int, observed: str, stream: bool
) -> None:
    """The caller notices nothing; the next calls do not try it first; each attempt is an event, one of them final."""
    bad = f"script:ok?status={status}"
    refused, serving = await settings(stack, bad, "sk-serving")
    key = await make_key(stack, [refused, serving], rateLimitOverTime=100, rateLimitUnit="d", costLimitInUsd=1)
    body = chat_body(stream=stream)
    for _ in range(3):
        code, headers, _ = await stack.chat(key["key"], body)
        assert code == 200
    assert headers["x-ratelimit-remaining"] == "97"  # three calls count three times, whatever it took
    assert len(upstream.calls_with(bad)) == 1
    assert len(upstream.calls_with("sk-serving")) == 3

    events = await stack.events(key["keyId"], 4)
    assert len(events) == 4
    first, *rest = events
    assert (first["setting_id"], first["status"], first["is_final"], first["charged_cost_nano"]) == (
        refused, status, False, 0,
    )  # fmt: skip
    assert {(event["setting_id"], event["status"], event["is_final"]) for event in rest} == {(serving, 200, True)}
    assert first["request_id"] == rest[0]["request_id"]
    assert first["id"] != rest[0]["id"]
    assert await stack.gauge("weir_holds") == 0
    lines = [line for line in stack.log("proxy").read_text().splitlines() if f'"{observed}"' in line]
    assert any(refused in line for line in lines)
    assert not any(bad in line for line in lines)


async def test_where_all_refuse_the_caller_gets_the_last_answer(stack: Stack, upstream: FakeUpstream) -> None:
    """Upstream's own, with what it says about waiting; the next call asks one of them only."""
    limits = ["script:ok?status=429", "script:ok?status=401"]
    key = await make_key(stack, await settings(stack, *limits))
    code, _, body = await stack.chat(key["key"])
    assert code == 401
    assert b"[Weir]" not in body
    assert len(upstream.calls) == 2
    await stack.chat(key["key"])
    assert len(upstream.calls) == 3


async def test_what_upstream_says_of_the_request_is_final(stack: Stack, upstream: FakeUpstream) -> None:
    """400, 404, 500: another credential would not help, or may do the work twice."""
    for status in (400, 404, 500):
        upstream.reset()
        key = await make_key(stack, await settings(stack, f"script:ok?status={status}", "sk-never"))
        assert (await stack.chat(key["key"]))[0] == status
        assert len(upstream.calls) == 1


async def test_a_repaired_setting_serves_at_once(stack: Stack, upstream: FakeUpstream) -> None:
    """A new credential in its row ends the time aside."""
    refused, other = await settings(stack, "script:ok?status=401", "sk-other")
    key = await make_key(stack, [refused, other])
    assert (await stack.chat(key["key"]))[0] == 200
    await stack.admin("PATCH", f"/api/provider-settings/{refused}", {"setting": {"apikey": "sk-repaired"}})
    deadline = asyncio.get_running_loop().time() + 10
    while not upstream.calls_with("sk-repaired"):
        assert asyncio.get_running_loop().time() < deadline
        assert (await stack.chat(key["key"]))[0] == 200


async def test_a_deadline_of_the_callers_is_for_all_attempts(stack: Stack, upstream: FakeUpstream) -> None:
    """The second has what the first left."""
    slow = "script:ok?status=429&delay=0.6"
    key = await make_key(stack, await settings(stack, slow, "script:ok?delay=30"))
    started = asyncio.get_running_loop().time()
    code, _, _ = await stack.chat(key["key"], headers={"x-request-timeout": "1500ms"})
    assert code == 504
    assert asyncio.get_running_loop().time() - started < 10
    assert len(upstream.calls) == 2


async def test_a_request_counts_once_however_many_settings_were_tried(stack: Stack, upstream: FakeUpstream) -> None:
    """In the rollups, from which counters are rebuilt, as in Redis."""
    key = await make_key(stack, await settings(stack, "script:ok?status=429", "sk-counted"))
    assert (await stack.chat(key["key"]))[0] == 200
    await stack.events(key["keyId"], 2)
    rows = await stack.rows("SELECT sum(requests)::int AS requests FROM spend_hours WHERE key_id = $1", key["keyId"])
    assert rows[0]["requests"] == 1


async def test_a_setting_without_a_price_does_not_serve_a_budget(stack: Stack, upstream: FakeUpstream) -> None:
    """Where another has one; where none has, the refusal says so."""
    prices = {"promptCostPerModel": {"own-model": 0.001}, "completionCostPerModel": {"own-model": 0.002}}
    [unpriced] = await settings(stack, "sk-unpriced")
    [priced] = await settings(stack, "sk-priced", costMap=prices)
    key = await make_key(stack, [unpriced, priced], rotationEnabled=True, costLimitInUsd=1)
    for _ in range(8):
        assert (await stack.chat(key["key"], chat_body(model="own-model")))[0] == 200
    assert len(upstream.calls_with("sk-priced")) == 8
    key = await make_key(stack, [unpriced], costLimitInUsd=1)
    status, _, body = await stack.chat(key["key"], chat_body(model="own-model"))
    assert (status, b"is not known" in body) == (400, True)


async def test_a_caller_who_leaves_while_a_setting_refuses_has_no_second_attempt(
    stack: Stack, upstream: FakeUpstream
) -> None:
    """Nobody would read it; the first attempt is then the final one."""
    head = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\n{}"
    upstream.next(Script(raw=(head, b"  "), interval=1.5))
    key = await make_key(stack, await settings(stack, "sk-slow-to-refuse", "sk-never-asked"), costLimitInUsd=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await stack.chat(key["key"], chat_body(stream=True))
    events = await stack.events(key["keyId"], 1)
    assert [event["is_final"] for event in events] == [True]
    assert upstream.calls_with("sk-never-asked") == []
    assert await stack.gauge("weir_holds") == 0
