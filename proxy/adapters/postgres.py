"""How the proxy connects to PostgreSQL: hosts, TLS, the role it works as, time limits on everything.

Which host of a list comes first is shared/host_order.py's. It knows nothing of what is asked. Whoever asks treats
POSTGRES_ERRORS as "not now" and drops the connection with `terminate`, which never waits: a server that was frozen
would not answer a polite close either.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]  # has no types of its own; `Connection` below is what we use

from shared.host_order import NoHostServes, Place, connect_first
from shared.settings import Settings
from shared.tls import postgresql_tls

PROXY_ROLE = "weir_proxy"
CONNECT_SECONDS = 5
_IDLE_IN_TRANSACTION_SECONDS = 60

POSTGRES_ERRORS = (
    OSError,  # TimeoutError and TLS errors are among them
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What connecting to and asking a server that is away, frozen, restarting or misconfigured may raise."""

_NEXT_HOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TargetServerAttributeNotMatched,
)
"""What says of one host of several that it is away, starts, stops, or is not the one that takes writes."""

NOT_OFFERED = (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFunctionError)
"""What a hosted server raises for a question it does not answer to ordinary users."""

Row = Sequence[Any]


class Transaction(Protocol):
    """A transaction that its owner starts and commits; one that is given up ends with its connection."""

    async def start(self) -> None:
        """BEGIN."""
        ...

    async def commit(self) -> None:
        """COMMIT."""
        ...


class Cursor(Protocol):
    """A query's rows, some at a time."""

    async def fetch(self, n: int) -> list[Row]:
        """The next rows; fewer than `n` at the end."""
        ...


class Connection(Protocol):
    """What we use of `asyncpg.Connection`."""

    async def execute(self, query: str, *args: object) -> str:
        """Run it; the answer is its command tag."""
        ...

    async def fetch(self, query: str, *args: object) -> list[Row]:
        """All rows at once."""
        ...

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """The first row."""
        ...

    async def fetchval(self, query: str, *args: object) -> Any:
        """The first value of the first row."""
        ...

    def cursor(self, query: str, *args: object) -> Awaitable[Cursor]:
        """Rows some at a time; only inside a transaction."""
        ...

    def transaction(self, *, isolation: str | None = None, readonly: bool = False) -> Transaction:
        """A transaction that is not yet started."""
        ...

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None:
        """LISTEN. The callback gets connection, process id, channel and payload."""
        ...

    def add_termination_listener(self, callback: Callable[..., None]) -> None:
        """Call back with the connection when it ends, whoever ended it."""
        ...

    def is_closed(self) -> bool:
        """True when it ended, whoever ended it."""
        ...

    def terminate(self) -> None:
        """End it at once, without a word to the server."""
        ...


class Pool(Protocol):
    """What we use of `asyncpg.Pool`."""

    def acquire(self, *, timeout: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """A connection for the duration of a `with`; `timeout` in seconds."""
        ...

    def terminate(self) -> None:
        """End all connections at once."""
        ...


def connect_options(settings: Settings, purpose: str, command_seconds: float) -> dict[str, Any]:
    """Arguments of `asyncpg.connect` and `create_pool`; `purpose` is what an operator reads in pg_stat_activity.

    No command takes longer than `command_seconds`: the server is told to give up then, and so does the client. Raises
    SettingsError when a file of the TLS settings cannot be used.
    """
    hosts = settings.postgresql_hosts
    return {
        "host": [host.name for host in hosts],
        "port": [host.port or settings.postgresql_port for host in hosts],
        "database": settings.postgresql_db_name,
        "user": settings.postgresql_username,
        "password": settings.postgresql_password,
        "ssl": postgresql_tls(settings),
        "timeout": CONNECT_SECONDS,
        "command_timeout": command_seconds,
        # Of several hosts the one that takes writes; a single host is taken as it is.
        "target_session_attrs": "read-write" if len(hosts) > 1 else "any",
        "server_settings": {
            "application_name": f"weir-proxy {purpose}",
            "role": PROXY_ROLE,
            "timezone": "UTC",
            "statement_timeout": str(int(command_seconds * 1000)),
            "idle_in_transaction_session_timeout": str(_IDLE_IN_TRANSACTION_SECONDS * 1000),
        },
    }


async def connect(options: dict[str, Any]) -> Connection:
    """A connection, of several hosts to the first that serves. Raises one of POSTGRES_ERRORS."""
    return cast("Connection", await _connect(**options))


_connect_to_one = cast("Callable[..., Awaitable[object]]", vars(asyncpg)["connect"])


async def _connect(_dsn: None = None, **options: Any) -> object:  # the pool passes on that there is no DSN
    hosts = options["host"]
    if isinstance(hosts, str) or len(hosts) == 1:
        return await _connect_to_one(**options)

    async def to(place: Place, seconds: float) -> object:
        host, port = place
        return await _connect_to_one(**(options | {"host": host, "port": port, "timeout": seconds}))

    places = tuple(zip(hosts, options["port"], strict=True))
    return await connect_first(places, to, _NEXT_HOST, options["timeout"])


async def open_pool(options: dict[str, Any], connections: int) -> Pool:
    """A pool that connects on first use, so it opens while the server is away."""
    pool = asyncpg.create_pool(  # pyright: ignore[reportUnknownMemberType]
        **options, connect=_connect, min_size=0, max_size=connections
    )
    return cast("Pool", await pool)


def describe(error: BaseException) -> str:
    """One line for an observation. Passwords are never part of these errors."""
    text = " ".join(str(error).split())[:400]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def fault_of(error: BaseException) -> str:
    """What kind of error it is, fit for a page that anybody may read: without a user, a host or a database."""
    return error.kinds if isinstance(error, NoHostServes) else type(error).__name__
