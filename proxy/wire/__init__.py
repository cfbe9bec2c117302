"""Wire formats, sans-IO: bytes in, records and bytes out.

FORMATS is how the gateway speaks of a format without naming one. To add one: a module with these four functions, and
a row.
"""

from proxy.wire import (
    anthropic_complete,
    anthropic_count_tokens,
    anthropic_messages,
    anthropic_text,
    none,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_moderations,
    openai_object,
    openai_responses,
    openai_text,
)
from proxy.wire.format import Answer, Call, Format, Stream

__all__ = ["FORMATS", "Answer", "Call", "Format", "Stream"]

FORMATS: dict[str, Format] = {
    "none": Format(
        read_call=none.read_call,
        forward=none.forward,
        open_stream=none.open_stream,
        read_answer=none.read_answer,
    ),
    "openai_chat": Format(
        read_call=openai_chat.read_call,
        forward=openai_chat.forward,
        open_stream=openai_chat.open_stream,
        read_answer=openai_chat.read_answer,
        prompt_text=openai_text.chat_prompt,
        answer_text=openai_text.answer_text("choices"),
    ),
    "openai_completions": Format(
        read_call=openai_completions.read_call,
        forward=openai_completions.forward,
        open_stream=openai_completions.open_stream,
        read_answer=openai_chat.read_answer,
        prompt_text=openai_text.completions_prompt,
        answer_text=openai_text.answer_text("choices"),
    ),
    "openai_embeddings": Format(
        read_call=openai_embeddings.read_call,
        forward=openai_embeddings.forward,
        open_stream=none.open_stream,
        read_answer=openai_embeddings.read_answer,
        prompt_text=openai_text.embeddings_prompt,
    ),
    "openai_responses": Format(
        read_call=openai_responses.read_call,
        forward=openai_responses.forward,
        open_stream=openai_responses.open_stream,
        read_answer=openai_responses.read_answer,
        prompt_text=openai_text.responses_prompt,
        answer_text=openai_text.answer_text("output"),
    ),
    "openai_moderations": Format(
        read_call=openai_moderations.read_call,
        forward=openai_moderations.forward,
        open_stream=none.open_stream,
        read_answer=openai_object.read_answer,
    ),
    "openai_object": Format(
        read_call=openai_object.read_call,
        forward=openai_object.forward,
        open_stream=none.open_stream,
        read_answer=openai_object.read_answer,
    ),
    "anthropic_messages": Format(
        read_call=anthropic_messages.read_call,
        forward=anthropic_messages.forward,
        open_stream=anthropic_messages.open_stream,
        read_answer=anthropic_messages.read_answer,
        prompt_text=anthropic_text.prompt_text,
        answer_text=anthropic_text.answer_text,
    ),
    "anthropic_complete": Format(
        read_call=anthropic_complete.read_call,
        forward=anthropic_complete.forward,
        open_stream=anthropic_complete.open_stream,
        read_answer=anthropic_complete.read_answer,
        prompt_text=anthropic_text.prompt_text,
        answer_text=anthropic_text.answer_text,
    ),
    "anthropic_count_tokens": Format(
        read_call=anthropic_count_tokens.read_call,
        forward=anthropic_count_tokens.forward,
        open_stream=anthropic_count_tokens.open_stream,
        read_answer=anthropic_count_tokens.read_answer,
    ),
}
