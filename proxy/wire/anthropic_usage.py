"""Usage as Anthropic reports it, turned into disjoint classes.

`input_tokens` excludes what was read from or written to the cache; `output_tokens` includes thinking, which
`output_tokens_details` tells apart. A stream tells its counts in pieces, each cumulative: the last of each counts.
Searches are counted in requests and billed by the piece; what they found is in `input_tokens`. Figures that cannot be
true are not trusted at all. Sources: the API reference's Usage and MessageDeltaUsage; the guides to prompt caching and
to compaction (whose own tokens are not in the totals).
"""

from typing import Annotated, Any

import msgspec

from shared.usage import NO_UNITS, TOKEN_CLASSES, TokenUsage, UnitUsage

LARGEST_COUNT = 2**53
_Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNT)]
# Steps of a call whose tokens the totals hold; those of any other are billed on top of them.
_STEPS_IN_TOTALS = frozenset({"message", "fallback_message"})
FAST = "fast"
# What `inference_geo` says where no region was asked for, or there is none to ask for.
_ANYWHERE = frozenset({"global", "not_available"})


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: _Count | None = None
    ephemeral_1h_input_tokens: _Count | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: _Count | None = None


class _Counts(msgspec.Struct, gc=False):
    input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens: _Count | None = None
    output_tokens_details: _OutputDetails | None = None


class _ServerTools(msgspec.Struct, gc=False):
    web_search_requests: _Count | None = None


class _Step(_Counts, gc=False):
    type: str | None = None


class UsageCounts(_Counts, gc=False):
    """A `usage` member, or several of a stream laid over each other."""

    iterations: list[_Step] | None = None
    server_tool_use: _ServerTools | None = None
    service_tier: Any = None
    speed: Any = None
    inference_geo: Any = None

    def update(self, later: "UsageCounts") -> None:
        """Take over every figure that `later` tells."""
        for name in self.__struct_fields__:
            value = getattr(later, name)
            if value is not None:
                setattr(self, name, value)


_counts_decoder = msgspec.json.Decoder(UsageCounts)

MISSING = "upstream reported no usage"


def read_counts(raw: bytes | msgspec.Raw) -> tuple[UsageCounts | None, str]:
    """The figures in the JSON of a `usage` member (b"" or null: none), or None and why."""
    if not raw or bytes(raw) == b"null":
        return None, MISSING
    try:
        return _counts_decoder.decode(raw), ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, f"usage is not to be trusted: {error}"


def usage_of(counts: UsageCounts) -> tuple[TokenUsage | None, str]:
    """The usage that complete figures tell, or None and why."""
    usage, why = _classes(counts)
    for step in counts.iterations or ():
        if usage is not None and step.type not in _STEPS_IN_TOTALS:
            extra, why = _classes(step)
            usage = extra and _sum(usage, extra)
    return usage, why


def _sum(one: TokenUsage, other: TokenUsage) -> TokenUsage:
    return TokenUsage(**{name: getattr(one, name) + getattr(other, name) for name in TOKEN_CLASSES})


def prompt_of(counts: UsageCounts) -> TokenUsage | None:
    """What went in, where only that is known. None: not even that."""
    if counts.input_tokens is None:
        return None
    five_minutes, hour = _written(counts)
    return TokenUsage(
        input=counts.input_tokens,
        cached_input=counts.cache_read_input_tokens or 0,
        cache_write_5m=five_minutes,
        cache_write_1h=hour,
    )


def _classes(counts: _Counts) -> tuple[TokenUsage | None, str]:
    if counts.input_tokens is None or counts.output_tokens is None:
        return None, "usage is not to be trusted: it lacks input_tokens or output_tokens"
    thinking = (counts.output_tokens_details and counts.output_tokens_details.thinking_tokens) or 0
    if thinking > counts.output_tokens:
        return None, "usage is not to be trusted: a part of output_tokens is larger than the whole"
    five_minutes, hour = _written(counts)
    return TokenUsage(
        input=counts.input_tokens,
        cached_input=counts.cache_read_input_tokens or 0,
        cache_write_5m=five_minutes,
        cache_write_1h=hour,
        output=counts.output_tokens - thinking,
        reasoning=thinking,
    ), ""


def _written(counts: _Counts) -> tuple[int, int]:
    """Tokens written to the cache for five minutes and for an hour.

    Where the total is larger than its parts, as when a stream's end tells only a total that has grown, the rest is
    taken for what costs more, of what the call has written at all.
    """
    parts = counts.cache_creation or _CacheCreation()
    five_minutes, hour = parts.ephemeral_5m_input_tokens or 0, parts.ephemeral_1h_input_tokens or 0
    rest = max((counts.cache_creation_input_tokens or 0) - five_minutes - hour, 0)
    return (five_minutes, hour + rest) if hour else (five_minutes + rest, 0)


def units_of(counts: UsageCounts) -> UnitUsage:
    """What is billed by the piece; a page that was fetched is not."""
    searches = (counts.server_tool_use and counts.server_tool_use.web_search_requests) or 0
    return UnitUsage(searches=searches) if searches else NO_UNITS


def tier_of(counts: UsageCounts) -> str:
    """The tier that was served, as prices name it."""
    facts = (counts.service_tier, counts.speed, counts.inference_geo)
    return price_tier(*[fact if type(fact) is str else "" for fact in facts])


def price_tier(tier: str, speed: str, region: str) -> str:
    """One name for all three, as `shared.prices` has them: a region goes in front, a speed in place of a tier."""
    name = FAST if speed == FAST else tier
    if not region or region in _ANYWHERE:
        return name
    return f"{region}-{name}" if name else region
