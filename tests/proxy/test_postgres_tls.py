"""TLS to PostgreSQL: every mode as libpq means it, with the right certificate and with all the wrong ones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.adapters.postgres import POSTGRES_ERRORS, Connection, connect, connect_options, describe, open_pool
from shared.settings import load
from tests.servers import Database
from tests.tls_front import NAME, Authority, TlsFront

WRONG_NAME = "127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one whose certificates are right."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that signed nothing of ours."""
    return Authority(tmp_path_factory.mktemp("other"), "other")


def front_of(database: Database, *arguments: Any, **options: Any) -> TlsFront:
    return TlsFront("postgresql", f"{database.host}/.s.PGSQL.{database.port}", *arguments, **options)


def options_of(database: Database, front: TlsFront, mode: str, host: str = NAME, **files: Path) -> dict[str, Any]:
    environ = database.settings_environ("proxy") | {
        "POSTGRESQL_HOSTS": host,
        "POSTGRESQL_PORT": str(front.port),
        "POSTGRESQL_SSL_MODE": mode,
        **{f"POSTGRESQL_SSL_{name.upper()}": str(path) for name, path in files.items()},
    }
    return connect_options(load(environ, Path("/nowhere")), "test", 10)


@asynccontextmanager
async def connected(options: dict[str, Any]) -> AsyncIterator[Connection]:
    connection = await connect(options)
    try:
        yield connection
    finally:
        connection.terminate()


async def failure(options: dict[str, Any]) -> str:
    with pytest.raises(POSTGRES_ERRORS) as caught:
        await connect(options)
    assert options["password"] not in describe(caught.value)
    return describe(caught.value)


@pytest.mark.parametrize(
    ("mode", "host", "has_root", "is_encrypted"),
    [
        ("disable", WRONG_NAME, False, False),
        ("allow", WRONG_NAME, False, False),
        ("prefer", WRONG_NAME, False, True),
        ("require", WRONG_NAME, False, True),
        ("require", WRONG_NAME, True, True),
        ("verify-ca", WRONG_NAME, True, True),
        ("verify-full", NAME, True, True),
    ],
)
async def test_a_mode_meets_a_server_that_has_tls(
    database: Database, authority: Authority, mode: str, host: str, has_root: bool, is_encrypted: bool
) -> None:
    """Each encrypts, or not, as libpq would; the name only matters to the last."""
    async with front_of(database, authority.issue()) as front:
        files = {"root_cert": authority.file} if has_root else {}
        async with connected(options_of(database, front, mode, host, **files)) as connection:
            assert await connection.fetchval("SELECT current_user") == "weir_proxy"
        assert (front.encrypted, front.plain) == ((1, 0) if is_encrypted else (0, 1))


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
async def test_a_mode_meets_a_server_without_tls(database: Database, authority: Authority, mode: str) -> None:
    """Those that insist on it refuse, and send neither a name nor a password."""
    is_strict = mode in ("require", "verify-ca", "verify-full")
    files = {"root_cert": authority.file} if mode.startswith("verify") else {}
    async with front_of(database) as front:
        options = options_of(database, front, mode, **files)
        if is_strict:
            assert "rejected SSL upgrade" in await failure(options)
        else:
            async with connected(options) as connection:
                assert await connection.fetchval("SELECT 1") == 1
        assert front.encrypted == 0


@pytest.mark.parametrize(("mode", "gets_in"), [("disable", False), ("allow", True), ("prefer", True)])
async def test_a_server_that_lets_nobody_in_without_tls(
    database: Database, authority: Authority, mode: str, gets_in: bool
) -> None:
    """`allow` tries again with TLS, `disable` does not."""
    async with front_of(database, authority.issue(), refuses_plain=True) as front:
        options = options_of(database, front, mode)
        if gets_in:
            async with connected(options) as connection:
                assert await connection.fetchval("SELECT 1") == 1
        else:
            assert "no encryption" in await failure(options)
        assert front.encrypted == int(gets_in)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_certificate_of_another_authority_is_refused(
    database: Database, authority: Authority, other: Authority, mode: str
) -> None:
    """With `require` too, once a root certificate is named: as in libpq."""
    async with front_of(database, other.issue()) as front:
        told = await failure(options_of(database, front, mode, root_cert=authority.file))
        assert "CERTIFICATE_VERIFY_FAILED" in told
        assert front.encrypted == 0


@pytest.mark.parametrize(("mode", "is_refused"), [("require", False), ("verify-ca", False), ("verify-full", True)])
async def test_a_certificate_for_another_name(
    database: Database, authority: Authority, mode: str, is_refused: bool
) -> None:
    """Only `verify-full` looks at it."""
    async with front_of(database, authority.issue("db.example")) as front:
        options = options_of(database, front, mode, root_cert=authority.file)
        if is_refused:
            assert "Hostname mismatch" in await failure(options)
        else:
            async with connected(options) as connection:
                assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_a_certificate_that_expired_is_refused(database: Database, authority: Authority, mode: str) -> None:
    """And the log line says so."""
    async with front_of(database, authority.issue(days=-1)) as front:
        assert "expired" in await failure(options_of(database, front, mode, root_cert=authority.file))


async def test_the_systems_authorities_do_not_know_ours(database: Database, authority: Authority) -> None:
    """`system` is libpq's word for them."""
    async with front_of(database, authority.issue()) as front:
        told = await failure(options_of(database, front, "verify-full", root_cert=Path("system")))
        assert "CERTIFICATE_VERIFY_FAILED" in told


async def test_a_client_certificate_is_shown(database: Database, authority: Authority, tmp_path: Path) -> None:
    """With its key apart or in the same file; without one, a server that wants it does not let us in."""
    mine = authority.issue("weir")
    both = tmp_path / "both.pem"
    both.write_bytes(mine.cert.read_bytes() + mine.key.read_bytes())
    async with front_of(database, authority.issue(), client_authority=authority) as front:
        for files in ({"cert": mine.cert, "key": mine.key}, {"cert": both}):
            options = options_of(database, front, "verify-full", root_cert=authority.file, **files)
            async with connected(options) as connection:
                assert await connection.fetchval("SELECT 1") == 1
        assert front.client_names == ["weir", "weir"]
        await failure(options_of(database, front, "verify-full", root_cert=authority.file))
        assert front.encrypted == 2


async def test_a_pool_speaks_tls(database: Database, authority: Authority) -> None:
    """The limiter's reads of charges go the same way."""
    async with front_of(database, authority.issue()) as front:
        pool = await open_pool(options_of(database, front, "verify-full", root_cert=authority.file), 2)
        async with pool.acquire(timeout=10) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        pool.terminate()
        assert (front.encrypted, front.plain) == (1, 0)


async def test_a_socket_is_plain_whatever_the_mode(database: Database, authority: Authority) -> None:
    """As in libpq: nobody listens in between."""
    environ = database.settings_environ("proxy") | {
        "POSTGRESQL_SSL_MODE": "verify-full",
        "POSTGRESQL_SSL_ROOT_CERT": str(authority.file),
    }
    async with connected(connect_options(load(environ, Path("/nowhere")), "test", 10)) as connection:
        assert await connection.fetchval("SELECT 1") == 1
