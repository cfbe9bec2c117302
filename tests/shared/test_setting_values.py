"""Values whose text can be written in many ways: lists of hosts, and URLs that carry more than a place."""

from pathlib import Path

import pytest

from shared.setting_values import Host
from shared.settings import SettingsError, load

NAMES = pytest.mark.parametrize("name", ["POSTGRESQL_HOSTS", "REDIS_HOSTS"])


@NAMES
@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a, b ,,c", [("a", None), ("b", None), ("c", None)]),
        ("db-1.example:5433,db_2", [("db-1.example", 5433), ("db_2", None)]),
        ("127.0.0.1:1,127.0.0.1:65535", [("127.0.0.1", 1), ("127.0.0.1", 65535)]),
        ("::1,[::1]:5433,[fd00::1]", [("::1", None), ("::1", 5433), ("fd00::1", None)]),
        ("fe80::1%eth0", [("fe80::1%eth0", None)]),
        ("/run/postgresql,/tmp/a:b", [("/run/postgresql", None), ("/tmp/a:b", None)]),
        ("xn--bcher-kva.example", [("xn--bcher-kva.example", None)]),
    ],
)
def test_hosts_have_ports_of_their_own_or_not(name: str, text: str, hosts: list[tuple[str, int | None]]) -> None:
    """Names, addresses of both kinds, and paths."""
    assert list(getattr(load({name: text}, Path("/nowhere")), name.lower())) == hosts


@NAMES
@pytest.mark.parametrize(
    "text",
    [
        "",
        " , ",
        "a:0",
        "a:65536",
        "a:",
        ":5432",
        "a:b",
        "a b",
        "redis://a",
        "a/b",
        "[::1",
        "[a]:1",
        "::g",
        "a:٥",
        "[]:1",
    ],
)
def test_what_is_no_list_of_hosts_stops_the_start(name: str, text: str) -> None:
    """Naming the variable, and showing what was there; an empty one is as if it were not there."""
    if not text:
        assert load({name: text}, Path("/nowhere")).given == frozenset()
        return
    with pytest.raises(SettingsError) as caught:
        load({name: text}, Path("/nowhere"))
    assert str(caught.value).startswith(f"{name}: {text!r} must ")


@pytest.mark.parametrize(
    "host", [Host("a"), Host("a", 1), Host("::1"), Host("::1", 5433), Host("/run/a:b"), Host("127.0.0.1", 9)], ids=str
)
def test_a_host_reads_as_it_is_written(host: Host) -> None:
    """What a message shows can be put into the setting."""
    assert load({"REDIS_HOSTS": str(host)}, Path("/nowhere")).redis_hosts == (host,)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("POSTGRESQL_HOSTS", "postgres://weir:hunter2@db"),
        ("REDIS_HOSTS", "rediss://:hunter2@cache:6379"),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://user:hunter2@host"),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://@host"),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://host\\@evil"),
    ],
)
def test_what_may_carry_a_password_is_named_and_not_shown(name: str, text: str) -> None:
    """A URL pasted where a name belongs."""
    with pytest.raises(SettingsError) as caught:
        load({name: text}, Path("/nowhere"))
    assert str(caught.value).startswith(f"{name}: must ")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["POSTGRESQL_READ_TIME_OUT", "POSTGRESQL_WRITE_TIME_OUT"])
@pytest.mark.parametrize("text", ["0", "999us", "0.1ms", "24d1s", "1000h"])
def test_what_postgresql_would_not_take_for_a_time_limit_stops_the_start(name: str, text: str) -> None:
    """It refuses what exceeds 31 bits of milliseconds at every connection, and takes what rounds to 0 for no limit."""
    with pytest.raises(SettingsError, match=f"^{name}: '{text}' must be from 1ms to 24d$"):
        load({name: text}, Path("/nowhere"))


@pytest.mark.parametrize(("text", "seconds"), [("1ms", 0.001), ("24d", 2_073_600.0)])
def test_a_time_limit_that_postgresql_takes_is_taken(text: str, seconds: float) -> None:
    """In milliseconds it is neither 0 nor more than 31 bits hold."""
    read = load({"POSTGRESQL_READ_TIME_OUT": text}, Path("/nowhere")).postgresql_read_time_out
    assert read == seconds
    assert 1 <= int(read * 1000) < 2**31
