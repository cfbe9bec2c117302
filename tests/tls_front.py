"""A door that speaks TLS in front of the tests' plain PostgreSQL and Valkey, and who made its certificates.

To the client it is a server with a certificate; behind it, the real server hears plain bytes. It can be one that offers
no TLS, or that wants a certificate of the client's.
"""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
NAME = "localhost"
"""What a good certificate is for; the front is also at 127.0.0.1, which is then the wrong name."""


class Pair(NamedTuple):
    """Files of a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority of a test."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._issued = 0
        certificate = (
            self._builder(self._name, self._key, days=10)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        """Its own certificate, for whoever trusts it."""
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=20))
            .not_valid_after(now + timedelta(days=days))
        )

    def issue(self, host: str = NAME, *, days: int = 10, password: bytes | None = None) -> Pair:
        """A certificate for a host, good for so many days from now; negative: expired. `password` encrypts its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key, days)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._issued += 1
        stem = self._folder / f"{self.file.stem}-{self._issued}"
        pair = Pair(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
        return pair


class TlsFront:
    """The door. `async with` opens it; `port` is where it is, on 127.0.0.1."""

    def __init__(
        self,
        kind: Literal["postgresql", "redis"],
        behind: str,
        pair: Pair | None = None,
        *,
        client_authority: Authority | None = None,
        refuses_plain: bool = False,
    ) -> None:
        """`behind`: the server's socket. Without `pair`: a server that has no TLS.

        `client_authority`: clients must show a certificate of it. `refuses_plain`: PostgreSQL with `hostssl` only.
        """
        self._kind = kind
        self._behind = behind
        self._context: ssl.SSLContext | None = None
        if pair is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(pair.cert, pair.key)
        if client_authority is not None:
            assert self._context is not None
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(client_authority.file)
        self._refuses_plain = refuses_plain
        self._open: set[_Side] = set()
        self.encrypted = 0
        """Connections that came through with TLS, so far."""
        self.plain = 0
        """And without."""
        self.client_names: list[str] = []
        """Common names of the certificates that clients showed."""

    async def __aenter__(self) -> "TlsFront":
        loop = asyncio.get_running_loop()
        if self._kind == "redis":
            self._server = await loop.create_server(self._side, "127.0.0.1", 0, ssl=self._context)
        else:
            self._server = await loop.create_server(lambda: _Greeter(self), "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """End every connection at once; new ones are welcome."""
        for side in list(self._open):
            side.close()

    def _side(self) -> "_Side":
        return _Side(self)

    def greet(self, greeter: "_Greeter", first: bytes) -> None:
        """See by PostgreSQL's first bytes whether TLS is asked for."""
        transport = greeter.transport
        if first == SSL_REQUEST and self._context is not None:
            transport.write(b"S")
            self._upgrading = asyncio.get_running_loop().create_task(self._upgrade(transport, self._context))
        elif first == SSL_REQUEST:
            transport.write(b"N")
        elif self._refuses_plain:
            fields = b"SFATAL\0C28000\0Mno pg_hba.conf entry, no encryption\0\0"
            transport.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
            transport.close()
        else:
            side = self._side()
            transport.set_protocol(side)
            side.connection_made(transport)
            side.data_received(first)

    async def _upgrade(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        side = self._side()
        try:
            encrypted = await asyncio.get_running_loop().start_tls(transport, side, context, server_side=True)
        except OSError:
            transport.abort()
        else:
            side.connection_made(encrypted)

    def let_in(self, side: "_Side") -> None:
        """A client has come through the handshake, if there is one; connect it to the server."""
        self._open.add(side)
        shown = side.transport.get_extra_info("peercert")
        if shown:
            self.client_names.append(dict(pair for part in shown["subject"] for pair in part)["commonName"])
        if side.transport.get_extra_info("ssl_object"):
            self.encrypted += 1
        else:
            self.plain += 1
        side.connecting = asyncio.get_running_loop().create_task(self._connect(side))

    async def _connect(self, side: "_Side") -> None:
        back = _Side(self, side)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: back, self._behind)
        except OSError:
            side.close()

    def gone(self, side: "_Side") -> None:
        """A connection ended, and with it its other half."""
        self._open.discard(side)


class _Greeter(asyncio.Protocol):
    """A client of PostgreSQL's that has not yet said whether it wants TLS."""

    def __init__(self, front: TlsFront) -> None:
        self._front = front
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if len(self._read) >= len(SSL_REQUEST):
            first, self._read = self._read, b""
            self._front.greet(self, first)


class _Side(asyncio.Protocol):
    """One half of a connection: the client's, or the one to the server; what comes in here goes out there."""

    connecting: asyncio.Task[None]

    def __init__(self, front: TlsFront, other: "_Side | None" = None) -> None:
        self._front = front
        self._other = other
        self._early = b""
        self._is_client = other is None
        self._is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._is_client:
            self._front.let_in(self)
        elif self._other is not None:
            self._other.meet(self)

    def meet(self, other: "_Side") -> None:
        """The server is there: give it what came before."""
        if self._is_closed:
            other.transport.abort()
            return
        self._other = other
        other.transport.write(self._early)

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early += data
        else:
            self._other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()

    def close(self) -> None:
        """End both halves."""
        if self._is_closed:
            return
        self._is_closed = True
        self._front.gone(self)
        self.transport.abort()
        if self._other is not None:
            self._other.close()
