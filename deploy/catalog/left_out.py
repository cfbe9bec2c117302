"""Why a model of the sources is not in the catalogue. A price that would be true of some calls only is not entered.

A table, the first row that fits; the generator prints which models each reason keeps out. Knows of no amounts.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

IMAGE_MODES = frozenset({"image_generation", "image_edit"})
TOKENS = ("input_cost_per_token", "output_cost_per_token")
NOT_READ = "no unit of ours counts what it is billed by"
ONE_SIZE = "the file's name for what the tokens of one size come to"
VIDEO = "billed by the second of video that is made"
UNKNOWN = "0 or nothing is listed: unknown, not free"
VIDEO_TOKENS = "tokens of video have a price of their own, and no class here"

# A file's own name for one size and quality, `<quality>/1024-x-1024/<model>`; callers and providers name the model.
_SIZED = re.compile(r"(^|/)\w+-x-\w+/")
# Of their prices by the megapixel the file lists the first.
_BY_SIZE = re.compile(r"^azure/flux\.2-")
_OWN_ROUTE = re.compile(r"^bedrock/(invoke/|(us-gov-[a-z]+-1/)?claude-)")


class LeftOut(NamedTuple):
    """Models that stay out for one reason."""

    reason: str
    fits: Callable[[str, dict[str, Any]], bool]
    """Of `<provider>/<model>` and what the file says of it."""


# Of models in the modes that tokens alone did not price before: these keep one out though it has a price.
ROWS = (
    LeftOut(ONE_SIZE, lambda name, _: bool(_SIZED.search(name))),
    LeftOut("its price depends on size, and one is listed", lambda name, _: bool(_BY_SIZE.search(name))),
    LeftOut("its text has a price too, which is not listed", lambda _, facts: any(facts.get(f) == 0 for f in TOKENS)),
    LeftOut("billed by the minute of a conversation, both ways", lambda name, _: name.endswith("/gpt-live-1")),
    LeftOut("messages of text have a price each", lambda _, facts: bool(facts.get("input_cost_per_text_message"))),
)

# Of models without a price that we can enter: what is said of them.
UNPRICED = (
    LeftOut("bought as capacity by the hour", lambda name, _: "-commitment/" in name),
    LeftOut(
        "a route of the file's own, or an id that the provider does not have", lambda n, _: bool(_OWN_ROUTE.search(n))
    ),
    LeftOut(VIDEO, lambda _, facts: facts.get("mode") == "video_generation"),
    LeftOut("billed by the query of so many documents", lambda _, facts: bool(facts.get("input_cost_per_query"))),
    LeftOut("billed by the session", lambda name, _: name.endswith("container")),
    LeftOut("billed by the song", lambda name, _: "/lyria-" in name),
    LeftOut(
        "a price of what is read, on top of the model that answers",
        lambda name, _: "model-router" in name.replace("_", "-"),
    ),
    LeftOut("billed by the second of video read and the token written", lambda name, _: "pegasus" in name),
    LeftOut(NOT_READ, lambda _, facts: facts.get("mode") in {"guardrail", "evaluation"}),
    LeftOut("of a kind that nothing here reads", lambda _, facts: all(facts.get(field) for field in TOKENS)),
    LeftOut(UNKNOWN, lambda _, __: True),
)


def why_not(rows: Iterable[LeftOut], name: str, facts: dict[str, Any]) -> str:
    """The first reason of `rows` that fits `<provider>/<model>`. Empty: none."""
    return next((row.reason for row in rows if row.fits(name, facts)), "")


# Models that only the second source lists, and names that it gives some: `<provider>/<name>` -> reason.
SECOND = (
    (re.compile(r"openai/gpt-oss-.*"), "open weights, which OpenAI does not sell; the price is another host's"),
    (
        re.compile(r"google/(claude-.*|.*/.*|.*-maas)"),
        "sold on Vertex, not by the Gemini API",
    ),
    (
        re.compile(
            r".*:(free|extended|thinking|beta)|openai/gpt-5-\d.*|openai/o\d-mini-high|xai/x-ai/.*|openai/gpt-5(\.4)?-image.*|azure/(wizardlm|mai-).*|google/gemma-2-.*"
            r"|google/gemini-(flash|pro)-1\.5.*|deepseek/deepseek-v3\.[12]-.*|mistral/mistral-small-(24b|3\.[12]-24b)-.*"
        ),
        "a reseller's name and price",
    ),
    (re.compile(r"groq/llama-3\.1-405b-reasoning"), "never sold; the price is its smaller sister's"),
    (re.compile(r"bedrock/(regional\.|claude-|/).*|openai/(ft:.*|.*\.ft-)|.*@.*"), "a rule of names, no name"),
)


def why_not_second(name: str) -> str:
    """Why a name of the second source's stays out. Empty: it does not."""
    return next((reason for names, reason in SECOND if names.fullmatch(name)), "")
