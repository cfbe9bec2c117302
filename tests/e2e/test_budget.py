"""Money under concurrency: nobody gets more than the budget, nobody is turned away while some is left."""

import asyncio
from collections import Counter

import pytest

from tests.e2e.budgets import COST_MAP, PROMPT_TOKENS, body_held_at
from tests.e2e.stack import Stack
from tests.fakes.upstream import FakeUpstream, Script

WORKERS = 2
CALLS = 500


@pytest.mark.parametrize("hold_tokens", [1000, 1300, 3000], ids=["exact", "1.3x", "3x"])
async def test_a_budget_is_spent_to_the_last_nano_and_not_further(
    stack: Stack, upstream: FakeUpstream, hold_tokens: int
) -> None:
    """500 calls at $0.002 at once against $0.10, over 2 workers; then one by one: 50 in all, $0.100000000, no hold."""
    upstream.default = Script(prompt_tokens=PROMPT_TOKENS, completion_tokens=1, delay=0.3)
    setting = await stack.create_setting(costMap=COST_MAP)
    key = await stack.create_key(setting, costLimitInUsdOverTime=0.1, costLimitInUsdUnit="mo")
    body = body_held_at(hold_tokens)

    answers = await asyncio.gather(*(stack.chat(key["key"], body) for _ in range(CALLS)))
    statuses = Counter(status for status, _, _ in answers)
    admitted = statuses[200]
    assert set(statuses) <= {200, 429}
    assert 0 < admitted <= 50
    assert {headers["retry-after"] for status, headers, _ in answers if status == 429} == {"1"}

    upstream.default = Script(prompt_tokens=PROMPT_TOKENS, completion_tokens=1)
    while True:
        status, headers, _ = await stack.chat(key["key"], body)
        if status != 200:
            break
        admitted += 1
        assert admitted <= 50
    assert status == 429
    assert int(headers["retry-after"]) > 1
    assert admitted == 50

    rows = await stack.events(key["keyId"], 50, refused=False)
    assert {row["outcome"] for row in rows} == {"completed"}
    assert len(rows) == len(upstream.calls) == 50
    assert sum(row["charged_cost_nano"] for row in rows) == 100_000_000
    assert await stack.gauge("weir_holds") == 0


async def test_a_lifetime_budget_ends_the_key(stack: Stack, upstream: FakeUpstream) -> None:
    """A used-up lifetime cost limit is 401, and the admin API shows the key as revoked: expired."""
    upstream.default = Script(prompt_tokens=PROMPT_TOKENS, completion_tokens=1)
    setting = await stack.create_setting(costMap=COST_MAP)
    key = await stack.create_key(setting, costLimitInUsd=0.006)
    body = body_held_at(1000)
    statuses = [(await stack.chat(key["key"], body))[0] for _ in range(4)]
    assert statuses == [200, 200, 200, 401]

    await stack.events(key["keyId"], 4)
    [shown] = await stack.admin("GET", f"/api/key-management/keys?keyIds={key['keyId']}")
    assert shown["revoked"] is True
    assert shown["revokedReason"] == "expired"


async def test_a_worst_case_that_does_not_fit_is_clamped_and_told(stack: Stack, upstream: FakeUpstream) -> None:
    """With less money than the worst case the output is capped to what is left: nothing is overspent."""
    upstream.default = Script(prompt_tokens=10, completion_tokens=4000, events=3)
    setting = await stack.create_setting()
    key = await stack.create_key(setting, costLimitInUsd=0.01)
    status, headers, _ = await stack.chat(key["key"])
    assert status == 200
    cap = int(headers["x-weir-output-cap"])
    assert 16 <= cap < 1000

    sent = upstream.calls[0].json
    assert sent["max_completion_tokens"] == cap
    [row] = await stack.events(key["keyId"], 1)
    assert row["output_tokens"] == cap
    assert row["charged_cost_nano"] <= 10_000_000
