"""Every endpoint in every situation, through the whole product: what the caller gets, and what the event says.

The table is `matrix_rows` x `matrix_situations`. Run with `-s`, the suite prints what it saw.
"""

from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest

from proxy.endpoints import ENDPOINTS
from shared.usage import TOKEN_CLASSES
from tests.e2e.matrix_expected import cost_of, error_is_ours, expected_frames, expected_usage, table_of
from tests.e2e.matrix_rows import BY_ENDPOINT
from tests.e2e.matrix_run import Runner, Seen
from tests.e2e.matrix_situations import CELLS, GROUPS, Cell
from tests.e2e.stack import Stack
from tests.fakes.answers import DIALECTS
from tests.fakes.upstream import FakeUpstream

RETURNED = {"x-request-id", "request-id", "openai-version"}

# Of upstream's headers, what is the operator's: its account, what is left of its rate limits, what its server is.
OPERATORS_OWN = {value for dialect in DIALECTS.values() for name, value in dialect.headers if name not in RETURNED}


@pytest.fixture(scope="module")
async def seen(stack: Stack, upstream: FakeUpstream, request: pytest.FixtureRequest) -> AsyncIterator[dict[str, Seen]]:
    """Every cell that is tested now, run once and together."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = {str(spec.params["cell"]) for spec in specs if spec is not None and "cell" in spec.params}
    upstream.reset()
    found = await Runner(stack, upstream).run([cell for cell in CELLS if str(cell) in wanted])
    yield {str(one.cell): one for one in found}
    print("\n" + table_of(found))


@pytest.fixture(autouse=True)
def quiet_upstream() -> None:
    """Not here: all cells run before the first test, and the tests read what upstream saw."""


def test_every_endpoint_has_a_row() -> None:
    """The matrix knows every endpoint of the product, in its dialect and with its billing, and no other."""
    assert {(row.method, row.template) for row in ENDPOINTS} == BY_ENDPOINT.keys()
    for endpoint in ENDPOINTS:
        row = BY_ENDPOINT[endpoint.method, endpoint.template]
        assert (endpoint.provider, endpoint.dialect) == (row.provider, row.dialect)
        assert (endpoint.billing == "free") == (row.bills == "free")
        groups = {cell.situation.group for cell in CELLS if cell.row is row}
        assert groups == set(GROUPS) - (set() if row.streams else {"stream"})


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_caller_gets_upstream_s_answer_or_the_dialect_s_error(seen: dict[str, Seen], cell: Cell) -> None:
    """Upstream's status and bytes; where there are none, ours in the caller's dialect; no header of the operator's."""
    one = seen[str(cell)]
    call = one.call
    assert one.status == cell.situation.status, one.body[:500]
    if cell.situation.caller == "error":
        assert error_is_ours(cell.row.dialect, one.body)
    elif call.is_streamed:
        upstreams_own, rest = expected_frames(cell, call)
        assert one.body.startswith(upstreams_own)
        ending = one.body[len(upstreams_own) :]
        if cell.situation.caller == "frames":
            assert error_is_ours(cell.row.dialect, ending.rpartition(b"data: ")[2].strip())
            assert ending.count(b"data: ") == 1
            assert cell.row.dialect != "anthropic_api" or ending.startswith(b"event: error\n")
        else:
            assert ending == rest == b""
    else:
        assert one.body == call.answer[1]
    assert one.headers["x-weir-request-id"] == call.request_id
    assert one.headers.get("retry-after") == dict(call.script.headers).get("retry-after")
    assert OPERATORS_OWN.isdisjoint(one.headers.values())
    assert "location" not in one.headers


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_upstream_gets_the_operator_s_credential_and_the_caller_s_bytes(seen: dict[str, Seen], cell: Cell) -> None:
    """Once, on the provider's own path; nothing of the gateway key."""
    call = seen[str(cell)].call
    prefix = "/vllm" if cell.row.provider == "vllm" else ""
    names = {name.lower() for name, _ in call.headers}
    assert call.credential.startswith("script:")
    assert ("x-api-key" in names) == (cell.row.provider == "anthropic")
    assert ("authorization" in names) == (cell.row.provider != "anthropic")
    assert not any("sk-weir" in value for _, value in call.headers)
    assert call.path.startswith(prefix + cell.row.template.partition(":")[0])
    assert call.route is not None
    assert (call.json if call.body else {}).get("model", "") == cell.row.model


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_event_says_what_happened_and_what_it_cost(seen: dict[str, Seen], cell: Cell) -> None:
    """Exactly one; endpoint, outcome, every class of token, and the money to the nano-USD."""
    one = seen[str(cell)]
    event, situation, row = one.event, cell.situation, cell.row
    assert (event["endpoint"], event["method"], event["provider"]) == (row.path, row.method, row.provider)
    ended = (event["outcome"], event["error_kind"], event["status"])
    assert ended == (situation.outcome, situation.error_kind, situation.status)
    assert (event["requested_model"], event["is_stream"]) == (row.model, situation.is_stream)
    assert str(event["request_id"]) == one.call.request_id
    usage = {name: event[f"{name}_tokens"] for name in TOKEN_CLASSES}
    assert all(0 <= count < 1 << 24 for count in usage.values())
    assert event["is_estimated"] == (cell.bill in ("seen", "prompt"))
    if cell.bill == "reported":
        assert usage == expected_usage(one.call)
    elif cell.bill == "nothing":
        assert not any(usage.values())
    else:
        assert usage["input"] > 0
        assert cell.bill == "seen" or not usage["output"]
        assert usage["output"] + usage["reasoning"] <= row.most_output
    cost = cost_of(row, usage)
    assert (event["list_cost_nano"], event["charged_cost_nano"]) == (cost, cost)
    assert (cost > 0) == (cell.bill != "nothing")


async def test_no_hold_is_left_and_the_books_agree(seen: dict[str, Seen], stack: Stack) -> None:
    """Nothing is reserved any more, nothing waits to be settled; each key's spend is the sum of its events."""
    assert await stack.gauge("weir_holds") == 0
    assert await stack.gauge("weir_unsettled") == 0
    rows = await stack.rows("SELECT key_id, sum(charged_cost_nano)::bigint AS spent, count(*) AS n FROM events "
                            "WHERE key_id <> '' GROUP BY key_id")  # fmt: skip
    rolled = await stack.rows("SELECT key_id, sum(charged_cost_nano)::bigint AS spent FROM spend_hours GROUP BY key_id")
    billed = {row["key_id"]: row["spent"] for row in rolled}
    assert rows
    assert {row["key_id"]: row["spent"] for row in rows if row["spent"]} == {k: v for k, v in billed.items() if v}
    events = Counter(row["custom_id"] for one in seen.values() for row in one.events)
    assert set(events.values()) <= {1}
    assert msgspec.json.encode(sorted(events))
