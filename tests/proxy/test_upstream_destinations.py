"""Where upstream requests may not go: every try is refused, not one reaches the canary."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.adapters.destinations import Destinations, is_local
from tests.fakes.upstream import FakeUpstream, Script
from tests.upstream_calls import CLIENTS, chat, kind_of_failure, opened, pieces, whole


class Canary:
    """A listener on every address of this machine. It must stay alone."""

    def __init__(self) -> None:
        self.visits = 0
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.close()


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    listener = Canary()
    both = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server = await asyncio.start_server(listener, sock=both)
    listener.port = both.getsockname()[1]
    yield listener
    server.close()
    await server.wait_closed()


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return request.param


HOSTS = [
    "127.0.0.1", "127.0.0.2", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1",
    "017700000001",    "127.0.0.1.", "127.000.000.001", "0", "0.0.0.0", "0x0", "00.0.0.0", "localhost", "LOCALHOST",
    "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[::ffff:0.0.0.0]", "[::1%25lo]", "[::1%lo]",
    "[fe80::1%25lo]", "user@127.0.0.1", "example.com@127.0.0.1", "127.0.0.1\\@example.com", "127.0.0.1#@example.com",
    "%31%32%37.0.0.1", "\u2460\u2461\u2466.0.0.1", "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021",
    "169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "10.0.0.1", "192.168.0.1", "172.16.0.1",
    "198.18.0.1", "224.0.0.1", "255.255.255.255", "[fe80::1]", "[fc00::1]", "[ff02::1]",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
async def test_no_spelling_reaches_a_private_address(canary: Canary, client: str, host: str) -> None:
    """More than fifty ways to say here, or next door."""
    async with opened(client, networks=()) as upstream:
        for scheme in ("http", "https"):
            request = chat(f"{scheme}://{host}:{canary.port}", seconds=1.0)
            assert await kind_of_failure(upstream, request) == "upstream_forbidden"
    assert canary.visits == 0


NAMED = [
    ["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["0.0.0.0"], ["::"], ["10.0.0.1"], ["169.254.169.254"],
    ["fd00:ec2::254"], ["100.64.0.1"], ["fe80::1"], ["64:ff9b::7f00:1"], ["2002:7f00:1::"],
    ["127.0.0.1", "93.184.216.34"], ["93.184.216.34", "127.0.0.1"], ["93.184.216.34", "::1"],
]  # fmt: skip


@pytest.mark.parametrize("addresses", NAMED, ids=",".join)
async def test_no_name_leads_to_a_private_address(canary: Canary, client: str, addresses: list[str]) -> None:
    """Every address of the answer is judged; one bad one condemns the name."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    async with opened(client, networks=(), resolve=resolve) as upstream:
        url = f"http://innocent.example:{canary.port}"
        for _ in range(2):
            assert await kind_of_failure(upstream, chat(url)) == "upstream_forbidden"
    assert canary.visits == 0


