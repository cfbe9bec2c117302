"""The admin plane's way to PostgreSQL: one piccolo engine, given its servers when the settings are known.

It decides how a connection is made (hosts, TLS, role, time limits) and nothing about what is asked; which host of a
list comes first is shared/host_order.py's. Passwords travel as arguments, never inside a DSN, so any character is
allowed in them.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
from asyncpg import Connection
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction

from shared.host_order import NoHostServes, Place, connect_first
from shared.settings import Settings, load
from shared.tls import postgresql_tls

CONNECT_SECONDS = 5
ADMIN_ROLE = "weir_admin"
PROXY_ROLE = "weir_proxy"
_POOL_CONNECTIONS = 10
# Of several hosts: this one is away, starts, stops, or is not the one that takes writes.
_NEXT_HOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TargetServerAttributeNotMatched,
)


def _connect_options(settings: Settings, user: str, password: str, server_settings: dict[str, str]) -> dict[str, Any]:
    hosts = settings.postgresql_hosts
    return {
        "host": [host.name for host in hosts],
        "port": [host.port or settings.postgresql_port for host in hosts],
        "database": settings.postgresql_db_name,
        "user": user,
        "password": password,
        "ssl": postgresql_tls(settings),
        "timeout": CONNECT_SECONDS,
        # Of several hosts the one that takes writes; a single host is taken as it is.
        "target_session_attrs": "read-write" if len(hosts) > 1 else "any",
        "server_settings": {"application_name": "weir-admin", "timezone": "UTC", **server_settings},
    }


def admin_connect_options(settings: Settings) -> dict[str, Any]:
    """Arguments of `connect` for the admin plane: its own user, working as the role weir_admin.

    Raises SettingsError when a file of the TLS settings cannot be used.
    """
    read_milliseconds = int(settings.postgresql_read_time_out * 1000)
    limits = {
        "role": ADMIN_ROLE,
        "statement_timeout": str(read_milliseconds),
        "idle_in_transaction_session_timeout": str(read_milliseconds),
    }
    return _connect_options(settings, settings.postgresql_username, settings.postgresql_password, limits)


def migrate_connect_options(settings: Settings) -> dict[str, Any]:
    """The same for the user that owns the schema, or the plane's own user where none is named."""
    if settings.weir_migrate_username:
        return _connect_options(settings, settings.weir_migrate_username, settings.weir_migrate_password, {})
    return _connect_options(settings, settings.postgresql_username, settings.postgresql_password, {})


async def connect(_dsn: None = None, **options: Any) -> Any:
    """A connection, of several hosts to the first that serves. A pool passes on that there is no DSN.

    Raises OSError, asyncpg.PostgresError, asyncpg.InterfaceError or asyncpg.InternalClientError.
    """
    hosts = options["host"]
    if len(hosts) == 1:
        return await asyncpg.connect(**options)

    async def to(place: Place, seconds: float) -> Any:
        host, port = place
        return await asyncpg.connect(**(options | {"host": host, "port": port, "timeout": seconds}))

    places = tuple(zip(hosts, options["port"], strict=True))
    return await connect_first(places, to, _NEXT_HOST, options["timeout"])


def fault_of(error: BaseException) -> str:
    """What kind of error it is, fit for a page that anybody may read: without a user, a host or a database."""
    return error.kinds if isinstance(error, NoHostServes) else type(error).__name__


class Database(PostgresEngine):
    """Piccolo's engine without its start-up habits: it connects to nothing until it is told where."""

    def __init__(self) -> None:
        super().__init__(config={})
        self.fault = ""
        """Why the pool is not open yet; empty before the first try."""
        self._write_milliseconds = "0"

    async def check_version(self) -> None:
        """Nothing: piccolo would connect while the module is imported."""

    async def prep_database(self) -> None:
        """Nothing: no extensions are needed."""

    @property
    def is_open(self) -> bool:
        """True once the pool was opened; the servers may be gone again by now."""
        return self.pool is not None

    async def open(self, options: dict[str, Any], write_seconds: float) -> None:
        """Open the pool. Raises OSError, TimeoutError or asyncpg.PostgresError when the servers do not answer."""
        self.config = options | {"connect": connect}
        self._write_milliseconds = str(int(write_seconds * 1000))
        await super().start_connection_pool(min_size=1, max_size=_POOL_CONNECTIONS)

    async def close(self) -> None:
        """Close the pool, at once when the servers no longer answer."""
        pool, self.pool = self.pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), CONNECT_SECONDS)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[datetime]:
        """A transaction that may change something; every piccolo query of this task runs in it. Yields its time.

        Piccolo's own transaction loses its pooled connection when a commit fails, so this is ours.
        """
        async with self._connection() as connection, self.transaction_on(connection):
            yield await connection.fetchval(
                "SELECT now() FROM (SELECT set_config('statement_timeout', $1, true)) AS limited",
                self._write_milliseconds,
            )

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Any]:
        if self.pool is None:
            raise ConnectionError("the pool is not open")
        async with self.pool.acquire(timeout=CONNECT_SECONDS) as connection:
            yield connection

    async def _run_in_pool(self, query: str, args: Sequence[Any] | None = None) -> list[asyncpg.Record]:
        async with self._connection() as connection:
            return await connection.fetch(query, *(args or ()))

    async def get_new_connection(self) -> Connection:
        """A connection outside the pool. Piccolo's own command line comes this way, configured by no one."""
        if not self.config:
            self.config = migrate_connect_options(load()) | {"connect": connect}
        options: dict[str, Any] = {name: value for name, value in self.config.items() if name != "connect"}
        return await connect(**options)

    @asynccontextmanager
    async def transaction_on(self, connection: Connection) -> AsyncGenerator[None]:
        """One transaction on `connection`; every piccolo query of this task runs in it."""
        transaction = PostgresTransaction(self)
        transaction.connection = connection
        async with connection.transaction():
            token = self.current_transaction.set(transaction)
            try:
                yield
            finally:
                self.current_transaction.reset(token)

    async def run_script(self, sql: str) -> None:
        """Run several statements in the current transaction. For files of ours, never for text from outside."""
        transaction = self.current_transaction.get()
        if transaction is None:
            raise RuntimeError("a script runs inside a transaction")
        await transaction.connection.execute(sql)


DB = Database()
