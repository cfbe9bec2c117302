"""Anthropic's messages: what a call asks for, and the body that goes upstream.

Decides what is read from a body and that only its `max_tokens` and its model are ever edited. Limits, prices and keys
are unknown here.
"""

from typing import Any, cast

import msgspec

from proxy.wire.anthropic_body import OTHER_MODELS, UNBOUNDING, look
from proxy.wire.anthropic_stream import MessageStream
from proxy.wire.anthropic_usage import price_tier, read_counts, tier_of, units_of, usage_of
from proxy.wire.body import BodyError, Notes
from proxy.wire.format import Answer, Call
from proxy.wire.openai_members import LARGEST_CAP, LONGEST_USER, edit_call, read_count, read_flag, read_model, read_text
from proxy.wire.openai_usage import LONGEST_TEXT, clean_text
from shared.usage import NO_USAGE

# As for chat completions (`openai_chat`): a token stands for at least one byte of text, and what a template adds
# around a message is paid for by the JSON around it. Thinking comes back encrypted, in more bytes than it had.
TOKENS_PER_MESSAGE = 8
TOKENS_PER_CALL = 128
TOKENS_OF_INSTRUCTIONS = 1_024
"""What upstream says about tools or an output format, in its own words, above their definitions: 290 to 804 tokens
for the models of 2026 (platform.claude.com/docs/en/about-claude/pricing)."""
TOKENS_PER_IMAGE = 5_000
"""An image is scaled down to 4,784 tokens at most (build-with-claude/vision), but a plain one of that size is
compressed to a few hundred bytes: so its bytes do not bound it, and this is added to them."""

# A prompt is written to the cache only where its body says so: in a member of this name, which may be spelt with
# escapes. A text that speaks of it does no harm, it only makes the worst case worse.
_CACHE_SIGN, _ESCAPE = b"cache_control", b"\\u"
_TIER_MEMBERS = ("service_tier", "speed", "inference_geo")


def read_call(body: bytes) -> Call:
    """What the body asks for. Raises BodyError (a Refusal)."""
    notes, messages, has_instructions = look(body)
    _refuse_other_models(notes)
    budget = read_count(notes, "budget_tokens", LARGEST_CAP, least=0) if "budget_tokens" in notes else None
    bound = len(body) + TOKENS_PER_MESSAGE * messages + TOKENS_PER_CALL
    bound += TOKENS_OF_INSTRUCTIONS * has_instructions + TOKENS_PER_IMAGE * notes.get("encoded", 0)
    return Call(
        requested_model=read_model(notes),
        is_stream=read_flag(notes, "stream"),
        user_id=read_text(notes, "user_id", LONGEST_USER) if "user_id" in notes else "",
        output_cap=read_cap(notes, "max_tokens", least=0),
        least_output_cap=0 if budget is None else budget + 1,
        prompt_bound=bound,
        is_unbounded="is_unbounded" in notes or any(notes.get(name) is not None for name in UNBOUNDING),
        may_write_cache=_CACHE_SIGN in body or _ESCAPE in body,
        service_tier="" if notes.keys().isdisjoint(_TIER_MEMBERS) else _tier(notes),
        object_ids=object_ids(notes),
    )


def read_cap(notes: Notes, name: str, least: int) -> int:
    """The output cap, which must be given: upstream refuses without it, and what a call can cost hangs on it."""
    cap = read_count(notes, name, LARGEST_CAP, least)
    if cap is None:
        raise BodyError(f"`{name}` must be given")
    return cap


def _refuse_other_models(notes: Notes) -> None:
    if notes.get(OTHER_MODELS) is not None:
        raise BodyError(f"`{OTHER_MODELS}` names models that cannot be checked and priced yet")


def _tier(notes: Notes) -> str:
    """What may be served, by one name. A region that is asked for goes before the tier, which then costs no more."""
    tier, speed, region = [read_text(notes, name, LONGEST_TEXT) for name in _TIER_MEMBERS]
    asked = price_tier("", speed, region)
    return asked or tier


def object_ids(notes: Notes) -> tuple[str, ...]:
    """Files in messages, and what of upstream's a call goes on with."""
    ids: list[str] = list(notes.get("object_ids", ()))
    for value, name in ((notes.get("container"), "id"), (notes.get("thread"), "previous_message_id")):
        held = cast("dict[str, Any]", value).get(name) if type(value) is dict else value
        if type(held) is str:
            ids.append(held)
    return tuple(ids)


def forward(call: Call, body: bytes, model: str | None, output_cap: int | None) -> bytes:
    """The body for upstream: another model, a lower cap, though never too low for the thinking. Else the same bytes.

    Raises BodyError where a body that must be edited names a member twice, whichever it is.
    """
    return edit_call(call, body, model, lower_cap(call, output_cap), ("max_tokens",))


def lower_cap(call: Call, output_cap: int | None) -> int | None:
    """The cap that is to stand in the body; None: the caller's own stays."""
    if output_cap is None or call.output_cap is None:
        return None
    cap = max(output_cap, call.least_output_cap)
    return cap if cap < call.output_cap else None


class _AnswerHead(msgspec.Struct, gc=False):
    id: Any = None
    type: Any = None
    model: Any = None
    usage: msgspec.Raw = msgspec.Raw(b"")


_answer_decoder = msgspec.json.Decoder(_AnswerHead)


def read_answer(body: bytes) -> Answer:
    """What a whole answer says of itself. Never raises."""
    try:
        head = _answer_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Answer(why_no_usage=f"upstream's answer cannot be read: {error}")
    counts, why = read_counts(head.usage)
    usage, why = (None, why) if counts is None else usage_of(counts)
    if usage is None and head.type == "error":
        usage = NO_USAGE  # only an error, whatever the status says: no work was done
    response_id, model = clean_text(head.id), clean_text(head.model)
    if counts is None:
        return Answer(usage, response_id, model, why_no_usage=why)
    return Answer(usage, response_id, model, clean_text(tier_of(counts)), why, units_of(counts))


def open_stream(call: Call) -> MessageStream:
    """The watcher of a stream."""
    return MessageStream(most_output=call.output_cap)
