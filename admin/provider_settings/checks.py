"""What a provider setting may hold: the contract's checks with its texts (§2.3). Pure.

A new provider is a row in PROVIDER_PARAMS. A secret goes only where it was meant to go: whoever changes where a setting
leads says its secrets anew, so that nobody can have a secret sent to themselves that Weir would not show them.
"""

import re
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET

from admin.answers import scaled
from admin.errors import Problem, invalid
from admin.provider_settings.schemas import Prices, SettingCreate, SettingUpdate
from shared.records import CostMap

INVALID = "provider setting validation failed"
KIND = "provider-settings-manager"
PRICE_DECIMALS = 12
"""USD per 1000 tokens times 10**12 is nano-USD per million tokens, as the records hold it."""

LARGEST_PRICE_USD = 1000
LONGEST_PARAM = 8192
LONGEST_NAME = 255
ROOM = 400_000
"""Characters that allowed models, and prices, may take as JSON: together they must fit into the 1 MiB that a proxy
reads of a setting, or it would keep the last one that did."""

_UNPRICED = ("", "refuse", "free")
_HEADER_SAFE = re.compile(r"[!-~]+")


class ProviderParams(NamedTuple):
    """Parameters of a provider's settings."""

    required: tuple[str, ...]
    secret: tuple[str, ...]
    """Sealed, and never shown again."""
    shown: tuple[str, ...]
    """Where the setting leads, and whatever else is no secret."""


PROVIDER_PARAMS = {
    "openai": ProviderParams(required=("apikey",), secret=("apikey",), shown=("url",)),
    "anthropic": ProviderParams(required=("apikey",), secret=("apikey",), shown=("url",)),
    # A server of one's own: where it is must be said, and many ask for no key.
    "vllm": ProviderParams(required=("url",), secret=("apikey",), shown=("url",)),
}


def _refuse(detail: str) -> Problem:
    return invalid(INVALID, detail)


def _check_url(url: str) -> None:
    if len(url) > LONGEST_PARAM:
        raise _refuse(f"setting url must have at most {LONGEST_PARAM} characters")
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


def _missing(provider: str, names: list[str]) -> Problem:
    return _refuse(f"provider {provider} is missing fields {','.join(names)}")


def _given_params(provider: str, setting: dict[str, str]) -> dict[str, str]:
    """What `setting` says, under the parameters' own names, each value fit to be one. Empty: said to be none."""
    known = PROVIDER_PARAMS[provider]
    names = {name.casefold(): name for name in known.secret + known.shown}
    if unknown := sorted({name for name in setting if name.casefold() not in names}):
        raise _refuse(f"provider {provider} has no settings {','.join(unknown)}")
    given = {names[name.casefold()]: value for name, value in setting.items()}
    if len(given) < len(setting):
        raise _refuse("setting names a field twice")
    for name, value in given.items():
        if name in known.required and not value:
            raise _refuse(f"provider {provider} is missing value for field {name}")
        if name in known.secret and value and (len(value) > LONGEST_PARAM or not _HEADER_SAFE.fullmatch(value)):
            raise _refuse(f"setting {name} must be printable ASCII without spaces, at most {LONGEST_PARAM} characters")
    if given.get("url"):
        _check_url(given["url"])
    return given


class Params(NamedTuple):
    """The parameters of one setting, by whether they may be shown."""

    secret: dict[str, str]
    shown: dict[str, str]


def create_params(provider: str, setting: dict[str, str]) -> Params:
    """The parameters of a new setting. Raises Problem (400)."""
    if not provider:
        raise _refuse("provider field cannot be empty")
    if provider not in PROVIDER_PARAMS:
        raise _refuse(f"provider {provider} is not supported")
    known, given = PROVIDER_PARAMS[provider], _given_params(provider, setting)
    if missing := [name for name in known.required if name not in given]:
        raise _missing(provider, missing)
    said = {name: value for name, value in given.items() if value}
    return Params(
        {name: value for name, value in said.items() if name in known.secret},
        {name: value for name, value in said.items() if name in known.shown},
    )


def merge_params(
    provider: str, secret: dict[str, str] | None, shown: dict[str, str], setting: dict[str, str]
) -> Params | None:
    """What is stored (`secret` None: it does not open) with what `setting` says; None when nothing changes.

    An empty value takes an optional parameter away. When what is shown changes, every secret that is kept must be said
    again: the contract (§2.3) asks for the required ones at every PATCH, here it is for their own sake, and only then.
    Raises Problem (400, 409).
    """
    known, given = PROVIDER_PARAMS[provider], _given_params(provider, setting)
    new_shown = {name: value for name in known.shown if (value := given.get(name, shown.get(name, "")))}
    unsaid = [name for name in known.secret if name not in given]
    if new_shown == shown and len(unsaid) == len(known.secret):
        return None
    if secret is None and unsaid:
        raise Problem(
            409, KIND, "provider setting update failed", f"stored secret does not open: say {','.join(unsaid)}"
        )
    kept = {name: value for name, value in (secret or {}).items() if name in unsaid}
    if kept and new_shown != shown:
        raise _missing(provider, sorted(kept))
    said = {name: given[name] for name in known.secret if given.get(name)}
    return Params(kept | said, new_shown)


def _price(field: str, model: str, usd: Decimal) -> int:
    if not model:
        raise _refuse(f"costMap.{field} names no model")
    if len(model) > LONGEST_NAME:
        raise _refuse(f"costMap.{field} names a model with more than {LONGEST_NAME} characters")
    if usd < 0 or usd > LARGEST_PRICE_USD:
        raise _refuse(f"costMap.{field}.{model} must lie between 0 and {LARGEST_PRICE_USD} USD per 1000 tokens")
    try:
        return scaled(usd, PRICE_DECIMALS)
    except ValueError as error:
        raise _refuse(f"costMap.{field}.{model} {error}") from None


def stored_cost_map(prices: Prices | None) -> str | None:
    """The same prices as the records hold them, as JSON. Raises Problem (400)."""
    if prices is None:
        return None
    cost_map = CostMap(
        {m: _price("promptCostPerModel", m, usd) for m, usd in prices.prompt_cost_per_model.items()},
        {m: _price("completionCostPerModel", m, usd) for m, usd in prices.completion_cost_per_model.items()},
        {m: _price("embeddingsCostPerModel", m, usd) for m, usd in prices.embeddings_cost_per_model.items()},
    )
    stored = msgspec.json.encode(cost_map).decode()
    if len(stored) > ROOM:
        raise _refuse(f"costMap must take at most {ROOM} characters as JSON of nano-USD")
    return stored


def check_rest(body: SettingCreate | SettingUpdate) -> None:
    """Raises Problem (400) for what is neither parameter nor price."""
    models = [] if body.allowed_models is UNSET else body.allowed_models
    if "" in models:
        raise _refuse("allowedModels holds an empty name")
    if len(msgspec.json.encode(models).decode()) > ROOM:
        raise _refuse(f"allowedModels must take at most {ROOM} characters as JSON")
    if body.name is not UNSET and len(body.name) > LONGEST_NAME:
        raise _refuse(f"name must have at most {LONGEST_NAME} characters")
    if body.unpriced is not UNSET and body.unpriced not in _UNPRICED:
        raise _refuse("unpriced must be refuse or free")
