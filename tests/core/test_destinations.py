"""Which addresses and which spellings of a URL may be called."""

import ipaddress

import pytest

from proxy.core.destinations import (
    DestinationError,
    Listener,
    check_address,
    embedded_address,
    is_allowed,
    is_own,
    parse_destination,
)

ip = ipaddress.ip_address

GLOBAL = [
    "1.1.1.1", "8.8.8.8", "104.18.6.192", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "192.0.1.1",
    "198.17.255.255", "198.20.0.1", "169.253.1.1", "126.255.255.255", "128.0.0.1", "223.255.255.255", "168.63.129.15",
    "2606:4700::6810:1", "2a00:1450:4001:81b::200e", "2620:fe::fe", "3ffe::1",
    "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
]  # fmt: skip

SPECIAL = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.255.255.254", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::2", "fe80::1", "fe80::a9fe:a9fe", "fec0::1", "fc00::1", "fd00:ec2::254", "fdff::1", "ff02::1",
    "ff0e::1", "100::1", "2001::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1", "5f00::1", "4000::1",
    "64:ff9b:1::808:808",
]  # fmt: skip

EMBEDDED_SPECIAL = [
    "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254", "::ffff:100.100.100.200", "::ffff:0.0.0.0",
    "::ffff:0:127.0.0.1", "::127.0.0.1", "::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::c0a8:1",
    "2002:7f00:1::1", "2002:a9fe:a9fe::", "2002:a00:1::", "2002:6440:1::", "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:127.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("text", GLOBAL)
def test_global_addresses_are_allowed(text: str) -> None:
    """Global unicast needs nobody's permission."""
    assert is_allowed(ip(text))


@pytest.mark.parametrize("text", [*SPECIAL, *EMBEDDED_SPECIAL])
def test_everything_else_is_refused(text: str) -> None:
    """Private, local, shared, metadata, reserved and transition addresses are refused by default."""
    assert not is_allowed(ip(text))


def test_the_table_is_no_laxer_than_the_standard_library() -> None:
    """Whatever Python calls not global is refused, for a sample of every /12 and its edges."""
    for start in range(0, 1 << 32, 1 << 20):
        for number in (start, start + 1, start + 0xFFFFF):
            address = ipaddress.IPv4Address(number)
            if not address.is_global:
                assert not is_allowed(address), address


ALLOWED = [
    ("127.0.0.0/8", "127.0.0.1", True),
    ("127.0.0.0/8", "127.8.9.10", True),
    ("127.0.0.0/8", "::ffff:127.0.0.1", True),
    ("127.0.0.0/8", "::1", False),
    ("127.0.0.0/8", "10.0.0.1", False),
    ("::1/128", "::1", True),
    ("::1/128", "127.0.0.1", False),
    ("10.0.0.0/8", "10.9.8.7", True),
    ("10.0.0.0/8", "64:ff9b::a00:1", True),
    ("10.0.0.0/8", "11.0.0.1", True),
    ("10.1.0.0/16", "10.2.0.1", False),
    ("fd00::/8", "fd12::1", True),
    ("fd00::/8", "fc00::1", False),
    ("169.254.169.254/32", "169.254.169.254", True),
    ("fd00:ec2::254/128", "fd00:ec2::254", True),
    ("0.0.0.0/0", "10.0.0.1", True),
    ("0.0.0.0/0", "0.0.0.0", False),
    ("0.0.0.0/0", "255.255.255.255", False),
    ("0.0.0.0/0", "224.0.0.1", False),
    ("0.0.0.0/0", "::1", False),
    ("::/0", "::", False),
    ("::/0", "ff02::1", False),
    ("::/0", "fe80::1", True),
]


@pytest.mark.parametrize(("network", "text", "expected"), ALLOWED)
def test_allowed_networks_open_exactly_themselves(network: str, text: str, expected: bool) -> None:
    """UPSTREAM_ALLOWED_NETWORKS opens what it names; nothing opens unspecified, multicast and broadcast."""
    assert is_allowed(ip(text), [ipaddress.ip_network(network)]) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::1.2.3.4", "1.2.3.4"),
        ("64:ff9b::102:304", "1.2.3.4"),
        ("2002:102:304::9", "1.2.3.4"),
        ("2a00::5efe:1.2.3.4", "1.2.3.4"),
        ("::1", None),
        ("::", None),
        ("2a00::1", None),
        ("1.2.3.4", None),
    ],
)
def test_embedded_addresses_are_found(text: str, expected: str | None) -> None:
    """Every IPv6 form that reaches an IPv4 address is read as that address."""
    assert embedded_address(ip(text)) == (ip(expected) if expected else None)


