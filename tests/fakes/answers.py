"""Which provider the scripted upstream is, and what it answers where: one row per endpoint.

The request tells the dialect: Anthropic's by its headers, vLLM's by a base URL that ends in `/vllm`, else OpenAI's.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from tests.fakes import anthropic_answers as anthropic
from tests.fakes import openai_answers as openai
from tests.fakes import responses_answers as responses
from tests.fakes import scripts
from tests.fakes.scripts import Script

Parsed = dict[str, Any]
"""The body; in it, `_object` is the id or the name in the path."""
Whole = Callable[[Script, Parsed, int], bytes]
Frames = Callable[[Script, Parsed, int], list[bytes]]
Usage = Callable[[Script, Parsed], dict[str, Any] | None]


class Dialect(NamedTuple):
    """What is a provider's own on every endpoint."""

    error: Callable[[int], bytes]
    headers: tuple[tuple[str, str], ...]


_OPENAI_HEADERS = (("x-request-id", "req_fake"), ("openai-version", "2020-10-01"))
DIALECTS = {
    "openai": Dialect(scripts.error, _OPENAI_HEADERS),
    "anthropic": Dialect(
        anthropic.error,
        (("request-id", "req_fake"), ("anthropic-ratelimit-requests-remaining", "49"),
         ("anthropic-organization-id", "org-of-the-operator")),
    ),
    "vllm": Dialect(openai.vllm_error, (("server", "uvicorn"),)),
}  # fmt: skip


def _no_usage(script: Script, call: Parsed) -> None:
    return None


class Route(NamedTuple):
    """An endpoint."""

    dialects: tuple[str, ...]
    method: str
    pattern: str
    """The end of the path; `(…)` is the object."""
    whole: Whole
    frames: Frames | None = None
    usage: Usage = _no_usage


_ALIKE = ("openai", "vllm")
ROUTES = (
    Route(_ALIKE, "POST", r"/chat/completions", scripts.completion, scripts.events, openai.chat_usage),
    Route(_ALIKE, "POST", r"/v1/completions", openai.completions, openai.completions_frames, openai.chat_usage),
    Route(_ALIKE, "POST", r"/v1/embeddings", openai.embeddings, None, openai.embeddings_usage),
    Route(("openai",), "POST", r"/v1/moderations", openai.moderations),
    Route(_ALIKE, "GET", r"/models", openai.models),
    Route(_ALIKE, "GET", r"/v1/models/([^/]+)", openai.model),
    Route(("openai",), "POST", r"/v1/responses", responses.response, responses.response_frames, responses.usage_of),
    Route(("openai",), "GET", r"/v1/responses/([^/]+)", responses.retrieved),
    Route(("openai",), "DELETE", r"/v1/responses/([^/]+)", responses.deleted),
    Route(("openai",), "POST", r"/v1/responses/([^/]+)/cancel", responses.cancelled),
    Route(("openai",), "GET", r"/v1/responses/([^/]+)/input_items", responses.input_items),
    Route(("anthropic",), "POST", r"/v1/messages", anthropic.message, anthropic.message_frames, anthropic.usage_of),
    Route(("anthropic",), "POST", r"/v1/messages/count_tokens", anthropic.count_tokens),
    Route(("anthropic",), "POST", r"/v1/complete", anthropic.complete, anthropic.complete_frames),
    Route(("anthropic",), "GET", r"/v1/models", anthropic.models),
    Route(("anthropic",), "GET", r"/v1/models/([^/]+)", anthropic.model),
)


def dialect_of(path: str, named: dict[str, str]) -> str:
    """Whose API the caller means. The names are in lower case."""
    if path.startswith("/vllm/"):
        return "vllm"
    return "anthropic" if "anthropic-version" in named or "x-api-key" in named else "openai"


@lru_cache(maxsize=1024)
def find_route(dialect: str, method: str, path: str) -> tuple[Route | None, str]:
    """The endpoint and the object in its path; None: nothing is there."""
    bare = path.partition("?")[0]
    wanted = "GET" if method == "HEAD" else method
    for route in ROUTES:
        if dialect in route.dialects and wanted == route.method:
            found = re.search(route.pattern + "$", bare)
            if found:
                return route, found.group(1) if found.groups() else ""
    return None, ""


def bill(dialect: str, script: Script, usage: dict[str, Any]) -> dict[str, int]:
    """A correct bill of a call that upstream answered with this usage: tokens by Weir's classes.

    From the script, not from the JSON: how much was cached, written and thought is what the script says.
    """
    output = usage.get("completion_tokens", usage.get("output_tokens"))
    if output is None:  # embeddings: nothing comes out, nothing is cached
        return {"input": script.prompt_tokens}
    hour = script.written_1h_tokens if dialect == "anthropic" else 0
    return {
        "input": script.prompt_tokens - script.cached_tokens - script.written_tokens - hour,
        "cached_input": script.cached_tokens,
        "cache_write_5m": script.written_tokens,
        "cache_write_1h": hour,
        "output": output - script.reasoning_tokens,
        "reasoning": script.reasoning_tokens,
    }
