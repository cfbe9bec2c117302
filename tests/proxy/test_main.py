"""`python -m proxy` as a process: how it starts under a host's name, and what it says when it cannot start."""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.ports import free_port
from tests.servers import MASTER_KEY, clean_environ

PATIENCE_SECONDS = 60
NOWHERE = "no.such.host.invalid"


async def spawn(environ: dict[str, str], folder: Path, *arguments: str, **output: Any) -> asyncio.subprocess.Process:
    pipes: dict[str, Any] = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE, **output}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", *arguments, env={**clean_environ(), **environ}, cwd=folder, **pipes
    )


async def refusal(environ: dict[str, str], folder: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr."""
    process = await spawn(environ, folder, *arguments)
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def good(tmp_path: Path) -> dict[str, str]:
    """Settings that nothing is wrong with."""
    return {
        "WEIR_MASTER_KEY": MASTER_KEY,
        "WEIR_PROXY_ADDRESS": "127.0.0.1",
        "WEIR_PROXY_PORT": str(free_port()),
        "PROMETHEUS_PORT": str(free_port()),
        "WEIR_DATA_DIR": str(tmp_path / "data"),
    }


async def test_help_needs_no_setting(tmp_path: Path) -> None:
    """And a wrong one does not spoil it."""
    code, out, err = await refusal({"WEIR_PROXY_ADDRESS": NOWHERE, "WEIR_PROXY_PORT": "x"}, tmp_path, "--help")
    assert (code, err) == (0, "")
    assert "SIGTERM drains" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"WEIR_MASTER_KEY": ""}, "WEIR_MASTER_KEY: must be set, to the same value as in the admin plane"),
        ({"WEIR_MASTER_KEY": "not-a-key"}, "WEIR_MASTER_KEY: "),
        ({"WEIR_PROXY_PORT": "http"}, "WEIR_PROXY_PORT: 'http' "),
        ({"WEIR_PROXY_ADDRESS": NOWHERE}, f"WEIR_PROXY_ADDRESS: '{NOWHERE}' does not resolve: "),
        ({"WEIR_PROXY_ADDRESS": "a..b"}, "WEIR_PROXY_ADDRESS: 'a..b' does not resolve: "),
        ({"WEIR_METRICS_ADDRESS": NOWHERE}, f"WEIR_METRICS_ADDRESS: '{NOWHERE}' does not resolve: "),
        ({"WEIR_PROXY_ADDRESS": "192.0.2.1"}, "WEIR_PROXY_PORT: cannot listen on 192.0.2.1:"),
        ({"WEIR_MODEL_CATALOG": "broken.json"}, "broken.json: "),
        ({"WEIR_MODEL_CATALOG": "missing.json"}, "missing.json: cannot be read: "),
        ({"WEIR_DATA_DIR": "broken.json"}, "WEIR_DATA_DIR: cannot write to broken.json: "),
        (
            {"POSTGRESQL_SSL_MODE": "verify-full", "POSTGRESQL_SSL_ROOT_CERT": "broken.json"},
            "POSTGRESQL_SSL_ROOT_CERT: broken.json does not hold certificates in PEM",
        ),
        ({"REDIS_TLS": "true", "REDIS_TLS_CERT": "missing"}, "REDIS_TLS_CERT: cannot read missing: No such file"),
        ({"REDIS_HOSTS": "redis://:not-a-key@cache"}, "REDIS_HOSTS: must be hosts like "),
        ({"WEIR_DATA_DIR": "broken.json/data"}, "WEIR_DATA_DIR: cannot write to broken.json/data: "),
    ],
    ids=lambda value: "-".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else "",
)
async def test_what_cannot_start_says_why_in_one_line(
    good: dict[str, str], tmp_path: Path, over: dict[str, str], told: str
) -> None:
    """On stderr, naming the setting; exit code 2, no stack trace, nothing secret."""
    (tmp_path / "broken.json").write_text('{"gpt-4o": ')
    code, out, err = await refusal(good | over, tmp_path)
    assert (code, out) == (2, ""), err
    assert err.startswith(f"weir: {told}"), err
    assert err.count("\n") == 1, err
    assert "not-a-key" not in err


@pytest.mark.parametrize("privacy", ["strict", "verbose"])
async def test_the_command_line_may_not_contradict_the_file_of_settings(
    good: dict[str, str], tmp_path: Path, privacy: str
) -> None:
    """The file is what every worker reads; before the environment the command line wins."""
    other = {"strict": "verbose", "verbose": "strict"}[privacy]
    (tmp_path / "weir.json").write_text(f'{{"weir_privacy": "{other}"}}')
    environ = good | {"CONFIG_FILE_NAME": "weir.json"}
    code, out, err = await refusal(environ, tmp_path, "-p", privacy)
    assert (code, out) == (2, "")
    assert err == f"weir: WEIR_PRIVACY: -p says {privacy}, the file of settings {other}\n"

    told = await refusal(good | {"WEIR_PRIVACY": other, "WEIR_PROXY_ADDRESS": NOWHERE}, tmp_path, "-p", privacy)
    assert told[2].startswith("weir: WEIR_PROXY_ADDRESS: ")


@pytest.mark.parametrize("name", ["WEIR_PROXY_PORT", "PROMETHEUS_PORT"])
async def test_a_taken_port_is_told(good: dict[str, str], tmp_path: Path, name: str) -> None:
    """By the name of its setting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = await refusal(good | {name: str(port)}, tmp_path)
    assert (code, out) == (2, "")
    assert err == f"weir: {name}: cannot listen on 127.0.0.1:{port}: Address already in use\n"


async def until_it_answers(http: aiohttp.ClientSession, url: str, process: asyncio.subprocess.Process) -> str:
    for _ in range(PATIENCE_SECONDS * 10):
        assert process.returncode is None
        try:
            async with http.get(url) as answer:
                assert answer.status == 200
                return await answer.text()
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


async def test_a_host_s_name_is_listened_on(database: Any, valkey: Any, good: dict[str, str], tmp_path: Path) -> None:
    """WEIR_PROXY_ADDRESS and WEIR_METRICS_ADDRESS may be localhost; SIGTERM ends it with 0."""
    redis = valkey.fresh()
    environ = {
        **database.settings_environ("proxy"), **good, "REDIS_HOSTS": str(redis.socket_path),
        "WEIR_PROXY_ADDRESS": "localhost", "WEIR_METRICS_ADDRESS": "localhost", "DRAIN_NOTICE": "0s",
    }  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = await spawn(environ, tmp_path, stdout=output, stderr=output)
    try:
        async with aiohttp.ClientSession() as http:
            await until_it_answers(http, f"http://127.0.0.1:{good['WEIR_PROXY_PORT']}/health/ready", process)
            metrics = await until_it_answers(http, f"http://127.0.0.1:{good['PROMETHEUS_PORT']}/metrics", process)
        assert "weir_snapshot_age_seconds" in metrics
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        redis.stop()
    assert "Traceback" not in log.read_text()