PARSED = [
    ("https://api.openai.com/v1/models", (True, "api.openai.com", 443, None, "api.openai.com", "/v1/models")),
    ("https://API.OpenAI.com", (True, "api.openai.com", 443, None, "api.openai.com", "/")),
    ("http://vllm:8000/v1?a=b&c=%20d", (False, "vllm", 8000, None, "vllm:8000", "/v1?a=b&c=%20d")),
    ("https://host:443/x", (True, "host", 443, None, "host", "/x")),
    ("http://host:443/x", (False, "host", 443, None, "host:443", "/x")),
    ("http://host:/x", (False, "host", 80, None, "host", "/x")),
    ("http://10.0.0.1:81/", (False, "10.0.0.1", 81, ip("10.0.0.1"), "10.0.0.1:81", "/")),
    ("http://[::1]:81/", (False, "::1", 81, ip("::1"), "[::1]:81", "/")),
    ("https://[2606:4700::1]/", (True, "2606:4700::1", 443, ip("2606:4700::1"), "[2606:4700::1]", "/")),
    ("http://my_service.ns.svc.cluster.local./", (False, "my_service.ns.svc.cluster.local.", 80, None,
                                                  "my_service.ns.svc.cluster.local.", "/")),
    ("http://xn--bcher-kva.example/", (False, "xn--bcher-kva.example", 80, None, "xn--bcher-kva.example", "/")),
    ("http://1e100.net/", (False, "1e100.net", 80, None, "1e100.net", "/")),
]  # fmt: skip


@pytest.mark.parametrize(("url", "expected"), PARSED)
def test_plain_urls_are_taken_apart(url: str, expected: tuple[object, ...]) -> None:
    """Scheme, host, port, literal address, Host header and request target."""
    assert tuple(parse_destination(url)) == expected


REFUSED = [
    "", "/v1", "host/v1", "http:", "http://", "http:///x", "http:host", "//host/x", "ftp://host/", "file:///etc/passwd",
    "unix:///run/x", "gopher://host/", "ws://host/", "http+unix://host/",
    "http://user@host/", "http://user:pass@host/", "http://@host/", "http://host@127.0.0.1/", "http://host:80@127.1/",
    "http://host/#x", "http://host#@127.0.0.1/", "http://host/?q#x",
    "http://host:0/", "http://host:65536/", "http://host:-1/", "http://host:8o/", "http://host:80:80/",
    "http://2130706433/", "http://0x7f000001/", "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://017700000001/",
    "http://127.1/", "http://127.0.1/", "http://127.0.0.1./", "http://127.0.0.01/", "http://0/", "http://1.1.1.1.1/",
    "http://0x/", "http://0X7F.1/", "http://1.2.3.0x4/", "http://256.1.1.1/", "http://127.0.0.0x1/", "http://127.0.0.1../",
    "http://[::1", "http://[::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[1.2.3.4]/", "http://[v1.x]/", "http://[]/",
    "http://[::ffff:0x7f000001]/", "http://::1/",
    "http://ho st/", "http://host\\@127.0.0.1/", "http://host\r\nx: y/", "http://host/\r\nx: y", "http://host/ x",
    "http://host/\x00", "http://host\t/", "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", "http://\uff11\uff12\uff17.1/",
    "http://b\u00fccher.example/", "http://%31%32%37.0.0.1/", "http://host%2f/", "http://-host/", "http://host-/",
    "http://ho..st/", "http://.host/", "http://host,x/", "http://*/", "http://" + "a" * 254 + "/",
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_odd_urls_are_refused(url: str) -> None:
    """Nothing but the plain spelling is a destination; every other way to write an address is refused as text."""
    with pytest.raises(DestinationError):
        parse_destination(url)


OWN = (Listener(ip("0.0.0.0"), 8002), Listener(ip("127.0.0.1"), 8001), Listener(ip("::"), 9000))


@pytest.mark.parametrize(
    ("text", "port", "is_local", "expected"),
    [
        ("127.0.0.1", 8002, True, True),
        ("192.168.1.5", 8002, True, True),
        ("::1", 8002, True, True),
        ("::ffff:127.0.0.1", 8002, True, True),
        ("192.168.1.6", 8002, False, False),
        ("127.0.0.1", 8003, True, False),
        ("127.0.0.1", 8001, True, True),
        ("::ffff:127.0.0.1", 8001, True, True),
        ("192.168.1.5", 8001, True, False),
        ("10.0.0.1", 9000, True, True),
        ("10.0.0.1", 9000, False, False),
    ],
)
def test_own_listeners_are_recognised(text: str, port: int, is_local: bool, expected: bool) -> None:
    """A wildcard listener is every local address at its port; a specific one is only itself."""
    assert is_own(ip(text), port, OWN, is_local=is_local) is expected


def test_own_listeners_are_refused_even_inside_allowed_networks() -> None:
    """Allowing loopback does not allow calling ourselves."""
    loopback = [ipaddress.ip_network("127.0.0.0/8")]
    check_address(ip("127.0.0.1"), 11434, loopback, OWN, is_local=True)
    with pytest.raises(DestinationError, match="Weir itself"):
        check_address(ip("127.0.0.1"), 8002, loopback, OWN, is_local=True)
    with pytest.raises(DestinationError, match="UPSTREAM_ALLOWED_NETWORKS"):
        check_address(ip("10.0.0.1"), 80, loopback, OWN, is_local=False)
