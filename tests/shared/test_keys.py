"""Gateway keys: minted, recognised, digested, masked."""

import hashlib
import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.keys import KEY_PREFIX, MINTED_KEY_CHARACTERS, is_junk, key_sha256, mask_key, mint_key, peppered_digest


def test_a_minted_key_has_the_one_form_and_no_two_are_equal() -> None:
    keys = {mint_key() for _ in range(500)}

    assert len(keys) == 500
    assert all(re.fullmatch(r"sk-weir-[0-9A-Za-z]{8}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}", key) for key in keys)
    assert {len(key) for key in keys} == {MINTED_KEY_CHARACTERS}
    assert not any(is_junk(key) for key in keys)


def test_the_ids_and_the_secrets_of_minted_keys_use_the_whole_alphabet() -> None:
    keys = [mint_key() for _ in range(500)]

    assert len({key.split("_")[0] for key in keys}) == 500
    assert len({key.split("_")[1] for key in keys}) == 500
    assert len(set("".join(key.split("_")[1] for key in keys))) == 62


@given(st.data())
def test_one_changed_character_makes_a_minted_key_junk(data: st.DataObject) -> None:
    key = mint_key()
    at = data.draw(st.integers(len(KEY_PREFIX), len(key) - 1))
    other = data.draw(st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._é\ud800"))
    changed = key[:at] + other + key[at + 1 :]

    assert is_junk(changed) == (changed != key)


@pytest.mark.parametrize(
    "key", ["", "sk-proj-abc", "sk-weir-", "sk-weir-short_secret_sum", "my-own-key", mint_key() + "x"]
)
def test_a_key_that_weir_did_not_mint_is_not_junk_but_must_be_looked_up(key: str) -> None:
    assert not is_junk(key)


def test_a_digest_is_the_hmac_of_the_sha256_that_bricksllm_stores() -> None:
    sha256 = key_sha256("my-key")

    assert sha256.hex() == hashlib.sha256(b"my-key").hexdigest()
    assert peppered_digest(sha256, b"pepper") == hmac.new(b"pepper", sha256, hashlib.sha256).digest()
    assert peppered_digest(sha256, b"pepper") != peppered_digest(sha256, b"other")
    assert len(peppered_digest(sha256, b"pepper")) == 32


@given(st.text())
def test_any_text_has_a_digest(key: str) -> None:
    assert len(key_sha256(key)) == 32
    assert len(key_sha256(key + "\ud800")) == 32


@pytest.mark.parametrize(
    ("key", "mask"),
    [
        ("", "*****"),
        ("a", "a*****"),
        ("abcde", "a*****"),
        ("abcdef", "abcde" + "*" * 46),
        ("sk-weir-12345678_secret", "sk-we" + "*" * 46),
    ],
)
def test_a_mask_is_that_of_the_contract(key: str, mask: str) -> None:
    assert mask_key(key) == mask


def test_no_mask_tells_the_length_of_a_key_or_any_of_a_minted_ones_secret() -> None:
    assert len({len(mask_key(mint_key())), len(mask_key("x" * 10)), len(mask_key("x" * 500))}) == 1
    assert mask_key(mint_key()) == "sk-we" + "*" * 46
