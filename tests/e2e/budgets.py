"""Calls whose hold is known to the nano-dollar: a model priced by the prompt alone, and bodies of a known bound."""

from typing import Any

import msgspec

from proxy.wire import FORMATS
from tests.e2e.stack import chat_body

MODEL = "priced-by-cost-map"
PROMPT_TOKENS = 1000
# USD per 1000 prompt tokens: 1000 tokens cost $0.002; completions are free, so the prompt's bound is the whole hold.
COST_MAP = {"promptCostPerModel": {MODEL: 0.002}, "completionCostPerModel": {MODEL: 0}}


def body_held_at(tokens: int) -> dict[str, Any]:
    """A body whose prompt bound is exactly so many tokens; its cap is too small to be clamped."""
    content = ""
    while True:
        body = chat_body(model=MODEL, messages=[{"role": "user", "content": content}], max_completion_tokens=8)
        bound = FORMATS["openai_chat"].read_call(msgspec.json.encode(body)).prompt_bound
        if bound == tokens:
            return body
        assert bound < tokens
        content += "x" * max(1, (tokens - bound) // 2)
