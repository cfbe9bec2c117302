"""What is derived from the master key: seals that open for their row only, peppers with a version."""

import base64
import os

import pytest

from shared.secrets import SecretError, Secrets, new_master_key, parse_master_key

MASTER = bytes(range(32))
OTHER = bytes(range(1, 33))


def test_a_master_key_is_read_from_base64_and_from_hex() -> None:
    assert parse_master_key(base64.b64encode(MASTER).decode()) == MASTER
    assert parse_master_key(f"  {MASTER.hex()}\n") == MASTER
    assert parse_master_key(MASTER.hex().upper()) == MASTER
    assert parse_master_key(new_master_key()) != parse_master_key(new_master_key())


@pytest.mark.parametrize(
    "text", ["", "short", MASTER.hex()[:-2], MASTER.hex() + "00", "g" * 64, "=" * 44, "ключ" * 11, "a" * 43]
)
def test_a_malformed_master_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="32 bytes") as caught:
        parse_master_key(text)

    assert not text or text not in str(caught.value)


def test_a_seal_opens_for_its_row_and_no_two_are_equal() -> None:
    secrets = Secrets(MASTER)
    first, second = secrets.seal(b'{"apikey":"sk-1"}', "row-1"), secrets.seal(b'{"apikey":"sk-1"}', "row-1")

    assert first != second
    assert secrets.open(first, "row-1") == secrets.open(second, "row-1") == b'{"apikey":"sk-1"}'
    assert b"sk-1" not in first


def test_another_process_with_the_same_master_key_opens_it() -> None:
    assert Secrets(MASTER).open(Secrets(MASTER).seal(b"x", "r"), "r") == b"x"
    assert Secrets(MASTER).peppers == Secrets(MASTER).peppers


@pytest.mark.parametrize("at", [0, 4, 16, -1])
def test_an_altered_seal_does_not_open(at: int) -> None:
    secrets = Secrets(MASTER)
    sealed = bytearray(secrets.seal(b"secret", "row"))
    sealed[at] ^= 1

    with pytest.raises(SecretError):
        secrets.open(bytes(sealed), "row")


@pytest.mark.parametrize("kept", [0, 3, 4, 10, 16, 20])
def test_a_shortened_seal_does_not_open(kept: int) -> None:
    secrets = Secrets(MASTER)

    with pytest.raises(SecretError):
        secrets.open(secrets.seal(b"secret", "row")[:kept], "row")


def test_a_seal_moved_to_another_row_does_not_open() -> None:
    secrets = Secrets(MASTER)

    with pytest.raises(SecretError, match="altered or belongs to another row"):
        secrets.open(secrets.seal(b"secret", "row-1"), "row-2")


def test_under_another_master_key_nothing_opens() -> None:
    with pytest.raises(SecretError, match="not configured"):
        Secrets(OTHER).open(Secrets(MASTER).seal(b"secret", "row"), "row")


def test_while_rotating_old_seals_open_and_new_ones_are_sealed_with_the_new_key() -> None:
    old, rotating, new = Secrets(MASTER), Secrets(OTHER, old=MASTER), Secrets(OTHER)

    assert rotating.open(old.seal(b"x", "r"), "r") == b"x"
    assert new.open(rotating.seal(b"x", "r"), "r") == b"x"
    assert list(rotating.peppers) == [new.pepper_version, old.pepper_version]
    assert rotating.pepper_version == new.pepper_version


def test_derived_keys_serve_one_purpose_each_and_none_is_the_master_key() -> None:
    secrets = Secrets(MASTER)
    [pepper] = secrets.peppers.values()

    assert len(pepper) == 32
    assert pepper != MASTER
    assert bytes.fromhex(secrets.pepper_version) not in pepper
    assert secrets.seal(b"", "r")[:4] != bytes.fromhex(secrets.pepper_version)


def test_derivation_is_stable_or_every_stored_digest_and_secret_would_be_lost() -> None:
    secrets = Secrets(MASTER)

    assert secrets.pepper_version == GOLDEN_PEPPER_VERSION
    assert secrets.peppers[GOLDEN_PEPPER_VERSION].hex() == GOLDEN_PEPPER
    assert secrets.open(bytes.fromhex(GOLDEN_SEAL), "row-1") == b'{"apikey":"sk-1"}'


def test_any_bytes_can_be_sealed() -> None:
    secrets = Secrets(MASTER)

    for plain in (b"", os.urandom(1000)):
        assert secrets.open(secrets.seal(plain, "r"), "r") == plain


def test_a_secret_error_carries_no_secret() -> None:
    secrets = Secrets(MASTER)
    sealed = secrets.seal(b"sk-very-secret", "row")

    for attempt in (lambda: secrets.open(sealed, "other"), lambda: Secrets(OTHER).open(sealed, "row")):
        with pytest.raises(SecretError) as caught:
            attempt()
        assert caught.value.__cause__ is None
        assert "very-secret" not in repr(caught.value)


GOLDEN_PEPPER_VERSION = "05b8bb13"
GOLDEN_PEPPER = "10a6d4d9c88747e7b2eb33773e6a30cb832eae71c239aa3cf4bf86081473f921"
GOLDEN_SEAL = "f60ab525d07124a851d614daed18d44ab66974a5959733e379203a58cdc707077e486af0beb50ecb80bf333b7c416ec0e1"
