"""What an attempt is billed: upstream's own figures, else the text counted here, else what its bytes bound.

Between a wire format, which reads figures and text, and the books, which price them. Every count that stands in for
upstream's is flagged as an estimate.
"""

import msgspec

from proxy.books import Books
from proxy.core.charging import hidden_reasoning, seen_usage
from proxy.exchange import Exchange
from proxy.ports import Tokens, UpstreamRequest
from proxy.wire import Format, Stream
from proxy.wire.format import Answer, Call
from shared.usage import NO_UNITS, NO_USAGE, TokenUsage, UnitUsage

BYTES_PER_TOKEN = 4
"""Of an answer whose text cannot be counted: generous to nobody, and flagged."""


class Meter:
    """Bills answers and streams."""

    def __init__(self, *, books: Books, tokens: Tokens) -> None:
        self._books = books
        self._tokens = tokens

    def needs_count(self, x: Exchange, answer: Answer) -> bool:
        """Upstream said nothing of what the call used, and it matters."""
        return answer.usage is None and x.endpoint is not None and x.endpoint.billing == "usage"

    async def count_answer(self, request: UpstreamRequest, form: Format, call: Call, body: bytes) -> TokenUsage:
        """What a whole answer that is silent about its usage consumed, as far as text tells."""
        text = form.answer_text(body)
        output = await self._tokens.count(call.requested_model, text) if text else None
        prompt = self._prompt_text(request, form, call)
        count = await self._tokens.count(call.requested_model, prompt) if prompt else None
        output = _capped(len(body) // BYTES_PER_TOKEN if output is None else output, call)
        return seen_usage(_bounded(count, call), output)

    def bill_stream(self, x: Exchange, request: UpstreamRequest, form: Format, stream: Stream, call: Call) -> None:
        """By upstream's usage, else by what was seen. A stream that only said that it failed cost nothing."""
        if stream.usage is not None:
            self._books.bill(x, stream.usage, NO_USAGE, stream.units)
            return
        output_tokens = stream.output_tokens
        if not output_tokens and stream.is_error and stream.prompt_usage is None:
            self._books.bill_nothing(x)
            return
        text = stream.text
        counted = self._tokens.count_now(call.requested_model, text) if text else None
        if counted is not None:
            output_tokens = -(-counted * max(stream.output_chars, len(text)) // len(text))
        prompt = stream.prompt_usage
        if prompt is None:
            text = self._prompt_text(request, form, call)
            count = self._tokens.count_now(call.requested_model, text) if text else None
            prompt = TokenUsage(input=_bounded(count, call))
        self.bill_seen(x, call, _capped(output_tokens, call), prompt, stream.units)

    def bill_seen(
        self,
        x: Exchange,
        call: Call,
        output_tokens: int,
        prompt: TokenUsage | None = None,
        units: UnitUsage = NO_UNITS,
    ) -> None:
        """The prompt, what was seen, and what a reasoning model may have made before the first of it.

        Without `prompt` its bound is billed. Never awaits: callers leave.
        """
        reasoning = 0
        if x.price is not None and x.price.is_reasoning:
            until = x.first_token_at or x.upstream_done_at
            reasoning = hidden_reasoning((until - x.sent_at) / 1e9, call.output_cap)
        prompt = prompt or TokenUsage(input=call.prompt_bound)
        self._books.bill(x, None, msgspec.structs.replace(prompt, output=output_tokens, reasoning=reasoning), units)

    @staticmethod
    def _prompt_text(request: UpstreamRequest, form: Format, call: Call) -> str:
        """Empty where the prompt is not all text."""
        return "" if call.is_unbounded else form.prompt_text(request.body)


def _capped(output_tokens: int, call: Call) -> int:
    """An estimate of ours never bills more than the caller allowed."""
    return output_tokens if call.output_cap is None else min(output_tokens, call.output_cap * call.choices)


def _bounded(count: int | None, call: Call) -> int:
    return call.prompt_bound if count is None else min(count, call.prompt_bound)
