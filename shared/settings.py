"""Settings of both planes: every variable once, with its type, default and meaning; the README's table is made of it.

Sources, the first that has a name wins: the JSON file that CONFIG_FILE_NAME names (keys are the names in lower
case), the process's environment, `.env` in the working folder, the default. An unknown name in the file, one in `.env`
that looks like ours, an unknown `WEIR_` name in the environment or a malformed value stops the start, naming it
(contract §1.2, without its defect 41). To add one: a field of `Settings`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from shared.secrets import parse_master_key
from shared.setting_sources import (
    SettingsError,
    mistaken_names,
    read_config_file,
    read_dot_env,
    without_service_links,
)
from shared.setting_values import (
    Host,
    Network,
    choice,
    flag,
    hosts,
    integer,
    networks,
    optional,
    path,
    positive_seconds,
    seconds,
    statement_seconds,
    text,
    url,
)

__all__ = ["BY_NAME", "SETTINGS", "Network", "Plane", "Setting", "Settings", "SettingsError", "load"]

Plane = Literal["proxy", "admin", "both"]
T = TypeVar("T")


class Setting(NamedTuple):
    """A variable: its name, its text default, who reads it, what it means."""

    name: str
    default: str
    parse: Callable[[str], Any]
    plane: Plane
    meaning: str
    is_secret: bool


def _setting(default: str, parse: Callable[[str], T], plane: Plane, meaning: str, is_secret: bool = False) -> T:
    """A field of `Settings`; to the type checker it is a value of what its parser gives."""
    facts: Any = field(metadata={"facts": (default, parse, plane, meaning, is_secret)})
    return facts


# No repr: it would show the secrets.
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Settings:
    """The settings of one process: `settings.redis_hosts` is REDIS_HOSTS, parsed. Built by `load`."""

    postgresql_hosts: tuple[Host, ...] = _setting(
        "localhost",
        hosts,
        "both",
        "Hosts of PostgreSQL, comma separated, each `host` or `host:port`; of several, the first that takes writes is "
        "used. A path is a socket folder.",
    )
    postgresql_port: int = _setting(
        "5432", integer(1, 65535), "both", "Port of PostgreSQL where a host has none of its own."
    )
    postgresql_db_name: str = _setting("weir", text, "both", "Database.")
    postgresql_username: str = _setting(
        "postgres",
        text,
        "both",
        "User of this plane; it works as `weir_admin` or `weir_proxy`, of which it must be a member.",
    )
    postgresql_password: str = _setting("", text, "both", "Password of that user.", is_secret=True)
    postgresql_ssl_mode: str = _setting(
        "disable",
        choice("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        "both",
        "TLS to PostgreSQL, as libpq means it; only `verify-full` makes sure of the server's name.",
    )
    postgresql_ssl_root_cert: str = _setting(
        "",
        text,
        "both",
        "PEM file of the authorities that PostgreSQL's certificate must come from; with `require` too, as in libpq. "
        "`system`: those of this machine, with `verify-full` only.",
    )
    postgresql_ssl_cert: str = _setting("", text, "both", "PEM file of the client certificate shown to PostgreSQL.")
    postgresql_ssl_key: str = _setting(
        "",
        text,
        "both",
        "PEM file of its key, not encrypted; empty: the key is in the certificate's file.",
        is_secret=True,
    )
    postgresql_read_time_out: float = _setting("2m", statement_seconds, "both", "Longest read query.")
    postgresql_write_time_out: float = _setting("5s", statement_seconds, "both", "Longest write query.")
    weir_migrate_username: str = _setting(
        "", text, "admin", "User that owns the schema and migrates it; empty: POSTGRESQL_USERNAME."
    )
    weir_migrate_password: str = _setting("", text, "admin", "Password of that user.", is_secret=True)
    redis_hosts: tuple[Host, ...] = _setting(
        "localhost",
        hosts,
        "proxy",
        "Hosts of Redis or Valkey, comma separated, each `host` or `host:port`; the first that answers and is no "
        "replica is used. A path is a Unix socket.",
    )
    redis_port: int = _setting("6379", integer(1, 65535), "proxy", "Port of Redis where a host has none of its own.")
    redis_username: str = _setting("", text, "proxy", "User of Redis.")
    redis_password: str = _setting("", text, "proxy", "Password of Redis.", is_secret=True)
    redis_tls: bool = _setting("false", flag, "proxy", "Speak TLS to Redis; a Unix socket never does.")
    redis_tls_verify: str = _setting(
        "full",
        choice("full", "ca", "none"),
        "proxy",
        "What Redis's certificate must prove. `full`: a trusted authority and the host's name. `ca`: the authority "
        "only. `none`: nothing, so whoever is in between can read along.",
    )
    redis_tls_root_cert: str = _setting(
        "", text, "proxy", "PEM file of the authorities that Redis's certificate must come from; empty: the system's."
    )
    redis_tls_cert: str = _setting("", text, "proxy", "PEM file of the client certificate shown to Redis.")
    redis_tls_key: str = _setting(
        "",
        text,
        "proxy",
        "PEM file of its key, not encrypted; empty: the key is in the certificate's file.",
        is_secret=True,
    )
    redis_db_start_index: int = _setting("0", integer(0, 15), "proxy", "Logical database of Redis that Weir uses.")
    limiter_timeout: float = _setting("50ms", positive_seconds, "proxy", "Longest wait for Redis in a request.")
    redis_read_time_out: float = _setting(
        "1s", positive_seconds, "proxy", "Longest wait for Redis to answer off the request's path."
    )
    redis_write_time_out: float = _setting(
        "500ms", positive_seconds, "proxy", "Longest wait for Redis to accept a connection."
    )
    in_memory_db_update_interval: float = _setting(
        "1s", positive_seconds, "proxy", "How often PostgreSQL is polled for changes."
    )
    admin_pass: str = _setting(
        "",
        text,
        "admin",
        "The admin key, header X-API-KEY. Empty: only on loopback, and one is generated.",
        is_secret=True,
    )
    proxy_timeout: float = _setting(
        "600s", positive_seconds, "proxy", "Longest wait for upstream, plain calls in all, streams between two reads."
    )
    config_file_name: str = _setting("", text, "both", "A JSON file of settings; it wins over the environment.")
    weir_master_key: bytes | None = _setting(
        "",
        optional(parse_master_key),
        "both",
        "32 bytes in base64 or hex from which pepper and cipher are derived. The same in both planes.",
        is_secret=True,
    )
    weir_master_key_old: bytes | None = _setting(
        "", optional(parse_master_key), "both", "The former master key while rotating.", is_secret=True
    )
    weir_upstream_openai_url: str = _setting(
        "https://api.openai.com", url, "proxy", "Base URL of OpenAI; with or without `/v1`."
    )
    weir_upstream_anthropic_url: str = _setting(
        "https://api.anthropic.com", url, "proxy", "Base URL of Anthropic; with or without `/v1`."
    )
    weir_model_catalog: Path | None = _setting(  # noqa: RUF009 - the field, not a shared value
        "", optional(path), "both", "A JSON file of prices, laid over the shipped price list."
    )
    upstream_allowed_networks: tuple[Network, ...] = _setting(
        "", networks, "proxy", "Private or loopback networks (CIDR, comma separated) that upstreams may lie in."
    )
    weir_proxy_address: str = _setting("0.0.0.0", text, "proxy", "Address the proxy listens on.")  # noqa: S104 - meant
    weir_proxy_port: int = _setting("8002", integer(0, 65535), "proxy", "Port the proxy listens on.")
    weir_proxy_workers: int = _setting("1", integer(1, 256), "proxy", "Worker processes of the proxy.")
    weir_admin_address: str = _setting("127.0.0.1", text, "both", "Address the admin plane listens on.")
    weir_admin_port: int = _setting("8001", integer(0, 65535), "both", "Port the admin plane listens on.")
    weir_metrics_address: str = _setting("127.0.0.1", text, "both", "Address /metrics listens on.")
    prometheus_enabled: bool = _setting("true", flag, "both", "Serve /metrics.")
    prometheus_port: int = _setting("2112", integer(0, 65535), "proxy", "Port of the proxy's /metrics.")
    weir_admin_prometheus_port: int = _setting(
        "2111", integer(0, 65535), "admin", "Port of the admin plane's /metrics."
    )
    weir_data_dir: str = _setting("./.weir", text, "both", "Folder of the journal and of what is generated.")
    journal_max_bytes: int = _setting(
        "2147483648", integer(1 << 20, 1 << 50), "proxy", "Most the journal may hold before budgeted keys get 503."
    )
    max_body_bytes: int = _setting("10485760", integer(1024, 1 << 32), "proxy", "Largest request body.")
    body_timeout: float = _setting(
        "30s", positive_seconds, "proxy", "Longest time a request's body may take to arrive."
    )
    logged_body_bytes: int = _setting(
        "65536",
        integer(0, 1 << 20),
        "proxy",
        "Most that is kept of a request's and of an answer's text on its event, each, when the key asks for it.",
    )
    weir_privacy: str = _setting(
        "strict",
        choice("strict", "verbose"),
        "proxy",
        "`strict`: no text of a request or an answer in a log line. `verbose`: a request's line has what its key keeps "
        "on events. Also `python -m proxy -p`.",
    )
    drain_notice: float = _setting(
        "5s", seconds, "proxy", "After SIGTERM: not ready, but still accepting, for so long."
    )
    drain_timeout: float = _setting("600s", positive_seconds, "proxy", "After that: longest wait for open streams.")
    snapshot_max_age: float = _setting(
        "24h", positive_seconds, "proxy", "A snapshot older than this is no longer trusted: 503."
    )

    given: frozenset[str] = frozenset()
    """Names that some source gave; the rest are defaults."""


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(row.name.upper(), *row.metadata["facts"]) for row in fields(Settings) if "facts" in row.metadata
)
BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}


def load(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Read and check every setting. Raises SettingsError, naming the variable, on the first that is wrong."""
    environ = without_service_links(os.environ if environ is None else environ, BY_NAME)
    filed = read_dot_env((folder or Path()) / ".env")
    # The environment is everybody's: there only the prefix that is ours alone tells a mistake.
    mistaken = mistaken_names(filed, BY_NAME) + sorted(
        name for name in environ if name.startswith("WEIR_") and name not in BY_NAME
    )
    if mistaken:
        raise SettingsError(f"{', '.join(dict.fromkeys(mistaken))}: no such setting")
    given = {**filed, **environ}
    if given.get("CONFIG_FILE_NAME"):
        given = {**given, **read_config_file(Path(given["CONFIG_FILE_NAME"]), BY_NAME)}
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        value = given.get(setting.name, "") or setting.default
        try:
            values[setting.name.lower()] = setting.parse(value)
        except ValueError as error:
            # A URL in the wrong place may carry a password.
            shown = "" if setting.is_secret or "@" in value else f"{value!r} "
            raise SettingsError(f"{setting.name}: {shown}{error}") from None
    return Settings(**values, given=frozenset(name for name in BY_NAME if given.get(name)))
