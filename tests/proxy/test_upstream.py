"""Exchanges with upstream that go well, through both clients, on real sockets."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from proxy.adapters import upstream_pool
from proxy.adapters.destinations import Destinations
from proxy.adapters.upstream import make_upstream
from proxy.ports import UpstreamRequest
from shared.errors import UpstreamFailure
from tests.fakes import scripts
from tests.fakes.upstream import NAMED, FakeUpstream, Script
from tests.upstream_calls import CLIENTS, Client, chat, kind_of_failure, opened, pieces, whole


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@pytest.fixture(params=CLIENTS)
async def upstream(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with opened(request.param) as client:
        yield client


def streamed(script: Script, **fields: object) -> bytes:
    """What the scripted upstream sends as its first stream."""
    return b"".join(scripts.events(script, {"model": "gpt-4o-mini", **fields}, 1))


async def test_a_plain_answer_arrives_as_it_was_sent(fake: FakeUpstream, upstream: Client) -> None:
    """Status, headers in lower case, body byte for byte; repeated headers are joined."""
    fake.next(Script(status=201, body=b'{"a": 1}', headers=(("X-Two", "a"), ("x-two", "b"), ("X-Odd", "\xe9\xff"))))
    response, body = await whole(upstream, chat(fake.url))
    assert (response.status, body) == (201, b'{"a": 1}')
    assert dict(response.headers) == {
        "content-type": "application/json",
        "x-request-id": "req_fake",
        "openai-version": "2020-10-01",
        "content-length": "8",
        "x-two": "a, b",
        "x-odd": "\xe9\xff",
    }


async def test_the_request_arrives_as_it_was_given(fake: FakeUpstream, upstream: Client) -> None:
    """Nothing is added but host and content-length: no user agent, no accept-encoding, no cookies."""
    headers = (("content-type", "application/json"), ("X-Odd", "\xc3\xa9"), ("accept-encoding", "identity"))
    request = UpstreamRequest("POST", f"{fake.url}/v1/a%2Fb?x=%20y&z", headers, b'{"\xc3\xa9": 1}', 5.0, False)
    fake.default = Script(headers=(("set-cookie", "a=b; path=/"),), status=200, body=b"{}")
    await whole(upstream, request)
    await whole(upstream, request)
    for call in fake.calls:
        assert (call.method, call.path, call.body) == ("POST", "/v1/a%2Fb?x=%20y&z", b'{"\xc3\xa9": 1}')
        assert sorted((name.lower(), value) for name, value in call.headers) == [
            ("accept-encoding", "identity"),
            ("content-length", "9"),
            ("content-type", "application/json"),
            ("host", f"127.0.0.1:{fake.port}"),
            ("x-odd", "\xc3\xa9"),
        ]


async def test_framing_headers_of_the_caller_are_dropped(fake: FakeUpstream, upstream: Client) -> None:
    """Host, length, encoding and connection are written by the client alone."""
    bad = (("Host", "evil"), ("content-length", "1"), ("Transfer-Encoding", "chunked"), ("connection", "close"),
           ("te", "trailers"), ("expect", "100-continue"), ("upgrade", "h2c"))  # fmt: skip
    for _ in range(2):
        await whole(upstream, chat(fake.url, headers=bad))
    assert fake.connections == 1
    assert {name.lower() for name, _ in fake.calls[0].headers} == {"host", "content-length"}
    assert fake.calls[0].header("host") == f"127.0.0.1:{fake.port}"


@pytest.mark.parametrize("header", [("x", "a\r\nb: c"), ("x\r\ny", "a"), ("x", "a\nb"), ("x", "a\x00b"), ("x", "a\r")])
async def test_a_header_cannot_break_out_of_its_line(
    fake: FakeUpstream, upstream: Client, header: tuple[str, str]
) -> None:
    """A control character in a header stops the request before a byte is sent."""
    assert await kind_of_failure(upstream, chat(fake.url, headers=(header,))) == "upstream_forbidden"
    assert not fake.calls


@pytest.mark.parametrize("split", [0, 1, 7, 1000])
@pytest.mark.parametrize("batch", [0, 1, 3])
async def test_a_stream_arrives_byte_for_byte(fake: FakeUpstream, upstream: Client, split: int, batch: int) -> None:
    """However upstream cuts it into HTTP chunks and packets."""
    script = Script(events=12, batch=batch, split=split)
    fake.next(script)
    options = {"include_usage": True}
    found, failure = await pieces(upstream, chat(fake.url, stream=True, stream_options=options))
    assert failure is None
    assert b"".join(found) == streamed(script, stream_options=options)
    assert all(found)


async def test_frames_that_arrive_together_come_together(fake: FakeUpstream, upstream: Client) -> None:
    """One wake-up for one read of the socket, not one for each event; and a lone event does not wait."""
    fake.next(NAMED["burst"], Script(events=3, interval=0.1))
    found, _ = await pieces(upstream, chat(fake.url, stream=True))
    assert len(found) <= 4
    started = time.monotonic()
    response = await upstream.send(chat(fake.url, stream=True))
    stream = response.chunks()
    first = await anext(stream)
    assert time.monotonic() - started < 0.09
    assert first.count(b"\n\n") == 1
    response.close()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("stream", [False, True])
async def test_every_framing_is_read(fake: FakeUpstream, upstream: Client, framing: str, stream: bool) -> None:
    """By length, in chunks, or until the connection ends."""
    fake.next(scripts.override(Script(), {"framing": framing}))
    found, failure = await pieces(upstream, chat(fake.url, stream=stream))
    assert failure is None
    expected = streamed(Script()) if stream else scripts.completion(Script(), {"model": "gpt-4o-mini"}, 1)
    assert b"".join(found) == expected


async def test_connections_are_used_again(fake: FakeUpstream, upstream: Client) -> None:
    """Plain or streamed, one after the other, all on one connection."""
    for number in range(20):
        await whole(upstream, chat(fake.url, stream=bool(number % 2)))
    assert (len(fake.calls), fake.connections) == (20, 1)


async def test_a_response_that_is_closed_unread_gives_its_connection_back(fake: FakeUpstream, upstream: Client) -> None:
    """When the answer is complete nothing is cut."""
    for _ in range(3):
        response = await upstream.send(chat(fake.url))
        response.close()
        response.close()
    assert fake.connections == 1


async def test_a_server_that_closes_idle_connections_costs_no_call(upstream: Client) -> None:
    """The next call takes a new connection."""
    async with FakeUpstream(idle_seconds=0.05) as fake:
        for _ in range(3):
            await whole(upstream, chat(fake.url))
            await fake.until(lambda it: not it.open)
            await asyncio.sleep(0.05)
        assert (len(fake.calls), fake.connections) == (3, 3)


async def test_words_spoken_while_idle_never_answer_the_next_call(fake: FakeUpstream, upstream: Client) -> None:
    """An unasked-for answer condemns its connection: it would be another caller's."""
    stray = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    fake.next(Script(raw=(stray + b"mine.", stray + b"stray"), raw_keeps_open=True))
    _, body = await whole(upstream, chat(fake.url))
    assert body == b"mine."
    await asyncio.sleep(0.08)
    response, body = await whole(upstream, chat(fake.url))
    assert b"chat.completion" in body
    assert response.headers["x-request-id"] == "req_fake"
    assert fake.connections == 2


