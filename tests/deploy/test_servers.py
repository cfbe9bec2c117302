"""The embedded servers: they start, stop, survive a crash and their launcher's, for every kind of user and path."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis

from deploy.local import postgres as postgres_module
from deploy.local.child import Child, LaunchError
from deploy.local.folder import Folder
from deploy.local.guard import NO_PROGRAM
from deploy.local.postgres import Postgres, find_binaries, identities, is_socket_folder
from deploy.local.valkey import Valkey
from tests.deploy.processes import living_under, within
from tests.servers import FAST

ROOT = Path(__file__).parents[2]
NOBODY = 65534
AS_EVERY_IDENTITY = [pytest.param(identity, id=identity.partition(":")[0]) for identity in identities()]


@pytest.fixture
def folder(server_folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder of the test's own, with a short path."""
    path = server_folder / f"{abs(hash(request.node.nodeid)):x}"
    path.mkdir()
    yield path
    if not within(10, lambda: not living_under(path)):
        for pid in living_under(path):
            os.kill(pid, signal.SIGKILL)
        pytest.fail("the test left a process running")


def make_postgres(folder: Path, identity: str | None = None) -> Postgres:
    sockets = folder / "sockets"
    sockets.mkdir(exist_ok=True)
    return Postgres(
        folder / "postgres", sockets, folder / "postgres.log", "it's a password", options=FAST, identity=identity
    )


async def run_sql(server: Postgres, sql: str) -> object:
    connection = await asyncpg.connect(
        host=server.host, port=server.port, user=server.username, password=server.password, database="postgres"
    )
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@pytest.mark.parametrize("identity", AS_EVERY_IDENTITY)
async def test_postgres_keeps_rows_over_a_stop_and_over_a_crash(folder: Path, identity: str) -> None:
    """A stop and a SIGKILL of the server lose no committed row; the next start recovers by itself."""
    server = make_postgres(folder, identity)
    server.start()
    await run_sql(server, "CREATE TABLE kept AS SELECT 1 AS number")
    server.stop()

    server.start()
    await run_sql(server, "INSERT INTO kept VALUES (2)")
    server.kill()

    server.start()
    assert await run_sql(server, "SELECT sum(number) FROM kept") == 3
    server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a choice of identities")
async def test_postgres_data_passes_from_one_identity_to_another(folder: Path) -> None:
    """Root's data folder stays usable where user namespaces come or go."""
    for identity in (*identities(), *identities()):
        server = make_postgres(folder, identity)
        server.start()
        assert await run_sql(server, "SELECT 1") == 1
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a choice of identities")
async def test_postgres_runs_below_a_folder_closed_to_its_user(folder: Path) -> None:
    """The user that stands in for root reaches a data folder inside a private one."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    server = make_postgres(closed, identities()[-1])
    server.start()
    assert await run_sql(server, "SELECT 1") == 1
    server.stop()


async def test_postgres_refuses_a_wrong_password(folder: Path) -> None:
    """Being able to reach the socket is not enough."""
    server = make_postgres(folder)
    server.start()
    right, server.password = server.password, "wrong"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await run_sql(server, "SELECT 1")
    server.password = right
    server.stop()


async def test_postgres_starts_beside_the_pid_file_of_another_life(folder: Path) -> None:
    """A pid file whose number belongs to some other process by now does not stop the start."""
    server = make_postgres(folder)
    server.start()
    server.kill()
    pid_file = folder / "postgres" / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(pid_file.read_text().split("\n")[0], str(os.getppid()), 1))

    server.start()
    assert await run_sql(server, "SELECT 1") == 1
    server.stop()


async def test_postgres_drops_a_half_made_data_folder(folder: Path) -> None:
    """A first start that was cut short is begun anew."""
    (folder / "postgres.new").mkdir()
    (folder / "postgres.new" / "PG_VERSION").write_text("18\n")
    server = make_postgres(folder)
    server.start()
    assert await run_sql(server, "SELECT 1") == 1
    server.stop()


def test_postgres_names_a_data_folder_of_another_major(folder: Path) -> None:
    """Data of another major version is left alone, and named."""
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(LaunchError, match=r"belongs to PostgreSQL 16, not 18"):
        make_postgres(folder).start()


def test_postgres_names_its_log_when_it_cannot_start(folder: Path) -> None:
    """A server that ends at once is one line that says where to read on."""
    sockets = folder / "sockets"
    sockets.mkdir()
    server = Postgres(
        folder / "postgres", sockets, folder / "postgres.log", "x", options=FAST | {"max_connections": "none"}
    )
    with pytest.raises(LaunchError, match=r"did not start .*postgres\.log"):
        server.start()


def test_no_identity_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no identity can be had, the user is told what to do."""
    monkeypatch.setattr(postgres_module, "identities", lambda: ["namespace:-1:-1"])
    with pytest.raises(LaunchError, match=r"run as an ordinary user or set POSTGRESQL_HOSTS"):
        postgres_module.find_identity(find_binaries())


