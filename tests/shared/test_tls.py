"""TLS settings: what each mode makes of a context, and every file that cannot be used stops the start, named."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from shared.settings import SettingsError, load
from shared.tls import postgresql_tls, redis_tls
from tests.tls_front import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def context_of(**given: Any) -> ssl.SSLContext | str | None:
    """By variables without their store's prefix: `mode` and files for PostgreSQL, the rest for Redis."""
    names = {"mode": "POSTGRESQL_SSL_MODE", "tls": "REDIS_TLS", "verify": "REDIS_TLS_VERIFY"}
    prefix = "POSTGRESQL_SSL" if "mode" in given else "REDIS_TLS"
    environ = {names.get(name, f"{prefix}_{name.upper()}"): str(value) for name, value in given.items()}
    settings = load(environ, Path("/nowhere"))
    return postgresql_tls(settings) if "mode" in given else redis_tls(settings)


def complaint(**given: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        context_of(**given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def checks(context: object) -> tuple[bool, bool]:
    """Whether an authority is asked for, and the name."""
    assert isinstance(context, ssl.SSLContext)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    return context.verify_mode is ssl.CERT_REQUIRED, context.check_hostname


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_a_weak_mode_is_the_drivers(mode: str) -> None:
    """It knows how to do without TLS."""
    assert context_of(mode=mode) == mode


@pytest.mark.parametrize(
    ("mode", "has_root", "expected"),
    [
        ("require", False, (False, False)),
        ("require", True, (True, False)),
        ("verify-ca", True, (True, False)),
        ("verify-full", True, (True, True)),
    ],
)
def test_a_strong_mode_checks_what_libpq_would(
    authority: Authority, mode: str, has_root: bool, expected: tuple[bool, bool]
) -> None:
    """`require` asks for the authority once a root certificate is named."""
    files = {"root_cert": authority.file} if has_root else {}
    assert checks(context_of(mode=mode, **files)) == expected


def test_system_is_the_authorities_of_this_machine() -> None:
    """All of them vouch for names only."""
    assert checks(context_of(mode="verify-full", root_cert="system")) == (True, True)
    assert complaint(mode="verify-ca", root_cert="system").startswith("POSTGRESQL_SSL_ROOT_CERT: ")
    assert complaint(mode="require", root_cert="system").startswith("POSTGRESQL_SSL_ROOT_CERT: ")


def test_redis_checks_authority_and_name_unless_told_otherwise(authority: Authority) -> None:
    """Without TLS there is no context."""
    assert context_of(tls="false") is None
    assert checks(context_of(tls="true")) == (True, True)
    assert checks(context_of(tls="true", root_cert=authority.file)) == (True, True)
    assert checks(context_of(tls="true", root_cert=authority.file, verify="ca")) == (True, False)
    assert checks(context_of(tls="true", verify="none")) == (False, False)


@pytest.mark.parametrize("given", [{"mode": "verify-ca"}, {"mode": "verify-full"}, {"tls": "true", "verify": "ca"}])
def test_a_check_against_nothing_is_refused(given: dict[str, str]) -> None:
    """Naming the file that is missing."""
    name = "POSTGRESQL_SSL_ROOT_CERT" if "mode" in given else "REDIS_TLS_ROOT_CERT"
    assert complaint(**given).startswith(f"{name}: must name a file with ")


@pytest.mark.parametrize(
    "given",
    [
        *(
            {"mode": mode, part: "x"}
            for mode in ("disable", "allow", "prefer")
            for part in ("root_cert", "cert", "key")
        ),
        *({"tls": "false", part: "x"} for part in ("root_cert", "cert", "key")),
        {"tls": "true", "verify": "none", "root_cert": "x"},
        {"tls": "true", "key": "x"},
        {"mode": "require", "key": "x"},
    ],
    ids=str,
)
def test_a_file_that_would_be_ignored_is_refused(given: dict[str, str]) -> None:
    """Who names it believes that it protects something."""
    prefix = "POSTGRESQL_SSL" if "mode" in given else "REDIS_TLS"
    part = list(given)[-1].upper()
    assert complaint(**given).startswith(f"{prefix}_{part}: has no effect with")


STORES = pytest.mark.parametrize(
    ("prefix", "given"),
    [("POSTGRESQL_SSL", {"mode": "verify-full"}), ("REDIS_TLS", {"tls": "true"})],
    ids=["postgresql", "redis"],
)


@STORES
def test_a_bundle_with_comments_is_read(prefix: str, given: dict[str, str], tmp_path: Path) -> None:
    """Several authorities in one file, their names in any language between them."""
    bundle = tmp_path / "bundle.pem"
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    text = "# Főtanúsítvány\n" + first.file.read_text() + "\n= Zweite =\n" + second.file.read_text()
    bundle.write_text(text, encoding="utf-8")
    context = context_of(**given, root_cert=bundle)
    assert isinstance(context, ssl.SSLContext)
    assert len(context.get_ca_certs()) == 2


@STORES
def test_a_root_certificate_that_cannot_be_used(prefix: str, given: dict[str, str], tmp_path: Path) -> None:
    """Missing, a folder, empty, not PEM, cut off in the middle."""
    whole = Authority(tmp_path).file.read_bytes()
    broken = {"empty": b"", "garbage": b"\xff\x00 no certificate", "cut": whole[: len(whole) // 2]}
    for name, content in broken.items():
        path = tmp_path / name
        path.write_bytes(content)
        told = complaint(**given, root_cert=path)
        assert told == f"{prefix}_ROOT_CERT: {path} does not hold certificates in PEM"
    missing = tmp_path / "missing"
    told = complaint(**given, root_cert=missing)
    assert told == f"{prefix}_ROOT_CERT: cannot read {missing}: No such file or directory"
    assert complaint(**given, root_cert=tmp_path).endswith(f"cannot read {tmp_path}: Is a directory")
    assert complaint(**given, root_cert="\0").startswith(f"{prefix}_ROOT_CERT: cannot read")


@STORES
def test_a_client_certificate_that_cannot_be_used(
    prefix: str, given: dict[str, str], authority: Authority, tmp_path: Path
) -> None:
    """Each fault is told of the setting that has it; a key's path is not shown, for a key may stand there."""
    given = given | {"root_cert": str(authority.file)}
    good, other, locked = authority.issue(), authority.issue(), authority.issue(password=b"s3cret")
    garbage = tmp_path / "garbage"
    garbage.write_text("no certificate, no key")

    def told(**files: object) -> str:
        return complaint(**given, **files)

    assert checks(context_of(**given, cert=good.cert, key=good.key))[0]
    assert told(cert=tmp_path / "none", key=good.key).startswith(f"{prefix}_CERT: cannot read {tmp_path}/none: No such")
    assert told(cert=good.cert, key=tmp_path / "none") == f"{prefix}_KEY: cannot read the file: {NO_FILE}"
    assert told(cert=garbage, key=good.key) == f"{prefix}_CERT: {garbage} does not hold a certificate in PEM"
    assert told(cert=good.cert, key=garbage) == f"{prefix}_KEY: does not hold a key in PEM"
    assert told(cert=good.cert) == f"{prefix}_CERT: does not hold a key in PEM"
    assert told(cert=good.cert, key=other.key).startswith(f"{prefix}_KEY: the key is not that of the certificate in ")
    assert told(cert=locked.cert, key=locked.key).startswith(f"{prefix}_KEY: the key is encrypted")
    pasted = good.key.read_text()
    assert "PRIVATE" not in told(cert=good.cert, key=pasted)


NO_FILE = "No such file or directory"


def test_what_libpq_reads_by_itself_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A root certificate in the home folder or in libpq's variables decides nothing here."""
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql/root.crt").write_text("broken")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "nothing"))
    assert checks(context_of(mode="require")) == (False, False)