async def test_upstream_may_ask_to_close(fake: FakeUpstream, upstream: Client) -> None:
    """`connection: close` is obeyed."""
    fake.default = Script(headers=(("connection", "close"),))
    for _ in range(2):
        await whole(upstream, chat(fake.url))
    assert fake.connections == 2


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(fake: FakeUpstream, upstream: Client, status: int) -> None:
    """204, 304 and HEAD have none, whatever their headers say, and keep their connection."""
    fake.next(Script(status=status, headers=(("content-length", "77"),) if status == 304 else (), body=b""))
    assert (await whole(upstream, chat(fake.url)))[1] == b""
    response, body = await whole(upstream, chat(fake.url, method="HEAD", path="/v1/models"))
    assert (response.status, body, int(response.headers["content-length"]) > 0) == (200, b"", True)
    assert (await whole(upstream, chat(fake.url, method="GET", path="/v1/models")))[1] == scripts.MODELS
    assert fake.connections == 1


async def test_informational_answers_are_passed_over(fake: FakeUpstream, upstream: Client) -> None:
    """100, 102 and 103 come before the answer, in one read or in several."""
    final = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nreal"
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    fake.next(
        Script(raw=early + final, raw_keeps_open=True),
        Script(raw=(early, b"HTTP/1.1 102 Processing\r\n\r\n", final), raw_keeps_open=True),
    )
    for stream in (False, True):
        response, body = await whole(upstream, chat(fake.url, stream=stream))
        assert (response.status, body) == (200, b"real")
    assert fake.connections == 1


