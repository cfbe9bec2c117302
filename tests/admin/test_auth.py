"""The admin key: found or refused at the start, compared on every request, and patience with wrong ones."""

import os
import stat
import threading
from pathlib import Path

import pytest

from admin.auth import FAILURES_PER_MINUTE, Gate, find_admin_key, is_loopback
from admin.edge import Edge
from admin.errors import Problem
from shared.settings import Settings, SettingsError, load
from tests.admin.conftest import ADMIN_KEY, app_of, client_of, running
from tests.servers import Database

GOOD = "a-good-key-of-20-letters"


def settings_of(folder: Path, **over: str) -> Settings:
    return load({"WEIR_DATA_DIR": str(folder), **over}, folder)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback(address: str, expected: bool) -> None:
    """Anything that is not surely loopback is not."""
    assert is_loopback(address) is expected


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.1.2.3", "weir.example.com"])
def test_without_a_key_nothing_but_loopback_starts(tmp_path: Path, address: str) -> None:
    """No ADMIN_PASS and another address: refused, naming both; no file is made."""
    with pytest.raises(SettingsError, match=r"ADMIN_PASS.*WEIR_ADMIN_ADDRESS"):
        find_admin_key(settings_of(tmp_path, WEIR_ADMIN_ADDRESS=address))

    assert not (tmp_path / "admin-key").exists()


@pytest.mark.parametrize("weak", ["admin", "changeme", "sk-1234", "fifteen-letters", "aaaaaaaaaaaaaaaaaaaaaaaa"])
def test_a_weak_key_is_refused_off_loopback_and_warned_of_on_it(tmp_path: Path, weak: str) -> None:
    """The message says why and not what."""
    with pytest.raises(SettingsError, match="ADMIN_PASS") as refused:
        find_admin_key(settings_of(tmp_path, WEIR_ADMIN_ADDRESS="0.0.0.0", ADMIN_PASS=weak))
    tolerated = find_admin_key(settings_of(tmp_path, ADMIN_PASS=weak))

    assert weak not in str(refused.value)
    assert tolerated.text == weak
    assert tolerated.warning
    assert weak not in tolerated.warning


@pytest.mark.parametrize("key", ["schlüssel-mit-umlaut", "two\tparts-of-one-key", "new\nline-in-the-middle-of"])
def test_a_key_no_header_carries_is_refused_everywhere(tmp_path: Path, key: str) -> None:
    """It would lock everybody out."""
    with pytest.raises(SettingsError, match="ADMIN_PASS"):
        find_admin_key(settings_of(tmp_path, ADMIN_PASS=key))


def test_a_good_key_is_taken_as_it_is(tmp_path: Path) -> None:
    """From ADMIN_PASS, without warning, without a file."""
    key = find_admin_key(settings_of(tmp_path, WEIR_ADMIN_ADDRESS="0.0.0.0", ADMIN_PASS=GOOD))

    assert (key.text, key.place, key.warning) == (GOOD, "ADMIN_PASS", "")
    assert list(tmp_path.iterdir()) == []


def test_on_loopback_a_key_is_made_once(tmp_path: Path) -> None:
    """256 bits, readable by its owner only, the same the next time, and nothing else left behind."""
    folder = tmp_path / "new" / "folder"
    first, second = (find_admin_key(settings_of(folder)) for _ in range(2))

    path = folder / "admin-key"
    assert first == second
    assert first.place == str(path)
    assert len(first.text) >= 43
    assert path.read_text().strip() == first.text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in folder.iterdir()] == ["admin-key"]


def test_a_key_file_open_to_others_is_closed(tmp_path: Path) -> None:
    """A copied folder may have lost its modes."""
    path = tmp_path / "admin-key"
    path.write_text("another-key-of-20-letters\n")
    path.chmod(0o644)
    find_admin_key(settings_of(tmp_path))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    """Whoever comes second takes the first one's."""
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(find_admin_key(settings_of(tmp_path)).text)) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 16
    assert len(set(found)) == 1


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 40])
def test_a_broken_key_file_stops_the_start(tmp_path: Path, content: bytes) -> None:
    """Rather than an admin plane with an empty key."""
    (tmp_path / "admin-key").write_bytes(content)

    with pytest.raises(SettingsError, match="admin-key"):
        find_admin_key(settings_of(tmp_path))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")

    with pytest.raises(SettingsError, match="WEIR_DATA_DIR"):
        find_admin_key(settings_of(tmp_path / "file"))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def status_of(gate: Gate, address: str, *keys: str) -> int:
    try:
        gate.check([key.encode() for key in keys], address)
    except Problem as problem:
        return problem.status
    return 200


