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
    # Not enforced yet: refused unless they say nothing.
    should_log_request: bool = False
    should_log_response: bool = False
    rotation_enabled: bool = False
    policy_id: str = ""


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
    should_log_request: bool = False
    should_log_response: bool = False
    rotation_enabled: bool = False
    policy_id: str = ""


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
    should_log_request: bool = False
    should_log_response: bool = False
    rotation_enabled: bool = False
    policy_id: str = ""
    is_key_not_hashed: bool


allowed_paths_decoder = msgspec.json.Decoder(list[AllowedPath])
