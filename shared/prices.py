"""What one model costs: a rate per token class, service tier and prompt length, resolved once for the request path.

Rates are integer nano-USD per million tokens, or per UNIT_PARTS of what `UnitUsage` counts. Everything that can be
missing in a catalogue (a class, a tier, a tier of long prompts) is filled in here, always with the dearest thing it
could be, so that a look-up never fails and never bills less than what is known. Knows nothing of files, dates, settings
or bodies.
"""

from collections.abc import Iterable, Mapping

import msgspec

from shared.usage import COMPLETION_CLASSES, NO_UNITS, NO_USAGE, PROMPT_CLASSES, TOKEN_CLASSES, TokenUsage, UnitUsage

Table = Mapping[str, int]
"""Token class -> nano-USD per million tokens; `input` and `output` at least, unless it is a tier's."""

FALLBACKS: dict[str, tuple[str, ...]] = {
    "cached_input": ("input",),
    "cache_write_5m": ("input",),
    "cache_write_1h": ("cache_write_5m", "input"),
    "audio_input": ("input",),
    "reasoning": ("output",),
    "audio_output": ("output",),
}
"""What a class without a price of its own is billed as, the first that has one."""

UNIT_PARTS = 18_000_000
"""The smallest number that both a million tokens and the milliseconds of an hour divide: what costs by either is added
as integers, and rounded once."""

_UNWRITTEN_CLASSES = tuple(name for name in PROMPT_CLASSES if not name.startswith("cache_write"))

DEFAULT_TIER = "default"

# What an answer's service tier is billed as: the first of the row that the model has a price for. A tier without such
# a price, or newer than this table, is billed at the model's dearest. Where an answer also says that it was made in
# one region alone (Anthropic's `inference_geo`), the tier is told with that in front: `us`, `us-fast`, `us-batch`.
BILLED_TIERS: dict[str, tuple[str, ...]] = {
    "": (DEFAULT_TIER,),
    "auto": (DEFAULT_TIER,),
    "default": (DEFAULT_TIER,),
    "standard": (DEFAULT_TIER,),
    # Bought in advance; what goes beyond it is answered as `default`.
    "scale": (DEFAULT_TIER,),
    "flex": ("flex", DEFAULT_TIER),
    "batch": ("batch", DEFAULT_TIER),
    "priority": ("priority",),
    # At OpenAI the newer name of priority, since 2026-07-30, and answers carry either; at Anthropic a speed.
    "fast": ("fast", "priority"),
    "us": ("us", DEFAULT_TIER),
    "us-standard": ("us", DEFAULT_TIER),
    "us-batch": ("us-batch", "batch", DEFAULT_TIER),
    "us-priority": ("us-priority", "us", "priority", DEFAULT_TIER),
    "us-fast": ("us-fast", "fast", "priority"),
}

# Which tiers a body's `service_tier` can end up in. Absent and `auto` mean the project's default, which its owner
# may have set to priority, as that of a workspace to one region: the body alone does not tell, so all count. A tier
# that is full falls back to default. A name that is not here can end up in any.
TRIGGERED_TIERS: dict[str, tuple[str, ...]] = {
    "": (DEFAULT_TIER, "priority", "us"),
    "auto": (DEFAULT_TIER, "priority", "us"),
    "standard_only": (DEFAULT_TIER, "us"),
    "default": (DEFAULT_TIER,),
    "flex": (DEFAULT_TIER, "flex"),
    "batch": (DEFAULT_TIER, "batch", "us-batch"),
    "priority": (DEFAULT_TIER, "priority"),
    "fast": (DEFAULT_TIER, "priority", "fast", "us-fast"),
    "us": (DEFAULT_TIER, "us"),
    "us-fast": (DEFAULT_TIER, "us", "us-fast"),
}


class Rates(msgspec.Struct, frozen=True, gc=False):
    """One rate per token class, none missing."""

    input: int
    cached_input: int
    cache_write_5m: int
    cache_write_1h: int
    audio_input: int
    output: int
    reasoning: int
    audio_output: int


class Extremes(msgspec.Struct, frozen=True, gc=False):
    """The dearest and the cheapest that a call may meet."""

    dearest_prompt: int
    dearest_unwritten_prompt: int
    """The same where nothing of the prompt can be written to a cache."""
    dearest_output: int
    cheapest_prompt: int


class Band(msgspec.Struct, frozen=True, gc=False):
    """The rates of prompts longer than `above` tokens; they hold for the whole call, output too."""

    above: int
    billed: dict[str, Rates]
    """Tier, as answers name it -> rates."""
    unlisted: Rates
    """For any other tier: the dearest of all, class by class."""
    triggered: dict[str, Extremes]
    """Tier, as bodies name it -> what a prompt of at most this band's length can meet, shorter bands included."""
    unlisted_extremes: Extremes


