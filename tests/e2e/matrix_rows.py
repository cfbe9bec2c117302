"""One row per endpoint of the product, as a caller and an operator see it: what is asked, and who pays for what.

`test_matrix` holds this table against `proxy.endpoints.ENDPOINTS`: an endpoint without a row fails.
"""

from decimal import Decimal
from typing import Any, Literal, NamedTuple

OPENAI, ANTHROPIC, VLLM = "openai", "anthropic", "vllm"

# Prices of models that no catalogue knows: USD per 1000 tokens, as the admin API takes them.
COST_MAPS: dict[str, dict[str, Any]] = {
    OPENAI: {},
    ANTHROPIC: {"promptCostPerModel": {"claude-2.1": 0.008}, "completionCostPerModel": {"claude-2.1": 0.024}},
    VLLM: {
        "promptCostPerModel": {"llama-local": 0.0007},
        "completionCostPerModel": {"llama-local": 0.0021},
        "embeddingsCostPerModel": {"bge-local": 0.00013},
    },
}


class Row(NamedTuple):
    """An endpoint, and one call of it."""

    provider: str
    method: str
    template: str
    """Below the provider's prefix; `:object` stands for an object's id or a model's name."""
    bills: Literal["usage", "estimate", "free"]
    """usage: upstream reports it. estimate: it never does. free: nobody pays."""
    model: str = ""
    body: dict[str, Any] | None = None
    streams: bool = False
    sized: bool = False
    """Upstream's usage has parts that could be larger than the whole."""

    tells_early: bool = False
    """A stream tells its usage before its last frame."""

    @property
    def path(self) -> str:
        return f"/api/providers/{self.provider}{self.template}"

    @property
    def dialect(self) -> str:
        return "anthropic_api" if self.provider == ANTHROPIC else "openai_api"

    @property
    def most_output(self) -> int:
        """Tokens that upstream may make: as many as the caller allows, none where nothing is generated."""
        caps = ("max_completion_tokens", "max_tokens", "max_output_tokens", "max_tokens_to_sample")
        return next((self.body[cap] for cap in caps if cap in self.body), 0) if self.body else 0

    @property
    def needs_response(self) -> bool:
        """The call is about a response that the same account has made before."""
        return ":response_id" in self.template


ASKED = "Say hello."
MESSAGES = [{"role": "user", "content": ASKED}]
CHAT = {"messages": MESSAGES, "max_completion_tokens": 64}
PROMPT = {"prompt": ASKED, "max_tokens": 64}

ROWS = (
    Row(OPENAI, "POST", "/v1/chat/completions", "usage", "gpt-4o", CHAT, True, True, True),
    Row(OPENAI, "POST", "/v1/completions", "usage", "gpt-3.5-turbo-instruct", PROMPT, True, True, True),
    Row(OPENAI, "POST", "/v1/responses", "usage", "gpt-4o", {"input": ASKED, "max_output_tokens": 64}, True, True),
    Row(OPENAI, "GET", "/v1/responses/:response_id", "free"),
    Row(OPENAI, "DELETE", "/v1/responses/:response_id", "free"),
    Row(OPENAI, "POST", "/v1/responses/:response_id/cancel", "free"),
    Row(OPENAI, "GET", "/v1/responses/:response_id/input_items", "free"),
    Row(OPENAI, "POST", "/v1/embeddings", "usage", "text-embedding-3-small", {"input": [ASKED, "again"]}),
    Row(OPENAI, "POST", "/v1/moderations", "free", "omni-moderation-latest", {"input": ASKED}),
    Row(OPENAI, "GET", "/v1/models", "free"),
    Row(OPENAI, "GET", "/v1/models/:model", "free"),
    # Not `sized`: in the provider's own published sample the parts of what was written to the cache exceed their total.
    Row(ANTHROPIC, "POST", "/v1/messages", "usage", "claude-sonnet-5-5",
        {"messages": MESSAGES, "max_tokens": 64}, streams=True, tells_early=True),
    Row(ANTHROPIC, "POST", "/v1/messages/count_tokens", "free", "claude-sonnet-5-5", {"messages": MESSAGES}),
    Row(ANTHROPIC, "POST", "/v1/complete", "estimate", "claude-2.1",
        {"prompt": f"\n\nHuman: {ASKED}\n\nAssistant:", "max_tokens_to_sample": 64}, streams=True),
    Row(ANTHROPIC, "GET", "/v1/models", "free"),
    Row(ANTHROPIC, "GET", "/v1/models/:model", "free"),
    Row(VLLM, "POST", "/v1/chat/completions", "usage", "llama-local", CHAT, True, True, True),
    Row(VLLM, "POST", "/v1/completions", "usage", "llama-local", PROMPT, True, True, True),
    Row(VLLM, "POST", "/v1/embeddings", "usage", "bge-local", {"input": ASKED}),
    Row(VLLM, "GET", "/v1/models", "free"),
)  # fmt: skip
BY_ENDPOINT = {(row.method, row.path): row for row in ROWS}
NAMED_MODELS = {OPENAI: "gpt-4o", ANTHROPIC: "claude-sonnet-5-5", VLLM: "llama-local"}


def body_of(row: Row, is_stream: bool) -> dict[str, Any] | None:
    """What the caller sends."""
    if row.body is None:
        return {} if row.method == "POST" else None
    return {"model": row.model, **row.body, **({"stream": True} if is_stream else {})}


def cost_map_price(row: Row, token_class: str) -> Decimal | None:
    """USD per 1000 tokens by the setting's own cost map; None: the catalogue decides."""
    prices = COST_MAPS[row.provider]
    is_prompt = token_class not in ("output", "reasoning", "audio_output")
    if row.template.endswith("/embeddings"):
        found = prices.get("embeddingsCostPerModel", {}).get(row.model) if is_prompt else 0
    else:
        found = prices.get("promptCostPerModel" if is_prompt else "completionCostPerModel", {}).get(row.model)
    return None if found is None else Decimal(str(found))
