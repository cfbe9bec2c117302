"""Events, settle orders and open attempts: valid by default, override what matters."""

from typing import Any

from proxy.core.holds import Bucket, SettleOrder
from proxy.core.journal import OpenAttempt
from shared.events import Event
from shared.ids import uuid7_text

ADMITTED_US = 1_795_219_200_000_000
"""2026-11-21 00:00 UTC."""


def make_event(**over: Any) -> Event:
    """A completed call that cost 2,000,000 nano-USD."""
    fields: dict[str, Any] = {
        "id": uuid7_text(),
        "request_id": uuid7_text(),
        "admitted_at": ADMITTED_US,
        "ended_at": ADMITTED_US + 250_000,
        "outcome": "completed",
        "status": 200,
        "key_id": "key-1",
        "provider": "openai",
        "requested_model": "gpt-4o-mini",
        "input_tokens": 10,
        "output_tokens": 20,
        "list_cost_nano": 2_000_000,
        "charged_cost_nano": 2_000_000,
        "latency_us": 250_000,
        "worker": "worker-1",
    }
    return Event(**(fields | over))


def make_order(event: Event) -> SettleOrder:
    """What settles the event's attempt: one counter, the key's cost of all time."""
    bucket = Bucket(f"w:{{default}}:{event.key_id}:cost:total", "cost", 0)
    return SettleOrder(event.id, event.account_id, event.key_id, event.admitted_at // 1000, (bucket,))


def make_attempt(prompt_cost_nano: int | None = 1_000, output_price: int = 600_000_000, **over: Any) -> OpenAttempt:
    """An attempt under way: 10 prompt tokens that cost 1,000 nano-USD, $0.60 per million output tokens."""
    fields: dict[str, Any] = {
        "outcome": "recovered",
        "status": 0,
        "ended_at": ADMITTED_US,
        "latency_us": 0,
        "output_tokens": 0,
        "is_estimated": True,
        "list_cost_nano": prompt_cost_nano,
        "charged_cost_nano": prompt_cost_nano,
    }
    event = make_event(**(fields | over))
    return OpenAttempt(event, make_order(event), prompt_cost_nano, output_price)
