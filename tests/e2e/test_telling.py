"""What a running stack tells its operators: health, metrics and one log line per request."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.e2e.stack import CHAT, Stack, chat_body
from tests.fakes.upstream import FakeUpstream, Script

HEALTH = ("/api/health", "/health")
READY = ("/api/health/ready", "/health/ready")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", [*HEALTH, *READY])
async def test_every_health_path_is_served(stack: Stack, method: str, path: str) -> None:
    """By GET and by POST (contract §1), and without a key."""
    async with stack.http.request(method, stack.proxy_url + path) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        if method != "HEAD":
            assert (await answer.json())["status"] == ("ok" if path in HEALTH else "ready")


@pytest.mark.parametrize("path", [*HEALTH, *READY])
async def test_a_preflight_of_a_health_path_is_204(stack: Stack, path: str) -> None:
    """As on every path (contract §4.4)."""
    asked = {"origin": "https://app.example", "access-control-request-method": "GET"}
    async with stack.http.options(stack.proxy_url + path, headers=asked) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["access-control-allow-methods"] == "GET"


@pytest.mark.parametrize("path", [*HEALTH, *READY])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_any_other_method_is_refused_in_our_shape(stack: Stack, method: str, path: str) -> None:
    """In JSON, like every refusal."""
    async with stack.http.request(method, stack.proxy_url + path) as answer:
        assert answer.status == 404
        assert "x-weir-request-id" in answer.headers
        error = (await answer.json())["error"]
    assert error["message"] == f"[Weir] route not supported: {method} {path}"


async def until_told(stack: Stack, name: str, value: float) -> dict[str, float]:
    """The metrics, once `name` has `value`: workers hand over what they counted once a second."""
    deadline = asyncio.get_running_loop().time() + 10
    while (told := await stack.metrics()).get(name) != value:
        assert asyncio.get_running_loop().time() < deadline, {n: v for n, v in told.items() if "_bucket" not in n}
        await asyncio.sleep(0.2)
    return told


async def test_metrics_tell_of_every_call(stack: Stack, upstream: FakeUpstream) -> None:
    """After a plain and a streamed call: counts, times, tokens, money, and how the proxy itself is."""
    upstream.default = Script(events=5, prompt_tokens=10, completion_tokens=7)
    key = await stack.create_key(await stack.create_setting(), costLimitInUsd=1)
    assert (await stack.chat(key["key"]))[0] == 200
    assert (await stack.chat(key["key"], chat_body(stream=True)))[0] == 200
    rows = await stack.events(key["keyId"], 2)

    where = f'endpoint="{CHAT}"'
    told = await until_told(stack, f'weir_requests_total{{{where},outcome="completed",status="200"}}', 2)
    assert told[f"weir_overhead_seconds_count{{{where}}}"] == 2
    assert told[f"weir_upstream_seconds_count{{{where}}}"] == 2
    assert told[f"weir_time_to_first_token_seconds_count{{{where}}}"] == 1
    overhead = sum(row["overhead_us"] for row in rows) / 1e6
    assert told[f"weir_overhead_seconds_sum{{{where}}}"] == pytest.approx(overhead)
    assert 0 < overhead < told[f"weir_upstream_seconds_sum{{{where}}}"] + 2

    tokens = {kind: sum(row[f"{kind}_tokens"] for row in rows) for kind in ("input", "output")}
    assert tokens == {"input": 20, "output": 7 + rows[1]["output_tokens"]}
    for kind, count in tokens.items():
        assert told[f'weir_tokens_total{{model="gpt-4o",token_class="{kind}"}}'] == count
    charged = sum(row["charged_cost_nano"] for row in rows)
    assert told['weir_cost_nano_usd_total{model="gpt-4o"}'] == charged > 0

    assert 0 <= told["weir_snapshot_age_seconds"] < 10
    assert told["weir_event_loop_lag_seconds_count"] > 0
    await until_told(stack, "weir_journal_depth", 0)
    await until_told(stack, "weir_holds", 0)


async def test_an_open_call_is_a_hold(stack: Stack, upstream: FakeUpstream) -> None:
    """While it lasts, and no longer; its event waits in no journal afterwards."""
    upstream.default = Script(delay=4)
    key = await stack.create_key(await stack.create_setting(), costLimitInUsd=1)
    call = asyncio.ensure_future(stack.chat(key["key"]))  # noqa: TID251
    await until_told(stack, "weir_holds", 1)
    assert (await call)[0] == 200
    await until_told(stack, "weir_holds", 0)


async def line_of(stack: Stack, request_id: str) -> dict[str, Any]:
    """The log line of a request."""
    for _ in range(50):
        lines = map(msgspec.json.decode, stack.log("proxy").read_bytes().splitlines())
        found = [line for line in lines if line.get("request_id") == request_id]
        if found:
            assert len(found) == 1
            return found[0]
        await asyncio.sleep(0.1)
    raise AssertionError(f"no line tells of {request_id}")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_line_of_a_request_names_its_worker_and_holds_no_prompt(
    stack: Stack, upstream: FakeUpstream, stream: bool
) -> None:
    """And neither the answer nor the key nor what the caller noted."""
    upstream.default = Script(events=3, prompt_tokens=10, completion_tokens=7)
    key = await stack.create_key(await stack.create_setting())
    body = chat_body(messages=[{"role": "user", "content": "canary-of-the-prompt"}], stream=stream, user="canary-user")
    _, headers, answer = await stack.chat(key["key"], body, {"x-metadata": '{"note":"canary-note"}'})
    line = await line_of(stack, headers["x-weir-request-id"])
    async with stack.http.get(f"{stack.proxy_url}/health/ready") as ready:
        assert line["worker"] == (await ready.json())["worker"]
    assert (line["event"], line["key_id"], line["outcome"], line["is_stream"]) == (
        "request", key["keyId"], "completed", stream,
    )  # fmt: skip
    [row] = await stack.events(key["keyId"], 1)
    assert line["charged_cost_nano"] == row["charged_cost_nano"] > 0
    assert (line["prompt_tokens"], line["completion_tokens"]) == (10, row["output_tokens"])
    text = msgspec.json.encode(line)
    assert b"canary" in msgspec.json.encode(upstream.calls[0].json)
    for hidden in (b"canary", key["key"].encode(), b"sk-upstream"):
        assert hidden not in text
    assert len(answer) > 0
