"""TLS to PostgreSQL and Redis, from the settings: which certificates are trusted, and which of ours is shown.

The modes of PostgreSQL mean what they mean to libpq, but every file is named by a setting: nothing is picked up from a
home folder or from libpq's variables. (Of `allow` and `prefer`, which make sure of nothing, asyncpg takes care itself;
there it does read PGSSLCERT and its like.) What is set must have an effect: a file that the mode does not use stops
the start, as one that cannot be read does, naming the setting. It opens no connection.
"""

import ssl
from pathlib import Path
from typing import Literal, NamedTuple, cast

from shared.setting_sources import SettingsError
from shared.settings import Settings

SYSTEM = "system"
"""In place of a file: the authorities that this machine trusts."""

Check = Literal["none", "ca", "full"]
"""What a server's certificate must prove: nothing, a trusted authority, or the authority and the host's name."""

# libpq's. The weaker modes never insist on TLS, so there is nothing that a certificate could be held against.
_CHECKS: dict[str, Check] = {"require": "none", "verify-ca": "ca", "verify-full": "full"}


class _Files(NamedTuple):
    """The settings of one store that name files."""

    prefix: str
    """How their names begin."""
    root_cert: str
    cert: str
    key: str

    def refuse_if_unused(self, because: str) -> None:
        """A file that would be ignored is a mistake; it may be the very one that was to make things safe."""
        for part, value in (("ROOT_CERT", self.root_cert), ("CERT", self.cert), ("KEY", self.key)):
            if value:
                raise SettingsError(f"{self.prefix}_{part}: has no effect with {because}")


def postgresql_tls(settings: Settings) -> ssl.SSLContext | str:
    """The `ssl` argument of `asyncpg.connect`. Raises SettingsError."""
    mode = settings.postgresql_ssl_mode
    files = _Files(
        "POSTGRESQL_SSL",
        settings.postgresql_ssl_root_cert,
        settings.postgresql_ssl_cert,
        settings.postgresql_ssl_key,
    )
    if mode not in _CHECKS:
        files.refuse_if_unused(f"POSTGRESQL_SSL_MODE={mode}")
        return mode
    check = _CHECKS[mode]
    if check == "none" and files.root_cert:
        check = "ca"
    if check != "none" and not files.root_cert:
        raise SettingsError(f"POSTGRESQL_SSL_ROOT_CERT: must name a file with POSTGRESQL_SSL_MODE={mode}")
    if files.root_cert == SYSTEM and check != "full":
        raise SettingsError("POSTGRESQL_SSL_ROOT_CERT: `system` needs POSTGRESQL_SSL_MODE=verify-full")
    context = _context(files, check)
    context.set_alpn_protocols(["postgresql"])
    return context


def redis_tls(settings: Settings) -> ssl.SSLContext | None:
    """How the limiter speaks TLS to a host; None: it does not. Raises SettingsError."""
    files = _Files("REDIS_TLS", settings.redis_tls_root_cert, settings.redis_tls_cert, settings.redis_tls_key)
    if not settings.redis_tls:
        files.refuse_if_unused("REDIS_TLS=false")
        return None
    check = cast("Check", settings.redis_tls_verify)
    if check == "none":
        files._replace(cert="", key="").refuse_if_unused("REDIS_TLS_VERIFY=none")
    elif check == "ca" and files.root_cert in ("", SYSTEM):  # anybody has a certificate of a public authority
        raise SettingsError("REDIS_TLS_ROOT_CERT: must name a file with REDIS_TLS_VERIFY=ca")
    return _context(files if files.root_cert else files._replace(root_cert=SYSTEM), check)


def _context(files: _Files, check: Check) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # Debian's Python leaves it to the system's OpenSSL
    context.check_hostname = check == "full"
    context.verify_mode = ssl.CERT_NONE if check == "none" else ssl.CERT_REQUIRED
    if check != "none" and files.root_cert == SYSTEM:
        context.load_default_certs()
    elif check != "none":
        _trust(context, f"{files.prefix}_ROOT_CERT", files.root_cert)
    if files.key and not files.cert:
        raise SettingsError(f"{files.prefix}_KEY: has no effect without {files.prefix}_CERT")
    if files.cert:
        _show(context, files)
    return context


def _trust(context: ssl.SSLContext, name: str, path: str) -> None:
    try:
        context.load_verify_locations(cadata=_read(name, path))
    except (ssl.SSLError, ValueError):
        raise SettingsError(f"{name}: {path} does not hold certificates in PEM") from None


def _show(context: ssl.SSLContext, files: _Files) -> None:
    cert, key = f"{files.prefix}_CERT", f"{files.prefix}_KEY"
    _read(cert, files.cert)
    if files.key:
        _read(key, files.key, is_secret=True)
    holder = key if files.key else cert
    is_encrypted = False

    def no_password() -> str:
        # Without this, OpenSSL would ask on the terminal.
        nonlocal is_encrypted
        is_encrypted = True
        return ""

    try:
        context.load_cert_chain(files.cert, files.key or None, password=no_password)
    except (ssl.SSLError, ValueError) as error:
        if is_encrypted:
            raise SettingsError(f"{holder}: the key is encrypted; Weir reads keys that are not") from None
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise SettingsError(f"{holder}: the key is not that of the certificate in {cert}") from None
        if not _is_certificate(files.cert):
            raise SettingsError(f"{cert}: {files.cert} does not hold a certificate in PEM") from None
        raise SettingsError(f"{holder}: does not hold a key in PEM") from None


def _is_certificate(path: str) -> bool:
    """Whether the file begins a certificate that can be parsed."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=_read("", path))
    except (ssl.SSLError, ValueError):
        return False
    return True


def _read(name: str, path: str, *, is_secret: bool = False) -> str:
    """The text of a file. The path of a secret is not shown: the secret itself may stand there by mistake."""
    shown = "the file" if is_secret else path
    try:
        return Path(path).read_text(encoding="ascii", errors="ignore")  # comments may be in any language
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "not a path"
        raise SettingsError(f"{name}: cannot read {shown}: {reason}") from None
