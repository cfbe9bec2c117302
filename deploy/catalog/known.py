"""Prices on which our two sources differ, looked at by a person, each row with the reason why ours stays."""

import re
from typing import NamedTuple

from deploy.catalog.genai import Fact


class Known(NamedTuple):
    """Models whose prices differ for one reason."""

    models: re.Pattern[str]
    """Of `<provider>/<model>`, whole."""
    reason: str
    classes: frozenset[str] = frozenset()
    """Empty: all."""


def _known(models: str, reason: str, *classes: str) -> Known:
    return Known(re.compile(models), reason, frozenset(classes))


KNOWN = (
    _known(
        r"bedrock/[a-z]+(-[a-z]+)+-\d/.*",
        "AWS lists this region apart; genai-prices takes the name for the model's in its first region",
    ),
    _known(
        r"bedrock/(us-gov|apac|in)\..*|bedrock/(eu|jp)\.(amazon|meta)\..*",
        "AWS lists this geography apart; genai-prices takes the name for the model's in the US",
    ),
    _known(
        r"azure/(eu|us)/o4-mini(-2025-04-16)?",
        "a data zone costs 10 % more; genai-prices takes the name for the global one",
    ),
    _known(
        r"azure/(ada|text-embedding-.*)",
        "Azure sells these in one region and globally under one name; ours is the region's price, the dearer one",
        "input",
    ),
    _known(
        r"deepseek/deepseek-(flash|v4-flash|v4-flash-vision-exp|v4-pro)",
        "DeepSeek halves its prices outside peak hours; ours is the peak's, never too little",
    ),
    _known(
        r"deepseek/deepseek-(chat|reasoner|r1|v3\.2)",
        "retired: ours is the last price that DeepSeek listed, without the discount at night of the time before",
    ),
    _known(r"mistral/mistral-embed(-2312)?", "embeddings write nothing, so they have no price for it", "output"),
    _known(r"mistral/magistral-medium-latest", "retired: the name is answered by Mistral Medium 3.5, at its price"),
    _known(r"mistral/magistral-small-latest", "retired: the name is answered by Mistral Small 4, at its price"),
    _known(r"mistral/mistral-large-latest", "the name has moved on to Mistral Large 3; theirs is that of Large 2"),
    _known(r"mistral/mistral-medium", "the name has moved on to Mistral Medium 3.5; theirs is that of Medium 3.1"),
    _known(r"mistral/open-mistral-nemo", "retired and no longer on Mistral's page: the dearer of two old prices"),
    _known(
        r"openai/gpt-4o(-mini)?-transcribe(-diarize)?",
        "the model's own page lists one price for all that goes in; theirs is from before",
        "audio_input",
    ),
    _known(r"xai/grok-code-fast(-1(-0825)?)?", "retired: xAI's API lists the name at the price of its successor"),
)


def reason_for(provider: str, model: str, fact: Fact) -> str:
    """Why this price may differ. Empty: no one has looked at it."""
    for known in KNOWN:
        if known.models.fullmatch(f"{provider}/{model}") and (not known.classes or fact[2] in known.classes):
            return known.reason
    return ""
