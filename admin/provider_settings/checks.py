"""What a provider setting may hold. Pure. A new provider is a row in PROVIDER_PARAMS."""

import re
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import urlsplit

from admin.answers import scaled
from admin.errors import Problem, invalid
from admin.provider_settings.schemas import Prices, SettingCreate
from shared.records import CostMap

INVALID = "provider setting validation failed"
PRICE_DECIMALS = 12
"""USD per 1000 tokens times 10**12 is nano-USD per million tokens, as the records hold it."""

LARGEST_PRICE_USD = 1000
LONGEST_PARAM = 8192
_UNPRICED = ("", "refuse", "free")
_HEADER_SAFE = re.compile(r"[!-~]+")


class ProviderParams(NamedTuple):
    """Parameters of a provider's settings: the required secret ones, the optional ones that may be shown."""

    secret: tuple[str, ...]
    shown: tuple[str, ...]


PROVIDER_PARAMS = {
    "openai": ProviderParams(secret=("apikey",), shown=("url",)),
}


def _refuse(detail: str) -> Problem:
    return invalid(INVALID, detail)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0  # reading it raises ValueError out of range
    except ValueError:
        raise _refuse("setting url is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise _refuse("setting url must be an http or https URL")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise _refuse("setting url must have no credentials, query or fragment")
    if not _HEADER_SAFE.fullmatch(url) or "\\" in url or {".", ".."} & set(parts.path.split("/")):
        raise _refuse("setting url must be plain: no spaces, backslashes or dot segments, ASCII only")


def params_of(body: SettingCreate) -> tuple[dict[str, str], dict[str, str]]:
    """The secret and the other parameters of `body`, under their own names. Raises Problem (400)."""
    provider = body.provider
    if not provider:
        raise _refuse("provider field cannot be empty")
    if provider not in PROVIDER_PARAMS:
        raise _refuse(f"provider {provider} is not supported")
    known = PROVIDER_PARAMS[provider]
    names = {name.casefold(): name for name in known.secret + known.shown}
    given = {names.get(name.casefold(), name): value for name, value in body.setting.items()}
    unknown = sorted(set(given) - set(names.values()))
    if unknown:
        raise _refuse(f"provider {provider} has no settings {','.join(unknown)}")
    if missing := [name for name in known.secret if name not in given]:
        raise _refuse(f"provider {provider} is missing fields {','.join(missing)}")
    for name in known.secret:
        if not given[name]:
            raise _refuse(f"provider {provider} is missing value for field {name}")
        if len(given[name]) > LONGEST_PARAM or not _HEADER_SAFE.fullmatch(given[name]):
            raise _refuse(f"setting {name} must be printable ASCII without spaces, at most {LONGEST_PARAM} characters")
    if given.get("url"):
        _check_url(given["url"])
    secret = {name: given[name] for name in known.secret}
    return secret, {name: given[name] for name in known.shown if given.get(name)}


def _price(field: str, model: str, usd: Decimal) -> int:
    if not model:
        raise _refuse(f"costMap.{field} names no model")
    if usd < 0 or usd > LARGEST_PRICE_USD:
        raise _refuse(f"costMap.{field}.{model} must lie between 0 and {LARGEST_PRICE_USD} USD per 1000 tokens")
    try:
        return scaled(usd, PRICE_DECIMALS)
    except ValueError as error:
        raise _refuse(f"costMap.{field}.{model} {error}") from None


def cost_map_of(prices: Prices) -> CostMap:
    """The same prices as the records hold them. Raises Problem (400)."""
    return CostMap(
        {m: _price("promptCostPerModel", m, usd) for m, usd in prices.prompt_cost_per_model.items()},
        {m: _price("completionCostPerModel", m, usd) for m, usd in prices.completion_cost_per_model.items()},
        {m: _price("embeddingsCostPerModel", m, usd) for m, usd in prices.embeddings_cost_per_model.items()},
    )


def check_rest(body: SettingCreate) -> None:
    """Raises Problem (400) for what is neither parameter nor price."""
    if "" in body.allowed_models:
        raise _refuse("allowedModels holds an empty name")
    if body.unpriced not in _UNPRICED:
        raise _refuse("unpriced must be refuse or free")
