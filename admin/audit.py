"""The audit log: one row per change by an operator, in the same transaction as the change.

It holds names of fields and values that are not secret. The plane's role may append to it and read it, no more.
"""

from typing import Any

import msgspec

from admin.tables import AuditEntry

ACTOR = "admin-key"
"""Whoever holds the one admin key; users of their own come with the console."""

_encoder = msgspec.json.Encoder(decimal_format="number")


async def record(action: str, resource: str, resource_id: str, remote_address: str, change: dict[str, Any]) -> None:
    """Append one row. Must run inside the transaction of the change it tells."""
    await AuditEntry.raw(
        "INSERT INTO audit_log (actor, remote_address, action, resource, resource_id, change)"
        " VALUES ({}, {}, {}, {}, {}, {}::jsonb)",
        ACTOR,
        remote_address,
        action,
        resource,
        resource_id,
        _encoder.encode(change).decode(),
    )