async def test_valkey_keeps_values_over_a_stop_and_over_a_crash(folder: Path) -> None:
    """A stop keeps every value, a SIGKILL all but the last second's; it listens on nothing but its socket."""
    server = Valkey(folder / "valkey", folder, folder / "valkey.log")
    for end in (server.stop, server.kill):
        server.start()
        client = redis.Redis(unix_socket_path=server.socket_path)
        await client.incr("count")
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
        assert (await client.config_get("port"))["port"] == "0"
        await client.execute_command("WAITAOF", 1, 0, 5000)
        await client.aclose()
        end()
    assert not os.path.exists(server.socket_path) or os.stat(server.socket_path).st_mode & 0o077 == 0

    server.start()
    client = redis.Redis(unix_socket_path=server.socket_path)
    assert await client.get("count") == b"2"
    await client.aclose()
    server.stop()


async def test_both_run_in_a_long_folder_with_a_space(folder: Path) -> None:
    """A data folder of 150 characters with a space and a quote in it: the sockets move to a short private folder."""
    long = folder / ("it's long, " + "x" * (150 - 12 - len(str(folder))))
    assert len(str(long)) >= 149
    data = Folder(long)
    sockets = data.sockets()
    assert not is_socket_folder(str(long / "sockets"))
    assert sockets.stat().st_mode & 0o777 == 0o700
    database = Postgres(
        data.path / "postgres", sockets, data.path / "logs" / "postgres.log", "x", options=FAST, lock=data.lock
    )
    database.start()
    counters = Valkey(data.path / "valkey", sockets, data.path / "logs" / "valkey.log", lock=data.lock)
    counters.start()

    assert await run_sql(database, "SELECT 1") == 1
    client = redis.Redis(unix_socket_path=counters.socket_path)
    assert await client.ping()

    await client.aclose()
    database.stop()
    counters.stop()
    data.close()
    assert not sockets.exists()


def start_launcher(
    folder: Path, python: str = sys.executable, **options: object
) -> tuple[subprocess.Popen[str], list[int]]:
    packages = [path for path in sys.path if path.endswith("site-packages")]
    process = subprocess.Popen(
        [python, "-m", "tests.deploy.launcher", str(folder / ".weir")],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), *packages])},
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    assert process.stdout is not None
    return process, [int(word) for word in process.stdout.readline().split()]


def test_a_killed_launcher_leaves_no_server(folder: Path) -> None:
    """SIGKILL of the launcher ends both servers, and the next launcher starts on their data."""
    for _ in range(2):
        launcher, servers = start_launcher(folder)
        assert len(servers) == 2
        assert set(servers) < living_under(folder)

        launcher.kill()
        launcher.communicate()
        assert within(10, lambda: not living_under(folder))


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs every test here anyway")
def test_an_ordinary_user_runs_both(folder: Path) -> None:
    """Without any right of root's, from a folder of the user's own."""
    candidates = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")

    def starts(python: str) -> bool:
        command = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            return subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/").returncode == 0
        except OSError:
            return False

    python = next((python for python in candidates if starts(python)), None)
    if python is None or subprocess.run(["ls", ROOT], user=NOBODY, stdout=subprocess.DEVNULL).returncode != 0:
        pytest.skip("no Python, or not this tree, is readable for an ordinary user here")
    folder.parent.chmod(0o711)
    shutil.chown(folder, NOBODY)
    launcher, servers = start_launcher(folder, python, user=NOBODY, group=NOBODY, extra_groups=[])
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in servers} == {NOBODY}

    launcher.kill()
    launcher.communicate()
    assert within(10, lambda: not living_under(folder))


@pytest.mark.parametrize(
    ("path", "is_fit"),
    [
        ("/home/me/weir/.weir/sockets", True),
        ("/home/me and you/weir/.weir/sockets", True),
        ("/" + "x" * 92, True),
        ("/" + "x" * 93 + "x", False),
        ("/a,b", False),
        ("/it's", False),
        ('/a"b', False),
        ("/a\\b", False),
        ("/ends ", False),
        ("relative", False),
    ],
)
def test_sockets_lie_only_where_every_client_finds_them(path: str, is_fit: bool) -> None:
    """Too long for the kernel, or a list of two to a client: not fit."""
    assert is_socket_folder(path) is is_fit


def test_signals_are_default_again_behind_the_guard(folder: Path) -> None:
    """A stack started in the background ignores Ctrl-C; what it starts must not inherit that."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = Child("sleep", ["/bin/sleep", "60"], folder / "sleep.log", stop_signal=signal.SIGINT, cwd=folder)
        assert within(5, lambda: "sleep" in Path(f"/proc/{child.pid}/comm").read_text())
    finally:
        signal.signal(signal.SIGINT, before)
    child.ask_to_stop()
    is_ended = child.wait(5)
    child.kill()
    assert is_ended


def test_a_program_that_is_missing_is_told(folder: Path) -> None:
    """By the guard, in the child's log, with an exit code of its own."""
    child = Child("nothing", ["/nonexistent/program"], folder / "nothing.log")
    assert child.wait(5)
    assert child.exit_code == NO_PROGRAM
    assert child.told() == "cannot start /nonexistent/program: No such file or directory\n"
    child.kill()
