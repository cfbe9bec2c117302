"""How a credential becomes headers: one scheme per row. Knows no provider.

To add one: a function of the setting's secret parameters, and its row. A missing parameter is a KeyError, but where
the scheme says that it may be missing: settings are checked when they are written, and a setting whose secret does
not open never gets here.
"""

from collections.abc import Callable, Mapping

Headers = tuple[tuple[str, str], ...]


def _bearer(credential: Mapping[str, str]) -> Headers:
    return (("authorization", f"Bearer {credential['apikey']}"),)


def _bearer_if_any(credential: Mapping[str, str]) -> Headers:
    """For servers that may run without a key."""
    return _bearer(credential) if credential.get("apikey") else ()


def _x_api_key(credential: Mapping[str, str]) -> Headers:
    return (("x-api-key", credential["apikey"]),)


def _api_key(credential: Mapping[str, str]) -> Headers:
    return (("api-key", credential["apikey"]),)


AUTH_SCHEMES: dict[str, Callable[[Mapping[str, str]], Headers]] = {
    "bearer": _bearer,
    "bearer_if_any": _bearer_if_any,
    "x_api_key": _x_api_key,
    "api_key": _api_key,
}
