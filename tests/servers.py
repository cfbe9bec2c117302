"""Real servers of our own for the tests: one PostgreSQL and one Valkey per session, on folders of their own.

They are the launcher's (deploy/local), so every test run tries that too. Nothing here looks at the environment: a
running stack and a developer's settings are never touched.
"""

import base64
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from admin.migrate import migrate
from deploy.local.postgres import Postgres
from deploy.local.roles import OWNER, USERS, connect_superuser, provide_database, provide_users
from deploy.local.valkey import Valkey
from shared.settings import BY_NAME, load

MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
TEMPLATE = "weir_template"
# Nothing has to outlive the machine here; a server that is killed still finds all it wrote.
FAST = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}


def clean_environ() -> dict[str, str]:
    """The environment without any setting of Weir's: what a child of a test may inherit."""
    return {name: text for name, text in os.environ.items() if name not in BY_NAME and not name.startswith("WEIR_")}


@dataclass(frozen=True)
class Database:
    """A database with our users. `owner`, `admin`, `proxy` are arguments of `asyncpg.connect` for each of them."""

    host: str
    port: int
    name: str
    passwords: dict[str, str]

    def _connect_options(self, user: str, role: str | None) -> dict[str, Any]:
        return {
            "host": self.host,
            "port": self.port,
            "database": self.name,
            "user": user,
            "password": self.passwords[user],
            "server_settings": {"role": role} if role else {},
        }

    @property
    def owner(self) -> dict[str, Any]:
        """As the user that migrates and owns everything."""
        return self._connect_options(OWNER, None)

    @property
    def admin(self) -> dict[str, Any]:
        """As the admin plane: its user, working as weir_admin."""
        return self._connect_options("weir_admin_login", "weir_admin")

    @property
    def proxy(self) -> dict[str, Any]:
        """As the proxy: its user, working as weir_proxy."""
        return self._connect_options("weir_proxy_login", "weir_proxy")

    def settings_environ(self, plane: str) -> dict[str, str]:
        """The variables that lead a plane (`admin` or `proxy`) here, and one master key for both."""
        user = f"weir_{plane}_login"
        environ = {
            "POSTGRESQL_HOSTS": self.host,
            "POSTGRESQL_PORT": str(self.port),
            "POSTGRESQL_DB_NAME": self.name,
            "POSTGRESQL_USERNAME": user,
            "POSTGRESQL_PASSWORD": self.passwords[user],
            "WEIR_MASTER_KEY": MASTER_KEY,
        }
        if plane == "admin":
            environ |= {"WEIR_MIGRATE_USERNAME": OWNER, "WEIR_MIGRATE_PASSWORD": self.passwords[OWNER]}
        return environ


class PostgresServer(Postgres):
    """The session's server, which makes databases."""

    def __init__(self, folder: Path) -> None:
        run = folder / "run"
        run.mkdir(mode=0o700)
        super().__init__(folder / "postgres", run, folder / "postgres.log", secrets.token_hex(16), options=FAST)
        self.passwords = {user: secrets.token_hex(16) for user in USERS}
        self._databases = 0
        self._has_users = False
        self._has_template = False

    async def create_database(self, *, migrated: bool = False) -> Database:
        """A new database, empty or with the schema in it."""
        connection = await connect_superuser(self)
        try:
            if not self._has_users:
                await provide_users(connection, self.passwords)
                self._has_users = True
            if migrated and not self._has_template:
                await provide_database(self, connection, TEMPLATE)
                await migrate(load(self._named(TEMPLATE).settings_environ("admin"), Path(self.host)))
                self._has_template = True
            self._databases += 1
            name = f"weir_{self._databases}"
            await provide_database(self, connection, name, TEMPLATE if migrated else "template0")
        finally:
            await connection.close()
        return self._named(name)

    def _named(self, name: str) -> Database:
        return Database(self.host, self.port, name, self.passwords)


class ValkeyServer(Valkey):
    """The session's server, and a maker of further ones."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self._folder = folder
        self._further: list[ValkeyServer] = []
        super().__init__(folder / "data", folder, folder / "valkey.log")

    def fresh(self) -> "ValkeyServer":
        """A new empty server with a process and a socket of its own; it is stopped with this one at the latest."""
        server = ValkeyServer(self._folder / str(len(self._further)))
        self._further.append(server)
        server.start()
        return server

    def stop(self) -> None:
        """Stop it and all that `fresh` made."""
        for server in self._further:
            server.stop()
        super().stop()


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A private folder with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="weir-test-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(server_folder: Path) -> Iterator[PostgresServer]:
    """PostgreSQL for the whole session."""
    server = PostgresServer(server_folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey(server_folder: Path) -> Iterator[ValkeyServer]:
    """Valkey for the whole session; whoever needs it empty takes `valkey.fresh()`."""
    server = ValkeyServer(server_folder / "valkey")
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    """A database with the schema in it, for one module of tests."""
    yield await postgres.create_database(migrated=True)
