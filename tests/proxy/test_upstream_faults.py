"""Exchanges with upstream that go wrong, through both clients, on real sockets: every one ends, and is named."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator

import pytest

from proxy.adapters.tasks import Tasks
from proxy.ports import UpstreamRequest
from shared.errors import UpstreamFailure
from tests.fakes import scripts
from tests.fakes.scripts import override
from tests.fakes.upstream import NAMED, FakeUpstream, Script
from tests.upstream_calls import CLIENTS, Client, chat, kind_of_failure, opened, pieces, whole

TASKS = Tasks(lambda observation: None)


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@pytest.fixture(params=CLIENTS)
async def upstream(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with opened(request.param) as client:
        yield client


@pytest.mark.parametrize("how", ["rst", "fin"])
@pytest.mark.parametrize("after", range(-1, 8))
async def test_a_stream_that_is_cut_fails_after_what_was_sent(
    fake: FakeUpstream, upstream: Client, after: int, how: str
) -> None:
    """At every event: what came before the cut is delivered, then the failure, at once."""
    fake.next(override(Script(), {"cut_after": after, "cut_with": how}))
    started = time.monotonic()
    found, failure = await pieces(upstream, chat(fake.url, stream=True))
    assert failure == "upstream_cut"
    assert time.monotonic() - started < 1
    frames = scripts.events(Script(), {"model": "gpt-4o-mini"}, 1)
    assert b"".join(found) == b"".join(frames[: max(after, 0)])


@pytest.mark.parametrize("how", ["rst", "fin"])
@pytest.mark.parametrize("after", [-1, 0, 1, 200, 482])
async def test_a_plain_answer_that_is_cut_fails(fake: FakeUpstream, upstream: Client, after: int, how: str) -> None:
    """A part of a body is never taken for a body."""
    fake.next(override(Script(), {"cut_after": after, "cut_with": how}))
    assert await kind_of_failure(upstream, chat(fake.url)) == "upstream_cut"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("after", [-1, 0, 1, 3])
async def test_silence_ends_the_call(fake: FakeUpstream, upstream: Client, after: int, stream: bool) -> None:
    """Before the head, after it, and in the body; upstream sees us leave."""
    fake.next(Script(stall_after=after))
    started = time.monotonic()
    assert await kind_of_failure(upstream, chat(fake.url, stream=stream, seconds=0.2)) == "upstream_timeout"
    assert 0.15 < time.monotonic() - started < 0.6
    await fake.until(lambda it: it.calls[0].hung_up)


async def test_a_stream_is_timed_between_reads_a_plain_call_as_a_whole(fake: FakeUpstream, upstream: Client) -> None:
    """A stream may last longer than its timeout as long as it keeps talking."""
    slow = Script(events=8, interval=0.1)
    fake.next(slow, Script(raw=(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", *[b"x"] * 9), interval=0.1))
    found, failure = await pieces(upstream, chat(fake.url, stream=True, seconds=0.5))
    assert (failure, len(b"".join(found)) > 1000) == (None, True)
    assert await kind_of_failure(upstream, chat(fake.url, seconds=0.5)) == "upstream_timeout"


async def test_a_head_that_trickles_in_is_timed_as_a_whole(fake: FakeUpstream, upstream: Client) -> None:
    """Each byte in time, the head never: that is too slow, for a stream as well."""
    fake.next(Script(raw=tuple(b"%c" % byte for byte in b"HTTP/1.1 200 OK\r\nx: " + b"y" * 99), interval=0.05))
    started = time.monotonic()
    assert await kind_of_failure(upstream, chat(fake.url, stream=True, seconds=0.3)) == "upstream_timeout"
    assert time.monotonic() - started < 0.8


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("garbage", {"upstream_invalid"}),
        ("bad_chunk", {"upstream_invalid"}),
        ("bad_chunk_later", {"upstream_invalid"}),
        ("huge_header", {"upstream_invalid"}),
        ("many_headers", {"upstream_invalid"}),
        ("short_length", {"upstream_cut"}),
        ("long_body", {"upstream_invalid", None}),
    ],
)
async def test_answers_that_are_not_http(
    fake: FakeUpstream, upstream: Client, name: str, kinds: set[str | None], stream: bool
) -> None:
    """Each fails at once, in bounded memory, and its connection is not used again."""
    await whole(upstream, chat(fake.url))
    fake.next(NAMED[name])
    started = time.monotonic()
    assert await kind_of_failure(upstream, chat(fake.url, stream=stream)) in kinds
    assert time.monotonic() - started < 1
    await whole(upstream, chat(fake.url))
    assert fake.connections == 2


RAW = [
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nsecret",
    b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nhello!",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\n\x00: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 99999 OK\r\n\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"\r\n\r\n\r\n\r\nnot http",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"HTTP/1.1 200 OK\r\nx: y",
    b"",
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
async def test_malformed_heads_fail(fake: FakeUpstream, upstream: Client, raw: bytes, stream: bool) -> None:
    """None is taken for an answer, none hangs."""
    fake.next(Script(raw=raw))
    failure = await kind_of_failure(upstream, chat(fake.url, stream=stream))
    assert failure in ("upstream_invalid", "upstream_cut")


async def test_what_may_have_been_done_is_never_asked_twice(fake: FakeUpstream, upstream: Client) -> None:
    """A POST whose connection breaks is not sent again, not even on a used connection; a GET is, once."""
    await whole(upstream, chat(fake.url))
    fake.next(Script(cut_after=-1))
    assert await kind_of_failure(upstream, chat(fake.url)) == "upstream_cut"
    assert len(fake.calls) == 2
    await whole(upstream, chat(fake.url))
    fake.next(Script(cut_after=-1))
    response, _ = await whole(upstream, chat(fake.url, method="GET", path="/v1/models"))
    assert (response.status, len(fake.calls)) == (200, 5)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_call_hangs_up(fake: FakeUpstream, upstream: Client, stream: bool) -> None:
    """While it waits for the head: upstream sees it within 250 ms."""
    fake.next(Script(stall_after=-1))
    task = TASKS.spawn(whole(upstream, chat(fake.url, stream=stream, seconds=30)), "call")
    await fake.until(lambda it: it.calls)
    task.cancel()
    cancelled = time.time()
    with pytest.raises(asyncio.CancelledError):
        await task
    await fake.until(lambda it: it.calls[0].hung_up)
    assert fake.calls[0].ended is not None
    assert fake.calls[0].ended - cancelled < 0.25


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_stream_that_is_left_hangs_up(fake: FakeUpstream, upstream: Client, cancels: bool) -> None:
    """In the middle, by cancelling or by closing: upstream sees it within 250 ms, the connection is not used again."""
    fake.next(Script(events=1000, interval=0.02))
    response = await upstream.send(chat(fake.url, stream=True))
    stream = response.chunks()
    await anext(stream)
    if cancels:

        async def read_on() -> None:
            try:
                async for _ in stream:
                    pass
            finally:
                response.close()

        task = TASKS.spawn(read_on(), "read on")
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
    else:
        response.close()
    left = time.time()
    await fake.until(lambda it: it.calls[0].hung_up)
    assert fake.calls[0].ended is not None
    assert fake.calls[0].ended - left < 0.25
    await whole(upstream, chat(fake.url))
    assert fake.connections == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("closes_all", [False, True])
async def test_closing_ends_whoever_still_reads(
    fake: FakeUpstream, upstream: Client, stream: bool, closes_all: bool
) -> None:
    """Another task may close the response, or the whole client: the reader fails, it does not wait for ever."""
    fake.next(Script(stall_after=1))
    response = await upstream.send(chat(fake.url, stream=stream, seconds=30))
    reading = TASKS.spawn(response.read(), "read")
    await asyncio.sleep(0.05)
    if closes_all:
        await upstream.aclose()
    else:
        response.close()
    with pytest.raises(UpstreamFailure, match="upstream_cut"):
        await asyncio.wait_for(reading, 1)
    response.close()


async def test_an_unread_flood_does_not_fill_memory(fake: FakeUpstream, upstream: Client) -> None:
    """A caller that does not read stops upstream: what waits is bounded by our buffer and the kernel's."""
    fake.next(Script(repeat=True, batch=64, padding=1000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    response = await upstream.send(chat(fake.url, stream=True, seconds=0.3))
    await asyncio.sleep(0.5)
    sent = fake.calls[0].sent_bytes
    await asyncio.sleep(0.5)  # Longer than the timeout: silence of our own making is not upstream's.
    assert fake.calls[0].sent_bytes == sent < 16 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    stream = response.chunks()
    total = 0
    while total < 2 * sent:
        total += len(await anext(stream))
    response.close()
    await fake.until(lambda it: it.calls[0].hung_up)


async def test_an_answer_before_the_question_is_whole(upstream: Client) -> None:
    """Upstream may refuse a large body while it is still being sent; the connection is then not used again."""
    connections = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\ncontent-length: 9\r\n\r\ntoo large")
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    request = UpstreamRequest("POST", f"http://127.0.0.1:{port}/", (), b"x" * (64 << 20), 5.0, False)
    for _ in range(2):
        response, body = await whole(upstream, request)
        assert (response.status, body) == (413, b"too large")
    assert connections == 2
    server.close()
    await server.wait_closed()


async def test_an_answer_after_close_is_nobodys(fake: FakeUpstream, upstream: Client) -> None:
    """Calls that give up half-way never shift answers onto those that follow."""
    fake.default = Script(delay=0.01, events=3)

    async def one(number: int) -> None:
        request = chat(fake.url, model=f"model-{number}", stream=bool(number % 3))
        task = TASKS.spawn(whole(upstream, request), "call")
        if number % 4 == 0:
            await asyncio.sleep(0.001 * (number % 20))
            task.cancel()
            await asyncio.wait([task])
            return
        _, body = await task
        assert b'"model":"model-%d"' % number in body

    for start in range(0, 200, 20):
        await asyncio.gather(*(one(number) for number in range(start, start + 20)))
