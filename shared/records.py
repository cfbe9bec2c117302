"""Rows as the proxy holds them: what the admin plane writes and the poll reads.

Typed fields come from typed columns. `detail` is the part of a row kept as JSON: when it does not decode, the typed
part (revoked, expiry, limits) still applies and the key is closed (design §5).
"""

from typing import Literal

import msgspec

Resource = Literal["requests", "cost", "tokens", "in_flight"]
Window = Literal["s", "m", "h", "d", "mo", "total"]
Unpriced = Literal["refuse", "free"]

DEFAULT_ACCOUNT = "default"


class Limit(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """At most `amount` of `resource` in one `window`. A row of the table `limits`."""

    id: str
    resource: Resource
    window: Window
    amount: int
    """Requests, tokens, calls in flight, or nano-USD for cost."""
    generation: int
    """Part of the counter's name: a PATCH of the limit starts a new one, and with it a new counter."""
    reset_at_ms: int
    """Unix milliseconds since which this generation counts. 0: since the key exists."""


class AllowedPath(msgspec.Struct, frozen=True, gc=False):
    """An endpoint a key may call: the endpoint's template and an upper-case method."""

    path: str
    method: str


class KeyDetail(msgspec.Struct, frozen=True, gc=False):
    """The JSON part of a key."""

    name: str
    tags: tuple[str, ...] = ()
    setting_ids: tuple[str, ...] = ()
    """Provider settings in the order the operator gave them."""
    allowed_paths: tuple[AllowedPath, ...] = ()
    """Empty: every endpoint."""
    rotation: bool = False
    """True: calls are spread over the settings that may serve the model; False: the first of them serves."""
    should_log_request: bool = False
    """True: an event keeps the text of the request, up to a cap. So with the response."""
    should_log_response: bool = False


class KeyRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A gateway key. `detail` stays as JSON bytes until the key is first used."""

    id: str
    account_id: str
    project_id: str
    digest: bytes
    is_revoked: bool
    expires_at_ms: int
    """Unix milliseconds from which the key is refused. 0: never."""
    limits: bytes
    """A JSON array of `Limit`, built by the database from typed columns; decoded on first use."""
    detail: bytes


class CostMap(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Prices of a setting that override the catalogue: model -> nano-USD per million tokens."""

    prompt_cost_per_model: dict[str, int] = {}
    completion_cost_per_model: dict[str, int] = {}
    embeddings_cost_per_model: dict[str, int] = {}


class SettingDetail(msgspec.Struct, frozen=True, gc=False):
    """The JSON part of a provider setting; nothing in it is secret."""

    name: str = ""
    params: dict[str, str] = {}
    """`url` and other parameters that are not secret."""
    allowed_models: tuple[str, ...] = ()
    """Empty: every model."""
    cost_map: CostMap | None = None
    unpriced: Unpriced | None = None
    """What happens to a model without a known price. None: refused for keys with a cost limit, else served."""


class SettingRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A provider setting: a credential and where it is used."""

    id: str
    account_id: str
    provider: str
    sealed: bytes
    """`Secrets.seal` of the JSON object of secret parameters (`apikey` ...), authenticated with `id`."""
    detail: bytes


limits_decoder = msgspec.json.Decoder(tuple[Limit, ...])
key_detail_decoder = msgspec.json.Decoder(KeyDetail)
setting_detail_decoder = msgspec.json.Decoder(SettingDetail)
