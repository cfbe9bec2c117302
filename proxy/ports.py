"""What the gateway needs of the world, as Protocols. `adapters/` implement them, `app.py` joins the two.

Every `async` method may wait; everything else returns at once and never blocks the loop.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import msgspec

from proxy.core.holds import Bounds, Hold, SettleOrder
from proxy.core.journal import OpenAttempt as OpenAttempt
from proxy.core.snapshot import CompiledKey, Snapshot
from proxy.observations import Observation
from shared.events import Event


class Clock(Protocol):
    """Time. Injected, so that tests own it."""

    def now_ms(self) -> int:
        """Wall clock, Unix milliseconds."""
        ...

    def now_us(self) -> int:
        """Wall clock, Unix microseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""
        ...


class Snapshots(Protocol):
    """The current view of keys, settings and prices."""

    @property
    def current(self) -> Snapshot:
        """One immutable view; take it once, at the door."""
        ...

    def age_seconds(self) -> float:
        """Seconds since Postgres last confirmed the view; infinite before the first load."""
        ...

    async def changed(self, seconds: float) -> bool:
        """Wait until a newer view is current, at most `seconds`. False when none came, or too many already wait."""
        ...


class Counters(Protocol):
    """The limiter (design §6)."""

    def refuse_remembered(self, key: CompiledKey) -> None:
        """Raise the Refusal that this worker got for the key in a window that has not ended. No I/O."""
        ...

    async def reserve(self, key: CompiledKey, attempt_id: str, bounds: Bounds | None) -> Hold:
        """Test every limit of the key and hold the worst case, all or nothing, in one atomic step.

        A key without limits is admitted without waiting. Raises Refusal: rate_limited, cost_limited, cost_held,
        key_exhausted, limiter_unavailable.
        """
        ...

    def settle(self, order: SettleOrder, cost_nano: int | None) -> None:
        """Turn the hold into spend: queued, batched, repeated until Redis has it. Safe to call again."""
        ...

    def void(self, order: SettleOrder) -> None:
        """The attempt never reached upstream: give everything back. Queued as `settle` is."""
        ...


class Journal(Protocol):
    """What outlives this process (design §7)."""

    def open(self, attempt: OpenAttempt, is_budgeted: bool = True) -> None:
        """Append before upstream's first byte; the record outlives this process when the call returns.

        Where the disk takes nothing more: raises Refusal journal_unavailable if the key has a limit on cost
        (`is_budgeted`), else the attempt goes on, and its event is kept in memory or told as lost.
        """
        ...

    def progress(self, attempt_id: str, output_tokens: int) -> None:
        """How many output tokens a running stream has relayed so far. Cheap enough for every chunk."""
        ...

    def close(self, event: Event, order: SettleOrder | None) -> None:
        """The attempt's event. Without a matching `open` it is appended all the same. Never raises.

        `order` None: there is nothing to settle, or the hold was voided. Call it before, or in the same turn of the
        loop as, `Counters.settle`.
        """
        ...

    def record_refusal(self, event: Event) -> None:
        """A refusal of a known key: one of the first ten of its key, kind and minute, or counted. Never raises."""
        ...


class UpstreamRequest(msgspec.Struct, frozen=True, gc=False):
    """One request to a provider, ready to send."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeout_seconds: float
    """A plain call: the whole exchange. A stream: head, and between two reads."""
    is_stream: bool


class UpstreamResponse(Protocol):
    """Upstream's answer: the head is here, the body follows. Always `close` it; closing early cuts upstream off."""

    @property
    def status(self) -> int:
        """As upstream sent it; informational ones are passed over."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    async def read(self) -> bytes:
        """The whole body. Raises UpstreamFailure when it ends early, is too large or too late."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises UpstreamFailure when it breaks off."""
        ...

    def close(self) -> None:
        """Let go: to the pool when the body was read to its end, else the connection is cut. May be called again."""
        ...


class Upstream(Protocol):
    """The way to providers."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send and wait for the head. Raises UpstreamFailure: upstream_forbidden, upstream_unreachable,
        upstream_timeout, upstream_invalid.
        """
        ...


class Objects(Protocol):
    """Whose an object is that upstream keeps (a stored response): the account's that created it, for 32 days."""

    async def owner(self, account_id: str, provider: str, object_id: str) -> str | None:
        """The provider setting that the account created it with; None: it did not. Raises Refusal limiter_unavailable
        when nobody can tell at the moment.
        """
        ...

    def remember(self, account_id: str, provider: str, object_id: str, setting_id: str) -> None:
        """Remember; the other workers know soon."""
        ...

    async def remember_now(self, account_id: str, provider: str, object_id: str, setting_id: str) -> bool:
        """Remember, and wait a little for the other workers to know too. True: they do. Never raises."""
        ...

    def forget(self, account_id: str, provider: str, object_id: str) -> None:
        """Upstream has deleted it."""
        ...


class Tokens(Protocol):
    """Counts of text, for answers that upstream reports no usage of."""

    async def count(self, model: str, text: str) -> int | None:
        """Tokens of a text of any length; None: they cannot be counted here."""
        ...

    def count_now(self, model: str, text: str) -> int | None:
        """The same at once, an estimate where the text is long."""
        ...


RawHeaders = list[tuple[bytes, bytes]]


class Downstream(Protocol):
    """The caller's side of one request."""

    @property
    def method(self) -> str:
        """Upper case."""
        ...

    @property
    def path(self) -> str:
        """`scope["path"]`: decoded, without query; what is matched and authorised."""
        ...

    @property
    def query(self) -> bytes:
        """The query string as it came, without `?`."""
        ...

    @property
    def headers(self) -> RawHeaders:
        """As they came, names in lower case."""
        ...

    @property
    def origin(self) -> bytes:
        """The Origin header; empty when absent."""
        ...

    @property
    def is_started(self) -> bool:
        """A head has gone out: no other answer is possible."""
        ...

    async def body(self, declared: bytes | None) -> bytes:
        """The whole body. Raises Refusal body_too_large, body_timeout, and CallerLeft."""
        ...

    async def answer(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """A complete answer."""
        ...

    async def start(self, status: int, headers: RawHeaders) -> None:
        """The head of a stream."""
        ...

    async def write(self, block: bytes) -> None:
        """Whole frames of a stream. Waits while the caller reads slowly; always yields to the loop."""
        ...

    async def end(self) -> None:
        """The stream is over."""
        ...

    async def left(self) -> None:
        """Return when the caller is gone. Only to be awaited once the body was read."""
        ...


class CallerLeft(Exception):  # noqa: N818 - not an error of anybody's
    """The caller's connection closed before its body was complete: nobody is there to answer."""


class Observer(Protocol):
    """Told of everything worth telling; logs and metrics are two of them."""

    def __call__(self, observation: Observation) -> None:
        """Take note. Never raises, never waits."""
        ...