class Price(msgspec.Struct, frozen=True, gc=False):
    """What a model costs from some day on."""

    model: str
    """The catalogue's name; for a fine-tuned model that of its base, `ft:gpt-4o-2024-08-06`."""
    version: str
    """Names the price list; on every event."""
    bands: tuple[Band, ...]
    """Longest prompts first; the last one is above -1, so every prompt is in one."""
    max_input: int | None = None
    max_output: int | None = None
    is_reasoning: bool = False
    per_call_nano: int = 0
    """Added once to every answered call: models that search the web each time."""
    units: tuple[tuple[str, int], ...] = ()
    """Class of `UnitUsage` -> nano-USD per UNIT_PARTS of what it counts."""
    is_by_token: bool = True
    """False: tokens of this model have no price, whatever its rates say (they are 0)."""

    def covers(self, usage: TokenUsage, units: UnitUsage = NO_UNITS) -> bool:
        """True when all of it has a price. What has none makes the cost unknown, never 0."""
        if not self.is_by_token and usage != NO_USAGE:
            return False
        if units is NO_UNITS:
            return True
        priced = {name for name, _ in self.units}
        return all(name in priced or not getattr(units, name) for name in units.__struct_fields__)

    def band(self, prompt_tokens: int) -> Band:
        """The band of a prompt of that length."""
        for band in self.bands:
            if prompt_tokens > band.above:
                return band
        return self.bands[-1]

    def rates(self, tier: str = "", prompt_tokens: int = 0) -> Rates:
        """What tokens cost in the tier that the answer names (empty: it names none)."""
        band = self.band(prompt_tokens)
        return band.billed.get(tier, band.unlisted)

    def extremes(self, tier: str = "", prompt_bound: int = 0) -> Extremes:
        """What tokens may cost for a body that names this tier (empty: none) and a prompt of at most that length."""
        band = self.band(prompt_bound)
        return band.triggered.get(tier, band.unlisted_extremes)

    def dearest_prompt_price(self, tier: str = "", prompt_bound: int = 0) -> int:
        """The dearest rate of any prompt token, over the classes and tiers the body can trigger."""
        return self.extremes(tier, prompt_bound).dearest_prompt

    def dearest_output_price(self, tier: str = "", prompt_bound: int = 0) -> int:
        """The same of any completion token."""
        return self.extremes(tier, prompt_bound).dearest_output


class PriceTables(msgspec.Struct, frozen=True):
    """The prices of one model as a catalogue lists them, before anything is filled in."""

    above: int
    default: Table
    tiers: Mapping[str, Table]


def flat_price(
    model: str,
    version: str,
    prompt: int,
    completion: int,
    *,
    max_input: int | None = None,
    max_output: int | None = None,
    is_reasoning: bool = False,
) -> Price:
    """A price with one rate for everything that goes in and one for everything that comes out."""
    bands = compile_bands([PriceTables(-1, {"input": prompt, "output": completion}, {})])
    return Price(model, version, bands, max_input, max_output, is_reasoning)


def compile_bands(tables: list[PriceTables]) -> tuple[Band, ...]:
    """The bands of a model, longest prompts first. The first of `tables` is the one for every prompt."""
    tiers = sorted({tier for band in tables for tier in band.tiers} | {DEFAULT_TIER})
    base = tables[0]
    shorter: list[dict[str, Rates]] = []
    bands: list[Band] = []
    for band in sorted(tables, key=lambda t: t.above):
        rates: dict[str, Rates] = {}
        for tier in tiers:
            floors = [band.default, base.tiers.get(tier, {}), base.default]
            own = band.default if tier == DEFAULT_TIER else band.tiers.get(tier)
            if own is None and tier not in base.tiers:
                continue
            rates[tier] = _fill(own or {}, [floor for floor in floors if floor is not own and floor])
        shorter.append(rates)
        bands.append(_band(band.above, rates, shorter))
    return tuple(reversed(bands))


def _fill(own: Table, floors: list[Table]) -> Rates:
    """Every class: its own price, else the dearest of its fallback and of what the other tables list for it."""
    rates = {name: _rate(name, own, floors) for name in TOKEN_CLASSES}
    if "cache_write_1h" not in own:  # what lasts longer is not written for less
        rates["cache_write_1h"] = max(rates["cache_write_1h"], rates["cache_write_5m"])
    return Rates(**rates)


def _rate(name: str, own: Table, floors: Iterable[Table]) -> int:
    if name in own:
        return own[name]
    candidates = [own[near] for near in FALLBACKS.get(name, ()) if near in own][:1]
    candidates += [floor[name] for floor in floors if name in floor]
    if not candidates:
        # A tier's table may hold too little to tell; a standard one has both directions.
        nearer = FALLBACKS.get(name, ())
        candidates = [_rate(name, floor, ()) for floor in floors if any(near in floor for near in nearer)]
    return max(candidates)


def _band(above: int, rates: dict[str, Rates], shorter: list[dict[str, Rates]]) -> Band:
    billed = dict(rates)
    for name, tiers in BILLED_TIERS.items():
        known = [rates[tier] for tier in tiers if tier in rates]
        if known:
            billed[name] = known[0]
    triggered = {
        name: _extremes(band[tier] for band in shorter for tier in tiers if tier in band)
        for name, tiers in TRIGGERED_TIERS.items()
    }
    return Band(
        above=above,
        billed=billed,
        unlisted=Rates(*(max(getattr(r, name) for r in rates.values()) for name in TOKEN_CLASSES)),
        triggered=triggered,
        unlisted_extremes=_extremes(r for band in shorter for r in band.values()),
    )


def _extremes(rates: Iterable[Rates]) -> Extremes:
    every = list(rates)
    prompt = [getattr(r, name) for r in every for name in PROMPT_CLASSES]
    return Extremes(
        dearest_prompt=max(prompt),
        dearest_unwritten_prompt=max(getattr(r, name) for r in every for name in _UNWRITTEN_CLASSES),
        dearest_output=max(getattr(r, name) for r in every for name in COMPLETION_CLASSES),
        cheapest_prompt=min(prompt),
    )