async def test_a_name_is_resolved_once_and_that_address_is_called(
    fake: FakeUpstream, canary: Canary, client: str
) -> None:
    """What is judged is what is called: a resolver that changes its mind gets one question per connection, not two."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    asked: list[tuple[str, int]] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return answers[min(len(asked), len(answers)) - 1]

    async with opened(client, networks=["127.0.0.1/32"], resolve=resolve) as upstream:
        for _ in range(3):
            await whole(upstream, chat(f"http://rebound.example:{fake.port}"))
        assert asked == [("rebound.example", fake.port)]
        assert fake.calls[0].header("host") == f"rebound.example:{fake.port}"
        assert await kind_of_failure(upstream, chat(f"http://rebound.example:{canary.port}")) == "upstream_forbidden"
        assert len(asked) == 2
    assert canary.visits == 0


async def test_a_resolved_name_is_remembered_for_new_connections(client: str) -> None:
    """Thirty seconds long: no request pays for a name."""
    asked = 0

    async def resolve(host: str, port: int) -> Sequence[str]:
        nonlocal asked
        asked += 1
        return ["127.0.0.1"]

    async with FakeUpstream(Script(headers=(("connection", "close"),))) as fake, opened(client, resolve=resolve) as up:
        for _ in range(5):
            await whole(up, chat(f"http://name.example:{fake.port}"))
        assert (fake.connections, asked) == (5, 1)


async def test_allowed_networks_open_the_way(fake: FakeUpstream, client: str) -> None:
    """UPSTREAM_ALLOWED_NETWORKS lets a private upstream be called, by address or by name, and no other."""
    async with opened(client, networks=["127.0.0.1/32", "::1/128"]) as upstream:
        assert await kind_of_failure(upstream, chat(fake.url)) is None
        assert await kind_of_failure(upstream, chat(f"http://localhost:{fake.port}")) is None
        assert await kind_of_failure(upstream, chat(f"http://127.0.0.2:{fake.port}")) == "upstream_forbidden"


@pytest.mark.parametrize("listening", ["0.0.0.0", "127.0.0.1", "::", "localhost"])
async def test_our_own_port_is_no_destination(canary: Canary, client: str, listening: str) -> None:
    """Whatever networks are allowed: a setting that points at us would call itself for ever."""
    mine = [socket.gethostbyname(socket.gethostname())] if listening in ("0.0.0.0", "::") else []
    hosts = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", *mine]
    async with opened(client, ["0.0.0.0/0", "::/0"], own=[(listening, canary.port)]) as upstream:
        for host in hosts:
            assert await kind_of_failure(upstream, chat(f"http://{host}:{canary.port}")) == "upstream_forbidden", host
    assert canary.visits == 0


async def test_another_port_of_this_machine_is_a_destination(fake: FakeUpstream, client: str) -> None:
    """A model server beside us may be called."""
    async with opened(client, own=[("0.0.0.0", 8002), ("127.0.0.1", 8001)]) as upstream:
        assert await kind_of_failure(upstream, chat(fake.url)) is None


def test_local_addresses_are_told_from_others() -> None:
    """By asking the kernel, not by listing interfaces."""
    assert is_local(ipaddress.ip_address("127.0.0.1"))
    assert is_local(ipaddress.ip_address("127.9.9.9"))
    assert is_local(ipaddress.ip_address("::1"))
    assert not is_local(ipaddress.ip_address("192.0.2.1"))
    assert not is_local(ipaddress.ip_address("2001:db8::1"))


async def test_nobody_there(client: str) -> None:
    """A refused port, a name without an address, a resolver that fails or hangs: unreachable, in time."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        if host == "slow.example":
            await asyncio.sleep(30)
        if host == "broken.example":
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return []

    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with opened(client, resolve=resolve) as upstream:
        started = time.monotonic()
        for host in (f"127.0.0.1:{port}", "none.example", "broken.example", "slow.example"):
            for stream in (False, True):
                request = chat(f"http://{host}", seconds=0.3, stream=stream)
                kinds = ("upstream_unreachable", "upstream_timeout" if host == "slow.example" else "")
                assert await kind_of_failure(upstream, request) in kinds[: 1 + (client != "lean")]
        assert time.monotonic() - started < 2


def certificate(folder: Path, *names: x509.GeneralName) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for `names`, and a client's that trusts its issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    trusting = ssl.create_default_context(cadata=signed.public_bytes(serialization.Encoding.PEM).decode())
    return server, trusting


async def test_tls_is_verified(client: str, tmp_path: Path) -> None:
    """Chain and host name: an unknown issuer or another host's certificate is no upstream of ours."""
    server, trusting = certificate(tmp_path, x509.DNSName("right.example"))

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with FakeUpstream(tls=server) as fake:
        right, wrong = f"https://right.example:{fake.port}", f"https://wrong.example:{fake.port}"
        async with opened(client, resolve=resolve, ssl_context=trusting) as upstream:
            assert await kind_of_failure(upstream, chat(right)) is None
            assert await kind_of_failure(upstream, chat(wrong)) == "upstream_unreachable"
            assert await kind_of_failure(upstream, chat(fake.url)) == "upstream_unreachable"
            assert await kind_of_failure(upstream, chat(f"http://right.example:{fake.port}")) == "upstream_cut"
        async with opened(client, resolve=resolve) as upstream:
            assert await kind_of_failure(upstream, chat(right)) == "upstream_unreachable"
        assert len(fake.calls) == 1


async def test_over_tls_calls_behave_as_in_clear(client: str, tmp_path: Path) -> None:
    """Streams, reuse, cuts; and leaving is noticed within 250 ms, without a farewell being waited for."""
    server, trusting = certificate(tmp_path, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    async with FakeUpstream(tls=server) as fake, opened(client, ssl_context=trusting) as upstream:
        await whole(upstream, chat(fake.url))
        found, failure = await pieces(upstream, chat(fake.url, stream=True))
        assert (failure, b"".join(found).endswith(b"data: [DONE]\n\n"), fake.connections) == (None, True, 1)
        fake.next(Script(cut_after=2))
        assert (await pieces(upstream, chat(fake.url, stream=True)))[1] == "upstream_cut"
        fake.next(Script(events=1000, interval=0.02))
        response = await upstream.send(chat(fake.url, stream=True))
        await anext(response.chunks())
        response.close()
        left = time.time()
        await fake.until(lambda it: it.calls[-1].hung_up)
        assert fake.calls[-1].ended is not None
        assert fake.calls[-1].ended - left < 0.25


async def test_the_guard_is_the_pools_only_resolver() -> None:
    """Its answers name the address that was judged, so nothing downstream resolves again."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1", "::1", "127.0.0.1"]

    networks = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]
    found = await Destinations(networks, (), resolve).resolve("name.example", 80)
    assert [(result["host"], result["port"]) for result in found] == [("127.0.0.1", 80), ("::1", 80)]
    assert all(result["flags"] & socket.AI_NUMERICHOST for result in found)
