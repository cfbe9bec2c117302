"""Members that the bodies of OpenAI's APIs share: what a good value is, and how a body is edited.

Decides what is refused of a single value; which members an API has, it must not know.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import msgspec

from proxy.wire.body import BodyError, Notes, edit, find_members
from proxy.wire.format import Call
from proxy.wire.openai_usage import LONGEST_TEXT

LONGEST_USER = 512
MOST_CHOICES = 128
LARGEST_CAP = 2**31 - 1

# A token stands for at least one byte of text, and JSON never spells a text in fewer bytes than it has; so the
# body's length bounds all that the caller wrote: messages, tools, schemas.
TOKENS_PER_MESSAGE = 8
"""What a template adds around a message (role and separators, 3 to 8 tokens). The JSON around it
(`{"role":"user","content":""},`, 29 bytes) pays for it already, but it is counted again."""
TOKENS_PER_CALL = 128
"""What a model's template may add once per call (a default system prompt, the preamble to tools): it is not in the
bytes of a body, which bound all else."""


def read_model(notes: Notes) -> str:
    """The model, which must be named."""
    model = notes.get("model")
    if type(model) is not str or not model or len(model) > LONGEST_TEXT or "\x00" in model:
        raise BodyError(f"`model` must be a text of 1 to {LONGEST_TEXT} characters")
    return model


def read_flag(notes: Notes, name: str) -> bool:
    """A member that is true or false; false where it is not given, or null."""
    value = notes.get(name)
    if value is not None and type(value) is not bool:
        raise BodyError(f"`{name}` must be true or false")
    return value is True


def read_text(notes: Notes, name: str, longest: int) -> str:
    """A text; empty where it is not given, or null."""
    value = notes.get(name)
    if value is None:
        return ""
    if type(value) is not str or len(value) > longest or "\x00" in value:
        raise BodyError(f"`{name}` must be a text of at most {longest} characters")
    return value


def read_count(notes: Notes, name: str, most: int, least: int = 1) -> int | None:
    """A whole number; None where it is not given, or null."""
    value = notes.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise BodyError(f"`{name}` must be a whole number from {least} to {most}")
    return value


def read_ids(notes: Notes) -> tuple[str, ...]:
    """The ids of objects at upstream, each once."""
    ids = notes.get("object_ids", ())
    if any(not value or len(value) > LONGEST_TEXT or "\x00" in value for value in ids):
        raise BodyError(f"an id must be a text of 1 to {LONGEST_TEXT} characters")
    return tuple(dict.fromkeys(ids))


class Prompts(NamedTuple):
    """What a member holds that may be a text, a list of texts, tokens, or a list of lists of tokens."""

    number: int
    tokens: int | None
    """In all, where all came as tokens; None: in no prompt can there be more of them than bytes."""
    is_plain: bool
    """It is one of these, or not given."""


def _is_tokens(value: Any) -> bool:
    return type(value) is list and set(map(type, cast("list[Any]", value))) == {int}


def read_prompts(prompt: Any) -> Prompts:
    """What a prompt consists of; what it must not be is upstream's to say."""
    if type(prompt) is not list:
        return Prompts(1, None, prompt is None or type(prompt) is str)
    items = cast("list[Any]", prompt)
    kinds = set(map(type, items))
    if kinds <= {str}:
        return Prompts(len(items) or 1, None, True)
    if kinds == {int}:
        return Prompts(1, len(items), True)
    if kinds == {list} and all(map(_is_tokens, items)):
        return Prompts(len(items), sum(map(len, items)), True)
    return Prompts(len(items), None, all(type(item) is str or _is_tokens(item) for item in items))


def prompt_words(prompt: Any) -> str:
    """The texts of such a prompt, and for each token a word that is one token in every vocabulary."""
    tokens = read_prompts(prompt).tokens
    if tokens is not None:
        return " a" * tokens
    items = cast("list[Any]", prompt) if type(prompt) is list else [prompt]
    texts = [" a" * len(item) if _is_tokens(item) else item for item in items]
    return "\n".join([text for text in texts if type(text) is str])


def edit_call(
    call: Call,
    body: bytes,
    model: str | None,
    output_cap: int | None,
    caps: tuple[str, ...] = (),
    others: Mapping[str, bytes] | None = None,
    spans: dict[str, tuple[int, int]] | None = None,
) -> bytes:
    """The body with another model, every cap of those named `caps` lowered, and `others` set. Raises BodyError.

    Where no cap is given, the first of `caps` is. The very same bytes where nothing changes.
    """
    is_model_changed = model is not None and model != call.requested_model
    is_cap_changed = output_cap is not None and bool(caps)
    if not is_model_changed and not is_cap_changed and not others:
        return body
    if spans is None:
        spans = find_members(body)
    changes = dict(others or {})
    if is_model_changed:
        changes["model"] = msgspec.json.encode(model)
    if output_cap is not None and caps:
        changes |= _lower_caps(call, body, spans, output_cap, caps)
    return edit(body, changes, spans)


def _lower_caps(
    call: Call, body: bytes, spans: dict[str, tuple[int, int]], output_cap: int, caps: tuple[str, ...]
) -> dict[str, bytes]:
    given = {name: msgspec.json.decode(body[slice(*spans[name])]) for name in caps if name in spans}
    # A cap that stands in no body may still be known: the API's own.
    least = output_cap if call.output_cap is None else min(call.output_cap, output_cap)
    lowered = {name: cap for name, cap in given.items() if cap is not None} or {caps[0]: least}
    return {name: b"%d" % min(cap, output_cap) for name, cap in lowered.items()}
