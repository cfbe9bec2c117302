"""Auth schemes: the exact headers, and nothing made up when a parameter is missing."""

import pytest

from proxy.providers import AUTH_SCHEMES

EXPECTED = {
    "bearer": (("authorization", "Bearer sk-1"),),
    "bearer_if_any": (("authorization", "Bearer sk-1"),),
    "x_api_key": (("x-api-key", "sk-1"),),
    "api_key": (("api-key", "sk-1"),),
}


def test_every_scheme_is_tested_here() -> None:
    assert set(EXPECTED) == set(AUTH_SCHEMES)


@pytest.mark.parametrize("scheme", EXPECTED)
def test_a_credential_becomes_exactly_these_headers(scheme: str) -> None:
    assert AUTH_SCHEMES[scheme]({"apikey": "sk-1", "url": "https://unused"}) == EXPECTED[scheme]


@pytest.mark.parametrize("scheme", set(EXPECTED) - {"bearer_if_any"})
def test_without_a_credential_no_header_is_made_up(scheme: str) -> None:
    with pytest.raises(KeyError):
        AUTH_SCHEMES[scheme]({})


@pytest.mark.parametrize("credential", [{}, {"apikey": ""}, {"url": "http://gpu:8000"}])
def test_a_server_that_may_run_without_a_key_is_sent_none_when_there_is_none(credential: dict[str, str]) -> None:
    """Not an empty one either: `Bearer ` is not a credential, and servers refuse it as a bad one."""
    assert AUTH_SCHEMES["bearer_if_any"](credential) == ()
