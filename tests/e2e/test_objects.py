"""Objects that upstream keeps (stored responses): only who made them through Weir may ask for them again."""

from typing import Any

import msgspec

from tests.e2e.stack import Stack
from tests.fakes.upstream import FakeUpstream

WORKERS = 2
RESPONSES = "/api/providers/openai/v1/responses"


async def call(
    stack: Stack, method: str, path: str, key: str, body: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    async with stack.http.request(
        method, stack.proxy_url + path, json=body, headers={"authorization": f"Bearer {key}", "connection": "close"}
    ) as answer:
        return answer.status, msgspec.json.decode(await answer.read())


async def make(stack: Stack, key: str, **fields: Any) -> str:
    status, made = await call(stack, "POST", RESPONSES, key, {"model": "gpt-4o", "input": "Say hello.", **fields})
    assert status == 200, made
    return made["id"]


async def test_a_response_is_found_at_every_worker_at_once(stack: Stack, upstream: FakeUpstream) -> None:
    """With all that belongs to it; a continued one, too."""
    key = (await stack.create_key(await stack.create_setting()))["key"]
    made = await make(stack, key)
    for _ in range(30):
        assert (await call(stack, "GET", f"{RESPONSES}/{made}", key))[0] == 200
    assert (await call(stack, "GET", f"{RESPONSES}/{made}/input_items?limit=5&order=asc", key))[0] == 200
    assert upstream.calls[-1].path == f"/v1/responses/{made}/input_items?limit=5&order=asc"
    assert (await call(stack, "POST", f"{RESPONSES}/{made}/cancel", key, {}))[0] == 200
    await make(stack, key, previous_response_id=made)


async def test_nobody_elses_response_is_found(stack: Stack, upstream: FakeUpstream) -> None:
    """Upstream would answer: the credential is the same. It is not even asked."""
    key = (await stack.create_key(await stack.create_setting()))["key"]
    for name in ("resp_made_elsewhere", "resp_x", "a.b:c", "@"):
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
            body = {} if method == "POST" else None
            status, told = await call(stack, method, f"{RESPONSES}/{name}{path}", key, body)
            assert status == 404, path
            assert told["error"]["message"].startswith("[Weir] no object with id")
        continued = {"model": "gpt-4o", "input": "x", "previous_response_id": name}
        assert (await call(stack, "POST", RESPONSES, key, continued))[0] == 404
    assert upstream.calls == []


async def test_a_response_goes_back_to_the_setting_that_made_it(stack: Stack, upstream: FakeUpstream) -> None:
    """Another credential of the same key would not find it; a key without that setting has no way to it."""
    names = ("sk-first", "sk-second")
    one, other = [await stack.create_setting(setting={"apikey": name}) for name in names]
    body = {"name": "both", "settingIds": [one, other], "rotationEnabled": True}
    key = (await stack.admin("PUT", "/api/key-management/keys", body))["key"]
    for _ in range(8):
        upstream.reset()
        made = await make(stack, key)
        await call(stack, "GET", f"{RESPONSES}/{made}", key)
        await make(stack, key, previous_response_id=made)
        assert len({dict(seen.headers)["authorization"] for seen in upstream.calls}) == 1
    stranger = (await stack.create_key(await stack.create_setting()))["key"]
    assert (await call(stack, "GET", f"{RESPONSES}/{made}", stranger))[0] == 404


async def test_a_deleted_response_is_forgotten(stack: Stack, upstream: FakeUpstream) -> None:
    """By the worker that deleted it and by Redis. The one that made it may still ask upstream, which has it no more."""
    key = (await stack.create_key(await stack.create_setting()))["key"]
    for _ in range(20):
        made = await make(stack, key)
        assert (await call(stack, "DELETE", f"{RESPONSES}/{made}", key))[0] == 200
        if 404 in [(await call(stack, "GET", f"{RESPONSES}/{made}", key))[0] for _ in range(20)]:
            return
    raise AssertionError("no worker forgot it")


async def test_a_resumed_stream_is_refused(stack: Stack, upstream: FakeUpstream) -> None:
    """It would have to be metered again; the parameter is named."""
    key = (await stack.create_key(await stack.create_setting()))["key"]
    made = await make(stack, key)
    status, told = await call(stack, "GET", f"{RESPONSES}/{made}?stream=true", key)
    assert status == 400
    assert "stream" in told["error"]["message"]
