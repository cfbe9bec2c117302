"""Keys on the wire (contract §2.2). Absent and `null` are the same; UNSET marks what a PATCH did not say."""

from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType


class AllowedPath(msgspec.Struct):
    """An endpoint's template and a method. A pair that no endpoint has is accepted and never matches."""

    path: str = ""
    method: str = ""


class KeyCreate(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """The body of PUT /api/key-management/keys."""

    name: str = ""
    key: str | UnsetType = UNSET
    """Chosen by the operator, as BricksLLM's keys are; absent: Weir mints one."""
    tags: list[str] = []
    setting_id: str = ""
    setting_ids: list[str] = []
    cost_limit_in_usd: Decimal = Decimal(0)
    cost_limit_in_usd_over_time: Decimal = Decimal(0)
    cost_limit_in_usd_unit: str = ""
    rate_limit_over_time: int = 0
    rate_limit_unit: str = ""
    ttl: str = ""
    allowed_paths: list[AllowedPath] = []
    is_key_not_hashed: bool = False
    should_log_request: bool = False
    should_log_response: bool = False
    rotation_enabled: bool = False
    policy_id: str = ""
    """Not enforced yet: refused unless it says nothing."""


class KeyUpdate(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """The body of PATCH /api/key-management/keys/:id."""

    name: str = ""
    key: str = ""
    """Cannot be changed; only the key's own text or mask is accepted."""
    tags: list[str] = []
    revoked: bool | UnsetType = UNSET
    revoked_reason: str = ""
    setting_id: str = ""
    setting_ids: list[str] = []
    cost_limit_in_usd: Decimal | UnsetType = UNSET
    cost_limit_in_usd_over_time: Decimal | UnsetType = UNSET
    cost_limit_in_usd_unit: str | UnsetType = UNSET
    rate_limit_over_time: int | UnsetType = UNSET
    rate_limit_unit: str | UnsetType = UNSET
    ttl: str | UnsetType = UNSET
    """Cannot be changed; only the present value is accepted."""
    allowed_paths: list[AllowedPath] | UnsetType = UNSET
    is_key_not_hashed: bool | UnsetType = UNSET
    should_log_request: bool | UnsetType = UNSET
    should_log_response: bool | UnsetType = UNSET
    rotation_enabled: bool | UnsetType = UNSET
    policy_id: str = ""


class KeyQuery(msgspec.Struct, rename="camel", kw_only=True):
    """The body of POST /api/v2/key-management/keys. A key matches every filter; an empty one does not filter."""

    key_ids: list[str] = []
    tags: list[str] = []
    """A key has all of these."""
    name: str = ""
    """A part of the key's name, in any case."""
    revoked: bool | UnsetType = UNSET
    """As it is shown: also true once the ttl has passed or the lifetime cost is used up."""
    limit: int = 0
    """0: no limit, and then `offset` does not count."""
    offset: int = 0
    order: str = ""
    """`asc` or `desc`, by `createdAt`. Empty: desc."""
    return_count: bool = False


class KeyAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A key in answers. Every field is always there."""

    name: str
    created_at: int
    """Unix seconds, like `updated_at`."""
    updated_at: int
    tags: list[str]
    key_id: str
    revoked: bool
    """Also true once the ttl has passed or the lifetime cost is used up, with the reason `expired`."""
    key: str
    """A mask; the full key once, in the answer that creates a key Weir minted."""
    revoked_reason: str
    cost_limit_in_usd: Decimal
    cost_limit_in_usd_over_time: Decimal
    cost_limit_in_usd_unit: str
    rate_limit_over_time: int
    rate_limit_unit: str
    ttl: str
    setting_id: str
    allowed_paths: list[AllowedPath]
    setting_ids: list[str]
    should_log_request: bool
    should_log_response: bool
    rotation_enabled: bool
    policy_id: str = ""
    is_key_not_hashed: bool


class KeyPage(msgspec.Struct):
    """The answer of v2. `count` is the number of all that match if it was asked for, else 0."""

    keys: list[KeyAnswer]
    count: int


allowed_paths_decoder = msgspec.json.Decoder(list[AllowedPath])
