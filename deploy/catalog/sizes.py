"""Images whose price depends on size and quality: the providers' tables, and the names the file has for one size.

litellm lists one size of such a model, or each under a name of its own (`hd/1024-x-1792/dall-e-3`) that nobody calls.
Here they are one model's sizes, `<quality>/<width>x<height>` as requests name them, or `<steps>-steps/<size>`.
"""

import re
from decimal import Decimal
from typing import Any, NamedTuple

_SIZED = re.compile(
    r"(?:(?P<quality>\w+)/)?(?P<width>\w+)-x-(?P<height>\w+)/(?:(?P<steps>\w+-steps)/)?(?:bedrock/)?(?P<model>.+)"
)
_CENT_TENTH = Decimal("0.001")

# Of images up to 512, 1024 and 2048 pixels square. The file confirms one price of each; the others were published with
# it and are not checked against today's page. Held and shown, never billed.
_TITAN = {
    "standard/512x512": Decimal("0.008"),
    "premium/512x512": Decimal("0.01"),
    "standard/1024x1024": Decimal("0.01"),
    "premium/1024x1024": Decimal("0.012"),
}
_CANVAS = {
    "standard/1024x1024": Decimal("0.04"),
    "premium/1024x1024": Decimal("0.06"),
    "standard/2048x2048": Decimal("0.06"),
    "premium/2048x2048": Decimal("0.08"),
}
# The file has one price; that it is the one of `1k` is inferred.
_GROK = {"1k": Decimal("0.05")}
# A size that is not here has no price that we know of.
SIZES: dict[tuple[str, str], dict[str, Decimal]] = {
    # As OpenAI published them; neither source lists them any more.
    ("openai", "dall-e-2"): {
        "256x256": Decimal("0.016"),
        "512x512": Decimal("0.018"),
        "1024x1024": Decimal("0.02"),
    },
    ("openai", "dall-e-3"): {
        "standard/1024x1024": Decimal("0.04"),
        "standard/1024x1792": Decimal("0.08"),
        "standard/1792x1024": Decimal("0.08"),
        "hd/1024x1024": Decimal("0.08"),
        "hd/1024x1792": Decimal("0.12"),
        "hd/1792x1024": Decimal("0.12"),
    },
    ("bedrock", "amazon.titan-image-generator-v1"): _TITAN,
    ("bedrock", "amazon.titan-image-generator-v2"): _TITAN,
    ("bedrock", "amazon.titan-image-generator-v2:0"): _TITAN,
    ("bedrock", "amazon.nova-canvas-v1:0"): _CANVAS,
    ("bedrock", "us.amazon.nova-canvas-v1:0"): _CANVAS,
    ("xai", "grok-imagine-image-pro"): _GROK,
    ("xai", "grok-imagine-image-quality"): _GROK,
    ("xai", "grok-imagine-image-quality-20260403"): _GROK,
    ("xai", "grok-imagine-image-quality-latest"): _GROK,
    # The file has the second without its quality; that it is `medium` is inferred.
    ("xai", "grok-imagine-image-2.0"): {"low/1024x1024": Decimal("0.04"), "medium/1024x1024": Decimal("0.06")},
}


class Sized(NamedTuple):
    """One size of a model."""

    model: str
    size: str
    usd: Decimal
    """0: not told."""


def read_sized(name: str, facts: dict[str, Any]) -> Sized | None:
    """What the file's name of one size stands for. None: it is a model's own name."""
    found = _SIZED.fullmatch(name)
    if found is None:
        return None
    width, height = found["width"], found["height"]
    pixels = width if width == height == "max" else f"{width}x{height}"
    size = "/".join(part for part in (found["quality"], found["steps"], pixels) if part)
    usd = facts.get("output_cost_per_image") or facts.get("input_cost_per_image")
    if not usd and facts.get("input_cost_per_pixel"):
        usd = _by_the_image(Decimal(facts["input_cost_per_pixel"]) * int(width) * int(height))
    return Sized(found["model"], size, Decimal(usd or 0))


def _by_the_image(usd: Decimal) -> Decimal:
    """Images are sold by the piece; the file rounds to a pixel. A whole $0.001 is what was meant."""
    published = usd.quantize(_CENT_TENTH)
    return published if abs(usd - published) <= usd / 2000 else usd.quantize(Decimal("0.000000001"))
