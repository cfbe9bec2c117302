"""The one-command stack: servers where none are named, the schema, both planes; started in order, stopped in order.

It decides what the planes are told (an environment each) and when the stack is up or must end. How a server is run is
its own module's affair; what a plane does with its settings is the plane's.
"""

import asyncio
import http.client
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from admin.migrate import MigrationError, migrate
from deploy.local.child import Child, LaunchError
from deploy.local.folder import Folder
from deploy.local.postgres import Postgres
from deploy.local.roles import OWNER, USERS, connect_superuser, provide_database, provide_users
from deploy.local.valkey import Valkey
from shared.secrets import new_master_key
from shared.settings import SETTINGS, Settings, SettingsError, load

ROOT = Path(__file__).parents[2]
DATABASE = "weir"
READY_SECONDS = 60
GRACE_SECONDS = 30
"""What a plane may take to stop beyond the time its settings give to open streams."""

# What only means something with a server of one's own. Given without it, it would be silently ignored.
_POSTGRESQL_NAMES = (
    *("POSTGRESQL_PORT", "POSTGRESQL_DB_NAME", "POSTGRESQL_USERNAME", "POSTGRESQL_PASSWORD", "POSTGRESQL_SSL_MODE"),
    *("POSTGRESQL_SSL_ROOT_CERT", "POSTGRESQL_SSL_CERT", "POSTGRESQL_SSL_KEY"),
    *("WEIR_MIGRATE_USERNAME", "WEIR_MIGRATE_PASSWORD"),
)
_REDIS_NAMES = (
    *("REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD"),
    *("REDIS_TLS", "REDIS_TLS_VERIFY", "REDIS_TLS_ROOT_CERT", "REDIS_TLS_CERT", "REDIS_TLS_KEY"),
)

# The local stack's own defaults: upstreams on this machine are welcome, and nobody balances load over it.
_LOCAL_DEFAULTS = {"UPSTREAM_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128", "DRAIN_NOTICE": "0s"}

_READY_PATHS = {"admin": "/api/health", "proxy": "/api/health/ready"}