async def test_redirects_are_relayed_not_followed(fake: FakeUpstream, upstream: Client) -> None:
    """A 3xx is an answer like any other."""
    fake.next(Script(status=307, headers=(("location", f"{fake.url}/elsewhere"),), body=b"moved"))
    response, body = await whole(upstream, chat(fake.url))
    assert (response.status, body, response.headers["location"]) == (307, b"moved", f"{fake.url}/elsewhere")
    assert len(fake.calls) == 1


async def test_an_encoded_answer_is_relayed_untouched(fake: FakeUpstream, upstream: Client) -> None:
    """Even one we did not ask to be encoded."""
    packed = gzip.compress(b"x" * 10_000)
    fake.next(Script(body=packed, headers=(("content-encoding", "gzip"),)))
    response, body = await whole(upstream, chat(fake.url))
    assert (response.headers["content-encoding"], body) == ("gzip", packed)


async def test_large_bodies_pass_both_ways(fake: FakeUpstream, upstream: Client) -> None:
    """8 MiB up, 32 MiB down, in one piece."""
    fake.next(Script(body=b"d" * (32 << 20)))
    _, body = await whole(upstream, chat(fake.url, padding="u" * (8 << 20)))
    assert body == b"d" * (32 << 20)
    assert fake.calls[0].json["padding"] == "u" * (8 << 20)


async def test_a_plain_answer_has_a_largest_size(fake: FakeUpstream, upstream: Client) -> None:
    """Beyond it the connection is cut and the call fails."""
    fake.next(Script(body=b"d" * (upstream_pool.MAX_BODY_BYTES + (8 << 20))))
    assert await kind_of_failure(upstream, chat(fake.url)) == "upstream_invalid"
    await whole(upstream, chat(fake.url))
    assert fake.connections == 2


async def test_two_hundred_calls_at_once(fake: FakeUpstream, upstream: Client) -> None:
    """There is no cap on connections, and every answer finds its own caller."""
    fake.default = Script(delay=0.3)
    started = time.monotonic()
    answers = await asyncio.gather(
        *(whole(upstream, chat(fake.url, model=f"m{number}", stream=bool(number % 2))) for number in range(200))
    )
    assert time.monotonic() - started < 5
    assert all(b'"model":"m%d"' % number in body for number, (_, body) in enumerate(answers))
    assert fake.connections == 200


@pytest.mark.parametrize("client", CLIENTS)
async def test_proxies_of_the_environment_are_ignored(
    fake: FakeUpstream, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where requests go is said by our own settings only."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with opened(client) as upstream:
        assert (await whole(upstream, chat(fake.url)))[0].status == 200


async def test_the_lean_client_is_picked_where_it_works() -> None:
    """With the aiohttp of the lock file, the check at start passes."""
    choice = await make_upstream(Destinations())
    assert (choice.upstream.name, choice.reason) == ("lean", "")
    await choice.upstream.aclose()


async def test_another_aiohttp_means_client_session(fake: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lean client is not even tried with a minor release that it was not written for."""
    monkeypatch.setattr(aiohttp, "__version__", "3.15.0")
    choice = await make_upstream(Destinations())
    assert (choice.upstream.name, choice.reason) == ("client_session", "aiohttp 3.15.0 is not 3.14.x")
    await choice.upstream.aclose()


def _loses_bytes(self: ResponseHandler, data: bytes) -> None:
    _loses_bytes.original(self, data.replace(b"hello", b"jello"))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "broken"),
    [("set_response_params", lambda self: None), ("_on_read_timeout", None), ("data_received", _loses_bytes)],
)
async def test_changed_internals_mean_client_session(
    name: str, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Internals that moved, or answer differently, are noticed by the check."""
    _loses_bytes.original = ResponseHandler.data_received  # type: ignore[attr-defined]
    if broken is None:
        monkeypatch.delattr(ResponseHandler, name)
    else:
        monkeypatch.setattr(ResponseHandler, name, broken)
    choice = await make_upstream(Destinations())
    assert choice.upstream.name == "client_session"
    assert choice.reason
    await choice.upstream.aclose()


async def test_failures_say_nothing_about_where(upstream: Client) -> None:
    """Their sentences are for callers: no host, no address, no port."""
    with pytest.raises(UpstreamFailure) as raised:
        await upstream.send(chat("http://127.0.0.1:1"))
    assert raised.value.kind == "upstream_unreachable"
    assert "127" not in raised.value.message
    assert raised.value.__cause__ is not None
