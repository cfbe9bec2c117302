"""`python -m admin`: start the control plane, or only migrate. Settings come as `shared/settings.py` says."""

import argparse
import asyncio
import ctypes
import os
import signal
import socket
import sys
from functools import partial
from typing import NoReturn

import asyncpg
import structlog
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server

from admin.app import create_app, find_secrets
from admin.auth import AdminKey, find_admin_key
from admin.edge import Edge
from admin.migrate import MigrationError, migrate
from shared import log
from shared.settings import Settings, SettingsError, load
from shared.tls import postgresql_tls

WRONG_SETTING, FAILED = 2, 1
MIGRATE_TRIES = 60
_PR_SET_PDEATHSIG = 1
_DRAIN_SECONDS = 10


def _stop(message: str, code: int) -> NoReturn:
    print(f"weir: {message}", file=sys.stderr)
    sys.exit(code)


def _die_with(parent: int) -> None:
    """Make this worker end when the process that started it does, even by kill -9."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before we asked
        os._exit(FAILED)


def _worker(settings: Settings, key: AdminKey, parent: int) -> Edge:
    _die_with(parent)
    log.configure("admin")
    return create_app(settings, key.text)


def _check_free(name: str, address: str, port: int) -> tuple[str, int]:
    """Address and port in numbers, a free one for 0. Raises SettingsError when it is taken.

    Granian would say that in a stack trace, and knows no names of hosts.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise SettingsError(f"{name}: cannot listen on {address} port {port}: {reason}") from None
        return probe.getsockname()[:2]


def _serve(settings: Settings) -> None:
    key = find_admin_key(settings)
    find_secrets(settings)
    address = "127.0.0.1" if settings.weir_admin_address == "localhost" else settings.weir_admin_address
    address, port = _check_free("WEIR_ADMIN_PORT", address, settings.weir_admin_port)
    if settings.prometheus_enabled:
        _check_free("WEIR_ADMIN_PROMETHEUS_PORT", settings.weir_metrics_address, settings.weir_admin_prometheus_port)
    log.configure("admin")
    told = structlog.get_logger()
    if key.warning:
        told.warning("weak admin key", detail=key.warning)
    told.info(
        "admin plane starts", url=f"http://{f'[{address}]' if ':' in address else address}:{port}", admin_key=key.place
    )
    server = Server(
        "admin.app",
        address=address,
        port=port,
        interface=Interfaces.ASGI,
        workers=1,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
        workers_kill_timeout=_DRAIN_SECONDS,
    )
    try:
        server.serve(target_loader=partial(_worker, settings, key, os.getpid()), wrap_loader=False)
    except OSError as error:
        raise SettingsError(f"WEIR_ADMIN_PORT: cannot listen on {address} port {port}: {error}") from None


async def _migrate(settings: Settings) -> None:
    for left in reversed(range(MIGRATE_TRIES)):
        try:
            await migrate(settings)
            return
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError) as error:
            if left == 0:
                _stop(f"PostgreSQL cannot be reached: {type(error).__name__}", FAILED)
            print("weir: PostgreSQL cannot be reached yet, trying again", file=sys.stderr)
            await asyncio.sleep(1)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, MigrationError) as error:
            _stop(f"the migration failed and nothing was changed: {error}", FAILED)


def main(arguments: list[str] | None = None) -> None:
    """Run the command. Exits with 2 for a wrong setting or argument, 1 when the work failed."""
    parser = argparse.ArgumentParser(
        prog="python -m admin",
        description="Weir's control plane: provider settings, keys and events, on WEIR_ADMIN_ADDRESS:WEIR_ADMIN_PORT. "
        "Every setting is an environment variable; the README has them all.",
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("serve", "migrate"),
        default="serve",
        help="serve (the default): migrate the database, then serve. migrate: only bring the schema up to date.",
    )
    command = parser.parse_args(arguments).command
    try:
        settings = load()
        postgresql_tls(settings)
        if command == "migrate":
            asyncio.run(_migrate(settings))
        else:
            _serve(settings)
    except SettingsError as error:
        _stop(str(error), WRONG_SETTING)


if __name__ == "__main__":
    main()
