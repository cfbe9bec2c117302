"""Which vocabulary counts a model's tokens: names as data. Counting itself is proxy/adapters/tokens.py.

A count made here only ever stands in for a usage that upstream did not report, and is flagged as an estimate. Models
of other makers have vocabularies of their own, which are not published with their APIs: DEFAULT_VOCABULARY is the
nearest thing to be had. To add a model that is older than it: a row in VOCABULARY_BY_PREFIX.
"""

from typing import Literal

import msgspec

VocabularyName = Literal["o200k_base", "cl100k_base"]

# What tiktoken 0.14 says of published models (tiktoken/model.py), the first row that fits; a test holds it to that.
# Names as they are asked for: fine-tuned ones begin with `ft:`, Azure's usual deployment name is gpt-35-turbo.
VOCABULARY_BY_PREFIX: tuple[tuple[str, VocabularyName], ...] = (
    ("gpt-4o", "o200k_base"),
    ("gpt-4.", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-3.5", "cl100k_base"),
    ("gpt-35", "cl100k_base"),
    ("text-embedding-3-", "cl100k_base"),
    ("text-embedding-ada-002", "cl100k_base"),
    ("davinci-002", "cl100k_base"),
    ("babbage-002", "cl100k_base"),
)
DEFAULT_VOCABULARY: VocabularyName = "o200k_base"


class Vocabulary(msgspec.Struct, frozen=True):
    """A published byte pair encoding."""

    sha256: str
    """Of its file, `<base64 token> <rank>` a line, as tiktoken pins it."""
    pattern: str
    """How a text is split before pairs are merged."""


VOCABULARIES: dict[VocabularyName, Vocabulary] = {
    "cl100k_base": Vocabulary(
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
            r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
        ),
    ),
    "o200k_base": Vocabulary(
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern="|".join(
            (
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            )
        ),
    ),
}


def vocabulary_of(model: str) -> VocabularyName:
    """The vocabulary that counts a model's tokens, its own or a stand-in."""
    name = model.removeprefix("ft:")
    for prefix, vocabulary in VOCABULARY_BY_PREFIX:
        if name.startswith(prefix):
            return vocabulary
    return DEFAULT_VOCABULARY
