"""Settings: sources in their order, every value checked, every complaint naming its variable and no secret."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

from shared.settings import BY_NAME, SETTINGS, Setting, Settings, SettingsError, load

MASTER_KEY = "00" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def dot_env(folder: Path, text: str) -> None:
    (folder / ".env").write_text(text, encoding="utf-8")


def config_file(folder: Path, content: object) -> dict[str, str]:
    path = folder / "weir.json"
    path.write_bytes(content if isinstance(content, bytes) else msgspec.json.encode(content))
    return {"CONFIG_FILE_NAME": str(path)}


def complaint(folder: Path, environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environ, folder)
    return str(caught.value)


# The table.


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_setting_is_complete_and_its_default_passes_its_own_check(setting: Setting) -> None:
    assert setting.name == setting.name.upper()
    assert setting.plane in ("proxy", "admin", "both")
    assert setting.meaning.endswith(".")
    setting.parse(setting.default)


def test_every_setting_is_a_typed_field_and_its_default_has_that_type(folder: Path) -> None:
    settings = load({}, folder)
    hints = get_type_hints(Settings)

    assert [row.name.upper() for row in fields(Settings)] == [*BY_NAME, "GIVEN"]
    for name in BY_NAME:
        value: Any = getattr(settings, name.lower())
        if isinstance(value, list | tuple):
            assert hints[name.lower()].__origin__ is tuple
        else:
            assert isinstance(value, hints[name.lower()]), name


def test_what_holds_a_password_or_a_key_is_marked_secret() -> None:
    telling = {
        name for name in BY_NAME if "PASS" in name or "SECRET" in name or name.endswith("_KEY") or "KEY_OLD" in name
    }

    assert {setting.name for setting in SETTINGS if setting.is_secret} == telling


def test_no_secret_has_a_default() -> None:
    assert not [setting.name for setting in SETTINGS if setting.is_secret and setting.default]


def test_the_names_of_other_sdks_are_not_ours() -> None:
    assert not {"OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "HTTP_PROXY"} & set(BY_NAME)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("postgresql_hosts", (("localhost", None),)),
        ("postgresql_port", 5432),
        ("postgresql_ssl_mode", "disable"),
        ("postgresql_read_time_out", 120.0),
        ("postgresql_write_time_out", 5.0),
        ("redis_hosts", (("localhost", None),)),
        ("redis_tls", False),
        ("redis_tls_verify", "full"),
        ("logged_body_bytes", 65_536),
        ("weir_privacy", "strict"),
        ("redis_port", 6379),
        ("redis_read_time_out", 1.0),
        ("redis_write_time_out", 0.5),
        ("in_memory_db_update_interval", 1.0),
        ("proxy_timeout", 600.0),
        ("limiter_timeout", 0.05),
        ("weir_upstream_openai_url", "https://api.openai.com"),
        ("upstream_allowed_networks", ()),
        ("weir_model_catalog", None),
        ("weir_master_key", None),
        ("snapshot_max_age", 86_400.0),
    ],
)
def test_defaults_are_those_of_the_contracts_documentation_and_of_the_design(
    folder: Path, field: str, value: Any
) -> None:
    assert getattr(load({}, folder), field) == value


# Sources.


def test_the_config_file_wins_over_the_environment_and_that_over_dot_env(folder: Path) -> None:
    dot_env(folder, "REDIS_PORT=1\nPOSTGRESQL_PORT=1\nWEIR_PROXY_PORT=1\n")
    environ = {"REDIS_PORT": "2", "POSTGRESQL_PORT": "2", **config_file(folder, {"redis_port": 3})}
    settings = load(environ, folder)

    assert (settings.redis_port, settings.postgresql_port, settings.weir_proxy_port) == (3, 2, 1)
    assert settings.given == {"REDIS_PORT", "POSTGRESQL_PORT", "WEIR_PROXY_PORT", "CONFIG_FILE_NAME"}


def test_dot_env_may_name_the_config_file(folder: Path) -> None:
    environ = config_file(folder, {"admin_pass": "from-file"})
    dot_env(folder, f"CONFIG_FILE_NAME={environ['CONFIG_FILE_NAME']}\nADMIN_PASS=from-dot-env\n")

    assert load({}, folder).admin_pass == "from-file"


def test_without_any_source_nothing_is_given(folder: Path) -> None:
    assert load({"PATH": "/bin", "HOME": "/root"}, folder).given == frozenset()


def test_an_empty_value_is_as_if_the_name_were_not_there(folder: Path) -> None:
    settings = load({"REDIS_PORT": "", "WEIR_MASTER_KEY": ""}, folder)

    assert settings.redis_port == 6379
    assert settings.weir_master_key is None
    assert settings.given == frozenset()


def test_the_environment_of_the_process_is_the_default_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("REDIS_PORT", "4321")

    assert load().redis_port == 4321


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("ADMIN_PASS=plain", "plain"),
        ("export ADMIN_PASS=plain", "plain"),
        ("  ADMIN_PASS = spaced  ", "spaced"),
        ("ADMIN_PASS='single quoted '", "single quoted "),
        ('ADMIN_PASS="a=b#c"', "a=b#c"),
        ("ADMIN_PASS=a=b", "a=b"),
        ("ADMIN_PASS='", "'"),
        ("ADMIN_PASS=\"mixed'", "\"mixed'"),
        ("# ADMIN_PASS=comment\n\nADMIN_PASS=after", "after"),
        ("ADMIN_PASS=first\nADMIN_PASS=last", "last"),
        ("ADMIN_PASS=pässwörd", "pässwörd"),
    ],
)
def test_a_line_of_dot_env_is_read(folder: Path, line: str, value: str) -> None:
    dot_env(folder, line)

    assert load({}, folder).admin_pass == value


@pytest.mark.parametrize("line", ["ADMIN_PASS", "=x", "1A=x", "A B=x", "A-B=x"])
def test_a_line_of_dot_env_that_is_none_is_named_by_its_number_and_not_shown(folder: Path, line: str) -> None:
    dot_env(folder, f"# first\n{line}\n")

    assert complaint(folder, {}) == f"{folder / '.env'}:2: not a NAME=value line"


def test_a_dot_env_that_is_not_text_is_named(folder: Path) -> None:
    (folder / ".env").write_bytes(b"ADMIN_PASS=\xff\xfe")

    assert complaint(folder, {}) == f"{folder / '.env'} is not UTF-8 text"


def test_other_programs_names_may_stand_in_dot_env(folder: Path) -> None:
    # The first two lines: a compose file's neighbours. The rest: what BricksLLM read and we do not yet (contract §1.2).
    dot_env(
        folder,
        "DATABASE_URL=x\nOPENAI_API_KEY=sk-1\nHTTP_PROXY=x\nAPP_PROXY_TIMEOUT=5\nCOMPOSE_PROJECT_NAME=x\n"
        "POSTGRES_USER=x\nPOSTGRES_PASSWORD=x\nPOSTGRES_DB=x\n"
        "TELEMETRY_PROVIDER=statsd\nSTATS_PROVIDER=statsd\nSTATS_ENABLED=true\nSTATS_ADDRESS=x\n"
        "NUMBER_OF_EVENT_MESSAGE_CONSUMERS=3\nCUSTOM_POLICY_DETECTION_TIMEOUT=10m\nAMAZON_REGION=us-west-2\n"
        "AMAZON_REQUEST_TIMEOUT=5s\nAMAZON_CONNECTION_TIMEOUT=10s\nREMOVE_USER_AGENT=false\n"
        "ENABLE_ENCRYPTION=false\nENCRYPTION_ENDPOINT=x\nDECRYPTION_ENDPOINT=x\nENCRYPTION_TIMEOUT=5s\nAUDIENCE=x\n",
    )

    assert load({}, folder).given == frozenset()


def test_numbers_and_booleans_of_the_config_file_are_taken(folder: Path) -> None:
    settings = load(config_file(folder, {"redis_port": 7, "PROMETHEUS_ENABLED": False, "proxy_timeout": "2m"}), folder)

    assert (settings.redis_port, settings.prometheus_enabled, settings.proxy_timeout) == (7, False, 120.0)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "must hold one JSON object"),
        ({"redis_prot": 1}, "unknown setting 'redis_prot'"),
        ({"redis_port": 1.5}, "redis_port in"),
        ({"redis_port": None}, "redis_port in"),
        ({"redis_hosts": ["a"]}, "redis_hosts in"),
    ],
)
def test_a_config_file_that_is_wrong_stops_the_start(folder: Path, content: object, told: str) -> None:
    message = complaint(folder, config_file(folder, content))

    assert message.startswith("CONFIG_FILE_NAME: ")
    assert told in message


def test_a_config_file_that_is_not_there_stops_the_start(folder: Path) -> None:
    assert "absent.json: No such file" in complaint(folder, {"CONFIG_FILE_NAME": str(folder / "absent.json")})


def test_an_unknown_name_of_ours_stops_the_start_wherever_it_stands(folder: Path) -> None:
    assert complaint(folder, {"WEIR_PROXY_PROT": "1"}) == "WEIR_PROXY_PROT: no such setting"
    dot_env(folder, "WEIR_UPSTREAM_URL=x")
    assert complaint(folder, {}) == "WEIR_UPSTREAM_URL: no such setting"
    assert complaint(folder, {"WEIR_A": "1"}) == "WEIR_UPSTREAM_URL, WEIR_A: no such setting"


@pytest.mark.parametrize(
    "name",
    [
        *("POSTGRESQL_HOST", "REDIS_HOST", "UPSTREAM_NETWORKS", "LIMITER_TIME_OUT", "DRAIN_SECONDS", "JOURNAL_BYTES"),
        *("SNAPSHOT_AGE", "PROXY_TIME_OUT", "PROMETHEUS_ADDRESS", "IN_MEMORY_INTERVAL", "MAX_BODY_SIZE"),
        *("BODY_TIME_OUT", "ADMIN_PASSWORD", "CONFIG_FILE"),  # of our families
        *("POSTGRES_PORT", "RDEIS_PORT", "PROXYTIMEOUT", "MAXBODY_BYTES", "redis_port", "Proxy_Timeout"),  # nearly ours
    ],
)
def test_a_name_in_dot_env_that_was_meant_to_be_ours_stops_the_start(folder: Path, name: str) -> None:
    dot_env(folder, f"REDIS_PORT=1\n{name}=hunter2\n")

    assert complaint(folder, {}) == f"{name}: no such setting"


def test_in_the_environment_only_our_own_prefix_tells_a_mistake(folder: Path) -> None:
    environ = {"REDIS_HOST": "x", "POSTGRES_PORT": "x", "ADMIN_EMAIL": "x", "redis_port": "x", "PROXY_URL": "x"}

    assert load(environ, folder).given == frozenset()


SERVICE_LINKS = {
    "WEIR_SERVICE_HOST": "10.0.0.1",
    "WEIR_PORT": "tcp://10.0.0.1:8002",
    "WEIR_PROXY_SERVICE_HOST": "10.0.0.1",
    "WEIR_PROXY_SERVICE_PORT": "8002",
    "WEIR_PROXY_SERVICE_PORT_HTTP": "8002",
    "WEIR_PROXY_PORT": "tcp://10.0.0.1:8002",
    "WEIR_PROXY_PORT_8002_TCP": "tcp://10.0.0.1:8002",
    "WEIR_PROXY_PORT_8002_TCP_PROTO": "tcp",
    "WEIR_PROXY_PORT_8002_TCP_PORT": "8002",
    "WEIR_PROXY_PORT_8002_TCP_ADDR": "10.0.0.1",
    "WEIR_ADMIN_PORT": "udp://[fd00::1]:8001",
    "REDIS_PORT": "tcp://10.0.0.2:6379",
    "POSTGRESQL_PORT": "tcp://10.0.0.3:5432",
    "PROMETHEUS_PORT": "tcp://10.0.0.4:9090",
}


def test_what_kubernetes_tells_of_its_services_is_as_if_absent(folder: Path) -> None:
    dot_env(folder, "REDIS_PORT=6380")
    settings = load(SERVICE_LINKS, folder)

    assert settings.given == {"REDIS_PORT"}
    assert (settings.redis_port, settings.postgresql_port, settings.weir_proxy_port) == (6380, 5432, 8002)


@pytest.mark.parametrize("name", ["WEIR_PROXY_PORTS", "WEIR_SERVICE", "WEIR_PROXY_PORT_TCP", "WEIR_SERVICE_HOSTS"])
def test_only_the_very_names_of_kubernetes_are_let_through(folder: Path, name: str) -> None:
    assert complaint(folder, {name: "tcp://10.0.0.1:8002"}) == f"{name}: no such setting"


def test_a_service_link_that_somebody_wrote_down_is_a_wrong_value(folder: Path) -> None:
    dot_env(folder, "REDIS_PORT=tcp://10.0.0.2:6379")

    assert complaint(folder, {}).startswith("REDIS_PORT: 'tcp://10.0.0.2:6379' must be")


# Values.


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("LOGGED_BODY_BYTES", "0", 0),
        ("POSTGRESQL_PASSWORD", "p@ss/w:rd %", "p@ss/w:rd %"),
        ("POSTGRESQL_PORT", " 6543 ", 6543),
        ("PROXY_TIMEOUT", "1m30s", 90.0),
        ("DRAIN_NOTICE", "0", 0.0),
        ("PROMETHEUS_ENABLED", "FALSE", False),
        ("PROMETHEUS_ENABLED", "1", True),
        ("WEIR_MODEL_CATALOG", "/etc/weir/prices.json", Path("/etc/weir/prices.json")),
        ("WEIR_MASTER_KEY", MASTER_KEY, bytes(32)),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://gate.example/openai/v1/", "https://gate.example/openai/v1"),
        ("WEIR_UPSTREAM_OPENAI_URL", "http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("WEIR_UPSTREAM_OPENAI_URL", "http://[::1]:9/v1", "http://[::1]:9/v1"),
    ],
)
def test_a_value_is_parsed(folder: Path, name: str, text: str, value: Any) -> None:
    assert getattr(load({name: text}, folder), name.lower()) == value


def test_networks_are_parsed(folder: Path) -> None:
    networks = load({"UPSTREAM_ALLOWED_NETWORKS": "127.0.0.0/8, ::1/128,10.1.2.3"}, folder).upstream_allowed_networks

    assert [str(network) for network in networks] == ["127.0.0.0/8", "::1/128", "10.1.2.3/32"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LOGGED_BODY_BYTES", "1048577"),
        ("REDIS_TLS_VERIFY", "yes"),
        ("POSTGRESQL_PORT", "0"),
        ("POSTGRESQL_PORT", "65536"),
        ("POSTGRESQL_PORT", "5432.0"),
        ("POSTGRESQL_PORT", "-1"),
        ("POSTGRESQL_PORT", "٥٤٣٢"),
        ("POSTGRESQL_SSL_MODE", "Disable"),
        ("PROXY_TIMEOUT", "0s"),
        ("PROXY_TIMEOUT", "600"),
        ("PROXY_TIMEOUT", "-5s"),
        ("DRAIN_NOTICE", "soon"),
        ("PROMETHEUS_ENABLED", "yes"),
        ("WEIR_PROXY_WORKERS", "0"),
        ("UPSTREAM_ALLOWED_NETWORKS", "10.0.0.1/8"),
        ("UPSTREAM_ALLOWED_NETWORKS", "localhost"),
        ("WEIR_UPSTREAM_OPENAI_URL", "api.openai.com"),
        ("WEIR_UPSTREAM_OPENAI_URL", "ftp://api.openai.com"),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://"),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://host/v1?"),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://host/v1?key=1"),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://host/#"),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://host:99999"),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://host:port"),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://[::1"),
        ("WEIR_UPSTREAM_OPENAI_URL", "https://ho\nst"),
        ("WEIR_UPSTREAM_OPENAI_URL", " https://host"),
    ],
)
def test_a_malformed_value_stops_the_start_naming_it_and_showing_what_was_there(
    folder: Path, name: str, text: str
) -> None:
    message = complaint(folder, {name: text})

    assert message.startswith(f"{name}: {text!r} ")
    assert " must " in message


@pytest.mark.parametrize("name", ["WEIR_MASTER_KEY", "WEIR_MASTER_KEY_OLD"])
def test_a_malformed_secret_is_named_and_never_shown(folder: Path, name: str) -> None:
    message = complaint(folder, {name: "hunter2-is-not-a-key"})

    assert message.startswith(f"{name}: ")
    assert "hunter2" not in message


def test_settings_cannot_be_changed_and_do_not_print_their_secrets(folder: Path) -> None:
    settings = load({"ADMIN_PASS": "hunter2", "WEIR_MASTER_KEY": MASTER_KEY}, folder)

    assert "hunter2" not in f"{settings!r}{settings}"
    with pytest.raises(AttributeError):
        settings.admin_pass = "x"  # type: ignore[misc]


def test_a_name_that_is_no_setting_is_an_attribute_error(folder: Path) -> None:
    with pytest.raises(AttributeError):
        _ = load({}, folder).redis_prot  # type: ignore[attr-defined]


def test_a_wrong_setting_is_one_clear_line_for_a_program_that_prints_it(folder: Path) -> None:
    code = (
        "import sys\nfrom shared.settings import SettingsError, load\n"
        "try:\n load()\nexcept SettingsError as error:\n sys.exit(str(error))"
    )
    environ = {"PYTHONPATH": str(Path(__file__).parents[2]), "REDIS_PORT": "x"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=folder, capture_output=True, text=True, check=False
    )

    assert run.returncode == 1
    assert run.stderr == "REDIS_PORT: 'x' must be a whole number from 1 to 65535\n"
