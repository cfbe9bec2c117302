"""What a cell must look like, worked out without the product: frames, tokens and money."""

import time
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec

from shared.catalog import Catalog, load_catalog
from shared.usage import TOKEN_CLASSES
from tests.e2e.matrix_rows import Row, cost_map_price
from tests.e2e.matrix_run import Seen
from tests.e2e.matrix_situations import GROUPS, Cell
from tests.fakes import answers
from tests.fakes.upstream import Call

_NANO_PER_MILLION_FROM_USD_PER_THOUSAND = Decimal(10) ** 12
_catalog: list[Catalog] = []


def catalog() -> Catalog:
    """The shipped prices, loaded once."""
    if not _catalog:
        _catalog.append(load_catalog())
    return _catalog[0]


def expected_usage(call: Call) -> dict[str, int]:
    """Tokens by class, by what upstream reported."""
    assert call.usage is not None
    return dict.fromkeys(TOKEN_CLASSES, 0) | answers.bill(call.dialect, call.script, call.usage)


def cost_of(row: Row, usage: dict[str, int]) -> int:
    """Nano-USD of these tokens: units x price, rounded half up once."""
    if not any(usage.values()):
        return 0
    total, per_call = Decimal(0), 0
    for name, count in usage.items():
        usd = cost_map_price(row, name)
        if usd is not None:
            total += count * usd * _NANO_PER_MILLION_FROM_USD_PER_THOUSAND
            continue
        price = catalog().price(row.provider, row.model, int(time.time() * 1000))
        assert price is not None, f"the catalogue has no price for {row.model}"
        prompt = sum(usage[name] for name in TOKEN_CLASSES if name not in ("output", "reasoning", "audio_output"))
        total += count * getattr(price.rates("default", prompt), name)
        per_call = price.per_call_nano
    return int((total / 1_000_000).to_integral_value(ROUND_HALF_UP)) + per_call


def expected_frames(cell: Cell, call: Call) -> tuple[bytes, bytes]:
    """The bytes of a stream that reach the caller, and what is left of them: nothing, unless upstream was cut.

    Whole frames only, less the one with the usage that Weir asked for and the caller did not.
    """
    script = call.script
    frames = call.frames
    if script.cut_at_byte is not None:
        left = b"".join(frames)[: script.cut_at_byte]
        whole: list[bytes] = []
        for frame in frames:
            if not left.startswith(frame):
                break
            whole.append(frame)
            left = left[len(frame) :]
        frames = whole
    elif script.cut_after is not None:
        frames = frames[: script.cut_after]
    if cell.situation.error_kind == "upstream_invalid":
        frames = frames[: next(n for n, frame in enumerate(frames) if len(frame) > 1 << 20)]
    asked = (cell.row.body or {}).get("stream_options")
    return b"".join(frame for frame in frames if asked or not _is_usage_frame(frame)), b""


def _is_usage_frame(frame: bytes) -> bool:
    """OpenAI's chunk without choices, which only comes when asked for."""
    return b'"choices":[]' in frame and b'"usage":{' in frame


def error_is_ours(dialect: str, body: bytes) -> bool:
    """One of Weir's errors, in the shape of the dialect."""
    told: Any = msgspec.json.decode(body)
    error = told.get("error") or told
    if dialect == "anthropic_api" and told.get("type") != "error":
        return False
    return error["message"].startswith("[Weir] ") and bool(error.get("type") or error.get("code"))


def table_of(found: list[Seen]) -> str:
    """What was seen, for people: an endpoint a line, a group a column; each with its cells and what they cost."""
    rows = sorted({(seen.cell.row.path, seen.cell.row.method) for seen in found})
    lines = [f"{'':52}" + "".join(f"{group:>32}" for group in GROUPS)]
    for path, method in rows:
        line = f"{method + ' ' + path.removeprefix('/api/providers/'):52}"
        for group in GROUPS:
            those = [
                seen for seen in found
                if (seen.cell.row.path, seen.cell.row.method) == (path, method) and seen.cell.situation.group == group
            ]  # fmt: skip
            if not those:
                line += f"{'-':>32}"
                continue
            nano = sum(event["charged_cost_nano"] or 0 for seen in those for event in seen.events)
            events = sum(len(seen.events) for seen in those)
            line += f"{f'{len(those)} calls {events} events ${nano / 1e9:.6f}':>32}"
        lines.append(line)
    return "\n".join(lines)
