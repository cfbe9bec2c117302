"""What OpenAI answers besides chat, as the scripted upstream tells it: embeddings, moderations, completions, models.

Source: developers.openai.com/api/reference. Other servers of the same dialect (vLLM) differ in their errors only.
"""

import base64
import struct
from typing import Any

import msgspec

from tests.fakes import scripts
from tests.fakes.scripts import Script, frame

VLLM_ERRORS = {400: "BadRequestError", 401: "Unauthorized", 404: "NotFoundError", 429: "TooManyRequests"}


def chat_usage(script: Script, call: dict[str, Any]) -> dict[str, Any] | None:
    """The usage of a chat completion."""
    return scripts.usage_of(script, call)[0]


def completions(script: Script, call: dict[str, Any], number: int) -> bytes:
    """A plain legacy completion."""
    usage, reason = scripts.usage_of(script, call)
    text = "".join(scripts.words(script))
    answer = _completion(script, call, number, text, reason)
    if usage is not None:
        answer["usage"] = usage
    return msgspec.json.encode(answer)


def _completion(script: Script, call: dict[str, Any], number: int, text: str, reason: str | None) -> dict[str, Any]:
    return {
        "id": f"cmpl-fake{number}",
        "object": "text_completion",
        "created": 1700000000,
        "model": script.model or call.get("model", ""),
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": reason}],
    }


def completions_frames(script: Script, call: dict[str, Any], number: int) -> list[bytes]:
    """The same streamed; usage in a last chunk without choices, if asked for."""
    usage, reason = scripts.usage_of(script, call)
    includes_usage = bool((call.get("stream_options") or {}).get("include_usage"))
    tail: dict[str, Any] = {"usage": None} if includes_usage else {}
    frames = [frame(_completion(script, call, number, word, None) | tail) for word in scripts.words(script)]
    if script.error_event:
        return [*frames, scripts.ERROR_EVENT]
    frames.append(frame(_completion(script, call, number, "", reason) | tail))
    if includes_usage and usage is not None:
        frames.append(frame(_completion(script, call, number, "", None) | {"choices": [], "usage": usage}))
    return [*frames, scripts.DONE]


def embeddings_usage(script: Script, call: dict[str, Any]) -> dict[str, Any] | None:
    """The usage of embeddings: they have no output."""
    if not script.has_usage:
        return None
    if script.usage is not None:
        return script.usage
    return scripts.spoil(
        {"prompt_tokens": script.prompt_tokens, "total_tokens": script.prompt_tokens}, script.wrong_usage
    )


def embeddings(script: Script, call: dict[str, Any], number: int) -> bytes:
    """One vector per text; as numbers or, as SDKs ask for it, in base64."""
    given = call.get("input")
    texts = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    vector = [0.5, -0.25, 0.125]
    is_packed = call.get("encoding_format") == "base64"
    shown: Any = base64.b64encode(struct.pack("<3f", *vector)).decode() if is_packed else vector
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": shown} for index in range(len(texts))],
        "model": script.model or call.get("model", ""),
    }
    if (usage := embeddings_usage(script, call)) is not None:
        answer["usage"] = usage
    return msgspec.json.encode(answer)


CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip


def moderations(script: Script, call: dict[str, Any], number: int) -> bytes:
    """Nothing is flagged."""
    result = {
        "flagged": False,
        "categories": dict.fromkeys(CATEGORIES, False),
        "category_scores": dict.fromkeys(CATEGORIES, 0.01),
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
    answer = {"id": f"modr-fake{number}", "model": call.get("model") or "omni-moderation-latest", "results": [result]}
    return msgspec.json.encode(answer)


def models(script: Script, call: dict[str, Any], number: int) -> bytes:
    """The list of models."""
    return scripts.MODELS


def model(script: Script, call: dict[str, Any], number: int) -> bytes:
    """One model; its name is the end of the path."""
    told = {"id": call["_object"], "object": "model", "created": 1700000000, "owned_by": "fake"}
    return msgspec.json.encode(told)


def vllm_error(status: int) -> bytes:
    """An error as vLLM's server shapes it: OpenAI's, with a number as its code."""
    kind = VLLM_ERRORS.get(status, "InternalServerError")
    return msgspec.json.encode(
        {"error": {"message": f"the fake says {status}", "type": kind, "param": None, "code": status}}
    )
