"""The tables of `schema.sql` as the admin plane sees them. The SQL is the truth; these only name it for piccolo.

`KeyState` is a view: a key together with its limits and what is derived on reading (expired, exhausted).
"""

from piccolo.columns import (
    UUID,
    Array,
    BigInt,
    Boolean,
    Bytea,
    Integer,
    Text,
    Timestamptz,
)
from piccolo.columns.column_types import JSONB
from piccolo.table import Table

from admin.database import DB


class ProviderSetting(Table, tablename="provider_settings", db=DB):
    """A credential and where it is used."""

    id = UUID(primary_key=True)
    provider = Text()
    name = Text()
    params = JSONB()
    sealed = Bytea()
    allowed_models = Array(Text())
    cost_map = JSONB(null=True, default=None)
    unpriced = Text(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()


class Key(Table, tablename="keys", db=DB):
    """A gateway key, as it is written."""

    id = UUID(primary_key=True)
    name = Text()
    tags = Array(Text())
    digest = Bytea()
    digest_version = Text()
    mask = Text()
    is_key_not_hashed = Boolean()
    is_revoked = Boolean()
    revoked_reason = Text()
    ttl = Text()
    expires_at = Timestamptz(null=True, default=None)
    setting_ids = Array(UUID())
    setting_id = Text()
    allowed_paths = JSONB(default="[]")
    rotation = Boolean()
    should_log_request = Boolean()
    should_log_response = Boolean()
    created_at = Timestamptz()
    updated_at = Timestamptz()


class KeyState(Table, tablename="admin_keys", db=DB):
    """A key, as it is read: without its digest, with its limits and what is derived from time and spend."""

    id = UUID(primary_key=True)
    name = Text()
    tags = Array(Text())
    mask = Text()
    is_key_not_hashed = Boolean()
    is_revoked = Boolean()
    revoked_reason = Text()
    ttl = Text()
    setting_ids = Array(UUID())
    setting_id = Text()
    allowed_paths = JSONB(default="[]")
    rotation = Boolean()
    should_log_request = Boolean()
    should_log_response = Boolean()
    created_at = Timestamptz()
    updated_at = Timestamptz()
    cost_total_nano = BigInt()
    cost_window_nano = BigInt()
    cost_window_unit = Text()
    requests_window = BigInt()
    requests_window_unit = Text()
    is_expired = Boolean()
    is_exhausted = Boolean()


class Limit(Table, tablename="limits", db=DB):
    """One limit of one scope."""

    id = UUID(primary_key=True)
    scope = Text()
    scope_id = UUID()
    resource = Text()
    window_unit = Text()
    amount = BigInt()
    generation = Integer(default=1)
    reset_at = Timestamptz()


class Price(Table, tablename="prices", db=DB):
    """An operator's own price of one model. Its key is provider and model together."""

    provider = Text(primary_key=True)
    model = Text()
    effective_from = Timestamptz(null=True, default=None)
    entry = JSONB()
    created_at = Timestamptz()
    updated_at = Timestamptz()


class AuditEntry(Table, tablename="audit_log", db=DB):
    """One change by an operator. Appended to, never altered."""

    id = BigInt(primary_key=True)
    at = Timestamptz()
    actor = Text()
    remote_address = Text()
    action = Text()
    resource = Text()
    resource_id = Text()
    change = JSONB()


class Event(Table, tablename="events", db=DB):
    """One attempt that was made or refused."""

    id = UUID(primary_key=True)
    request_id = UUID()
    admitted_at = Timestamptz()
    ended_at = Timestamptz()
    is_final = Boolean()
    outcome = Text()
    status = Integer()
    error_kind = Text()
    refusals = BigInt()
    account_id = Text()
    project_id = Text()
    key_id = Text()
    tags = Array(Text())
    user_id = Text()
    setting_id = Text()
    provider = Text()
    endpoint = Text()
    method = Text()
    path = Text()
    requested_model = Text()
    upstream_model = Text()
    response_model = Text()
    is_stream = Boolean()
    custom_id = Text()
    metadata = Text()
    action = Text()
    policy_id = Text()
    route_id = Text()
    upstream_request_id = Text()
    upstream_response_id = Text()
    input_tokens = BigInt()
    cached_input_tokens = BigInt()
    cache_write_5m_tokens = BigInt()
    cache_write_1h_tokens = BigInt()
    audio_input_tokens = BigInt()
    output_tokens = BigInt()
    reasoning_tokens = BigInt()
    audio_output_tokens = BigInt()
    list_cost_nano = BigInt(null=True, default=None)
    charged_cost_nano = BigInt(null=True, default=None)
    price_version = Text()
    is_estimated = Boolean()
    is_cache_hit = Boolean()
    latency_us = BigInt()
    upstream_us = BigInt()
    time_to_first_token_us = BigInt(null=True, default=None)
    overhead_us = BigInt()
    worker = Text()
    request = Bytea()
    response = Bytea()
    is_request_cut = Boolean()
    is_response_cut = Boolean()