def reachable(address: str) -> str:
    """The address to call what listens on `address` from this machine."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104


def base_url(address: str, port: int) -> str:
    """http://ADDRESS:PORT, as a caller on this machine writes it."""
    host = reachable(address)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Stack:
    """All the processes of one `.weir`. `start`, then `watch` until something ends, then `stop` or `kill`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Read the settings. Raises SettingsError, or LaunchError when they contradict each other."""
        self._environ = dict(environ)
        self._environ["PYTHONPATH"] = str(ROOT)
        self._given = load(self._environ)
        _refuse_orphans(self._given, "POSTGRESQL_HOSTS", _POSTGRESQL_NAMES)
        _refuse_orphans(self._given, "REDIS_HOSTS", _REDIS_NAMES)
        for name, text in _LOCAL_DEFAULTS.items():
            self._default(name, text)
        self.folder_path = Path(self._given.weir_data_dir)
        self.has_admin_pass = "ADMIN_PASS" in self._given.given
        self._folder: Folder | None = None
        self._postgres: Postgres | None = None
        self._valkey: Valkey | None = None
        self._planes: dict[str, Child] = {}

    def _default(self, name: str, text: str) -> None:
        if name not in self._given.given:
            self._environ[name] = text

    @property
    def settings(self) -> Settings:
        """What both planes will read, connections aside."""
        return load(self._environ)

    def start(self) -> None:
        """Start everything and return when both planes answer. Raises LaunchError or SettingsError."""
        self._folder = folder = Folder(self.folder_path)
        self._choose_ports()
        if not self.has_admin_pass:
            self._environ["ADMIN_PASS"] = folder.secret("admin-key", lambda: secrets.token_urlsafe(32))
        if "WEIR_MASTER_KEY" not in self._given.given:
            self._environ["WEIR_MASTER_KEY"] = folder.secret("master-key", new_master_key)
        passwords = self._start_postgres(folder) if "POSTGRESQL_HOSTS" not in self._given.given else {}
        if "REDIS_HOSTS" not in self._given.given:
            self._start_valkey(folder)
        environs = {plane: self._plane_environ(plane, passwords) for plane in _READY_PATHS}
        _migrate(load(environs["admin"]))
        for plane, environ in environs.items():
            program = [sys.executable, "-P", "-m", plane]
            log = folder.path / "logs" / f"{plane}.log"
            # Killed with us, the servers they write to gone, there is nothing to drain for: the journal keeps all.
            self._planes[plane] = Child(
                plane, program, log, death_signal=signal.SIGKILL, environ=environ, lock=folder.lock
            )
        self._wait_until_ready()

    def _choose_ports(self) -> None:
        """Settle port 0 and refuse, before anything runs, a port that somebody listens on."""
        settings = self.settings
        wanted = [
            ("WEIR_ADMIN_PORT", settings.weir_admin_address, settings.weir_admin_port),
            ("WEIR_PROXY_PORT", settings.weir_proxy_address, settings.weir_proxy_port),
        ]
        if settings.prometheus_enabled:
            wanted += [
                ("PROMETHEUS_PORT", settings.weir_metrics_address, settings.prometheus_port),
                ("WEIR_ADMIN_PROMETHEUS_PORT", settings.weir_metrics_address, settings.weir_admin_prometheus_port),
            ]
        held: list[socket.socket] = []
        try:
            for name, address, port in wanted:
                try:
                    found = socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
                    family, kind, protocol, _, where = found[0]
                    held.append(listener := socket.socket(family, kind, protocol))
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ours of a moment ago may linger
                    listener.bind(where)
                    listener.listen(1)
                except OSError as error:
                    raise LaunchError(f"{name}: cannot listen on {address}, port {port}: {error.strerror}") from None
                if port == 0:
                    self._environ[name] = str(listener.getsockname()[1])
        finally:
            for listener in held:
                listener.close()

    def _start_postgres(self, folder: Folder) -> dict[str, str]:
        passwords = {
            user: folder.secret(f"passwords/{user}", lambda: secrets.token_hex(24)) for user in ("postgres", *USERS)
        }
        self._postgres = server = Postgres(
            folder.path / "postgres",
            folder.sockets(),
            folder.path / "logs" / "postgres.log",
            passwords["postgres"],
            lock=folder.lock,
        )
        server.start()
        asyncio.run(_provide(server, passwords))
        self._environ |= {
            "POSTGRESQL_HOSTS": server.host,
            "POSTGRESQL_PORT": str(server.port),
            "POSTGRESQL_DB_NAME": DATABASE,
        }
        return passwords

    def _start_valkey(self, folder: Folder) -> None:
        run = folder.sockets() if self._postgres is None else Path(self._postgres.host)
        self._valkey = Valkey(folder.path / "valkey", run, folder.path / "logs" / "valkey.log", lock=folder.lock)
        self._valkey.start()
        self._environ["REDIS_HOSTS"] = self._valkey.socket_path

    def _plane_environ(self, plane: str, passwords: Mapping[str, str]) -> dict[str, str]:
        """What this plane needs and no other plane's secrets."""
        others = {setting.name for setting in SETTINGS if setting.plane not in (plane, "both")}
        environ = {name: text for name, text in self._environ.items() if name not in others}
        if passwords:
            user = f"weir_{plane}_login"
            environ |= {"POSTGRESQL_USERNAME": user, "POSTGRESQL_PASSWORD": passwords[user]}
            if plane == "admin":
                environ |= {"WEIR_MIGRATE_USERNAME": OWNER, "WEIR_MIGRATE_PASSWORD": passwords[OWNER]}
        return environ

    def _wait_until_ready(self) -> None:
        settings = self.settings
        waiting = {
            "admin": (reachable(settings.weir_admin_address), settings.weir_admin_port),
            "proxy": (reachable(settings.weir_proxy_address), settings.weir_proxy_port),
        }
        deadline = time.monotonic() + READY_SECONDS
        while waiting:
            self.check()
            waiting = {plane: at for plane, at in waiting.items() if not _answers(*at, _READY_PATHS[plane])}
            if waiting and time.monotonic() > deadline:
                plane = next(iter(waiting))
                raise LaunchError(f"the {plane} plane is not ready in {READY_SECONDS} s (its log: {self.log(plane)})")
            time.sleep(0.05)

    def log(self, plane: str) -> Path:
        """Where that plane's output goes."""
        return self.folder_path / "logs" / f"{plane}.log"

    def check(self) -> None:
        """Raises LaunchError when a process of the stack has ended."""
        for server in (self._postgres, self._valkey):
            if server is not None and server.child.exit_code is not None:
                raise LaunchError(f"{server.child.name} ended unexpectedly (its log: {server.child.log})")
        for plane, child in self._planes.items():
            if child.exit_code is not None:
                told = [line for line in child.told().splitlines() if line.startswith("weir: ")]
                if told:
                    raise LaunchError(told[-1].removeprefix("weir: "))
                how = f"exit code {child.exit_code}" if child.exit_code >= 0 else f"signal {-child.exit_code}"
                raise LaunchError(f"the {plane} plane ended unexpectedly, {how} (its log: {self.log(plane)})")

    def watch(self) -> None:
        """Return never; raises LaunchError when a process of the stack ends."""
        while True:
            self.check()
            time.sleep(0.25)

    def stop(self) -> None:
        """Stop the planes, which finish what they have begun; then the servers they write to; let go of `.weir`."""
        for child in self._planes.values():
            child.ask_to_stop()
        settings = self.settings
        deadline = time.monotonic() + settings.drain_notice + settings.drain_timeout + GRACE_SECONDS
        for child in self._planes.values():
            child.stop(max(0, deadline - time.monotonic()))
        self._planes.clear()
        for server in (self._valkey, self._postgres):
            if server is not None:
                server.stop()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def kill(self) -> None:
        """End everything at once. What was journaled is found at the next start."""
        for child in self._planes.values():
            child.kill()
        for server in (self._valkey, self._postgres):
            if server is not None:
                server.kill()
        if self._folder is not None:
            self._folder.close()


def _refuse_orphans(settings: Settings, hosts: str, names: tuple[str, ...]) -> None:
    if hosts in settings.given:
        return
    for name in names:
        if name in settings.given:
            raise SettingsError(f"{name}: set without {hosts}; set both to use a server of yours, or neither")


async def _provide(server: Postgres, passwords: Mapping[str, str]) -> None:
    connection = await connect_superuser(server)
    try:
        await provide_users(connection, passwords)
        await provide_database(server, connection, DATABASE)
    finally:
        await connection.close()


def _migrate(settings: Settings) -> None:
    try:
        asyncio.run(migrate(settings))
    except (OSError, TimeoutError, asyncpg.PostgresError, MigrationError) as error:
        hosts = ",".join(str(host) for host in settings.postgresql_hosts)
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LaunchError(f"cannot bring the database on {hosts} up to date: {told}") from None


def _answers(host: str, port: int, path: str) -> bool:
    client = http.client.HTTPConnection(host, port, timeout=2)
    try:
        client.request("GET", path)
        return client.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()