def test_wrong_keys_are_slowed_down_per_address() -> None:
    """Ten wrong keys, then 429 for the rest of the minute for every wrong key; nobody else notices."""
    clock = Clock()
    gate = Gate(GOOD, clock)

    assert [status_of(gate, "1.1.1.1", "wrong") for _ in range(FAILURES_PER_MINUTE)] == [401] * FAILURES_PER_MINUTE
    assert status_of(gate, "1.1.1.1", "wrong") == 429
    assert status_of(gate, "1.1.1.2", "wrong") == 401

    clock.now += 59.5
    with pytest.raises(Problem) as waiting:
        gate.check([b"wrong"], "1.1.1.1")
    assert (waiting.value.status, waiting.value.retry_after) == (429, 1)

    clock.now += 0.5
    assert status_of(gate, "1.1.1.1", "wrong") == 401


def test_the_right_key_always_passes() -> None:
    """Whoever guesses from the owner's address does not lock the owner out, nor is let off by the owner."""
    gate = Gate(GOOD, Clock())
    seen = [(status_of(gate, "1.1.1.1", "wrong"), status_of(gate, "1.1.1.1", GOOD)) for _ in range(100)]

    assert seen == [(401, 200)] * FAILURES_PER_MINUTE + [(429, 200)] * (100 - FAILURES_PER_MINUTE)


def test_a_missing_key_is_no_guess() -> None:
    """A browser or a probe without the header locks nobody out."""
    gate = Gate(GOOD, Clock())

    assert {status_of(gate, "1.1.1.1") for _ in range(100)} == {401}
    assert status_of(gate, "1.1.1.1", "wrong") == 401


@pytest.mark.parametrize("keys", [("",), (GOOD + " ",), (GOOD[:-1],), (GOOD.upper(),), (GOOD, GOOD), ("x", GOOD)])
def test_only_the_very_key_once_is_right(keys: tuple[str, ...]) -> None:
    """Nothing near it, and not among several."""
    assert status_of(Gate(GOOD, Clock()), "1.1.1.1", *keys) == 401


def test_a_whole_ipv6_network_shares_its_failures() -> None:
    """Whoever has one /64 has 2**64 addresses."""
    gate = Gate(GOOD, Clock())
    for host in range(FAILURES_PER_MINUTE):
        status_of(gate, f"2001:db8::{host:x}", "wrong")

    assert status_of(gate, "2001:db8::ffff", "wrong") == 429
    assert status_of(gate, "2001:db8:0:1::1", "wrong") == 401


def test_memory_is_bounded() -> None:
    """Failures from very many addresses forget the oldest."""
    gate = Gate(GOOD, Clock())
    for number in range(11_000):
        status_of(gate, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "wrong")

    assert len(gate._failures) == 10_000


async def test_every_path_but_health_asks_for_the_key(app: Edge) -> None:
    """Known and unknown paths alike, in every method."""
    paths = ["/api/provider-settings", "/api/key-management/keys", "/api/events", "/api/v2/events", "/nope", "/"]
    async with client_of(app) as client:
        for path in paths:
            for method in ("GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD"):
                answer = await client.request(method, path)
                assert answer.status_code == 401, (method, path)
                assert answer.headers["cache-control"] == "no-store"
        for path in ("/api/health", "/api/health/ready"):
            assert (await client.get(path)).status_code == 200
            assert (await client.post(path)).status_code == 401
            assert (await client.get(path + "/")).status_code == 401


async def test_a_wrong_key_is_answered_in_the_error_json(database: Database) -> None:
    """401 in the contract's shape, then 429 with retry-after; the right key works from there all the same."""
    async with running(app_of(database.settings_environ("admin"))) as started:
        async with client_of(started, "9.9.9.9", **{"X-API-KEY": "wrong"}) as client:
            answers = [await client.get("/api/provider-settings") for _ in range(FAILURES_PER_MINUTE + 1)]
        async with client_of(started, "9.9.9.9", **{"X-API-KEY": ADMIN_KEY}) as client:
            right = await client.get("/api/provider-settings")

    assert [answer.status_code for answer in answers] == [401] * FAILURES_PER_MINUTE + [429]
    assert answers[0].json() == {
        "type": "/errors/unauthorized",
        "title": "unauthorized",
        "status": 401,
        "detail": "the admin key in X-API-KEY is wrong",
        "instance": "/api/provider-settings",
    }
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert right.status_code == 200


def test_the_key_file_belongs_to_one_process_user(tmp_path: Path) -> None:
    """Made by whoever runs the plane."""
    find_admin_key(settings_of(tmp_path))

    assert (tmp_path / "admin-key").stat().st_uid == os.getuid()
