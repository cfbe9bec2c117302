"""The vocabularies are the published ones, and models are counted with theirs, as far as tiktoken knows them."""

from typing import Any

import pytest
import tiktoken.model
import tiktoken_ext.openai_public as published

from proxy.providers.encodings import DEFAULT_VOCABULARY, VOCABULARIES, VocabularyName, vocabulary_of

# gpt-oss's vocabulary is o200k_base with more special tokens, which are text here.
SAME = {"o200k_harmony": "o200k_base"}
KNOWN = {
    **tiktoken.model.MODEL_TO_ENCODING,
    **{f"{prefix}x": encoding for prefix, encoding in tiktoken.model.MODEL_PREFIX_TO_ENCODING.items()},
}


@pytest.mark.parametrize("model", [model for model, name in KNOWN.items() if SAME.get(name, name) in VOCABULARIES])
def test_a_known_model_is_counted_with_its_vocabulary(model: str) -> None:
    """As tiktoken has it."""
    assert vocabulary_of(model) == SAME.get(KNOWN[model], KNOWN[model])


@pytest.mark.parametrize(
    "model",
    [
        "gpt-5.1-mini",
        "o9",
        "chatgpt-4o-latest",
        "claude-opus-5",
        "llama-4",
        "meta/gpt-4",
        "",
        "\ud800",
        "GPT-4",
        "davinci",
    ],
)
def test_any_other_name_has_the_stand_in(model: str) -> None:
    """Newer ones, those of other makers, and what is no model at all."""
    assert vocabulary_of(model) == DEFAULT_VOCABULARY


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_vocabulary_is_what_tiktoken_pins(name: VocabularyName, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file and the same pattern; asked without the download that comes with asking."""
    asked: list[str] = []

    def note(_url: str, expected_hash: str) -> dict[Any, Any]:
        asked.append(expected_hash)
        return {}

    monkeypatch.setattr(published, "load_tiktoken_bpe", note)
    assert getattr(published, name)()["pat_str"] == VOCABULARIES[name].pattern
    assert asked == [VOCABULARIES[name].sha256]
