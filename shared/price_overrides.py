"""An operator's own price of one model: a row that the admin plane writes and the proxy lays over the catalogue.

Its entry has the catalogue's form and passes the catalogue's checks, in both planes by the same code. It holds from
`effective_from_ms` on; before that moment the catalogue speaks.
"""

import hashlib

import msgspec

from shared.price_entries import ModelEntry, Rows, compile_entry, entry_decoder

LONGEST_ENTRY = 32_768
"""Characters of JSON; the proxy reads twice as many and would reject what was cut."""

_canonical = msgspec.json.Encoder(order="sorted", decimal_format="string")


class PriceRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A row of the table `prices`."""

    provider: str
    model: str
    effective_from_ms: int
    """Unix milliseconds; 0: always."""
    entry: bytes
    """JSON of a ModelEntry."""

    @property
    def id(self) -> str:
        """What tombstones and the audit log call it. A provider's name has no slash, a model's may."""
        return f"{self.provider}/{self.model}"


def override_version(record: PriceRecord, entry: ModelEntry) -> str:
    """Names exactly this price on events: `override-` and a hash of what it says, however its JSON was written."""
    content = _canonical.encode([record.provider, record.model, record.effective_from_ms, entry])
    return f"override-{hashlib.sha256(content).hexdigest()[:8]}"


def check_override(model: str, entry: ModelEntry) -> None:
    """Raises ValueError, naming the field, for what the catalogue would refuse, and for aliases."""
    if entry.aliases:
        raise ValueError("aliases: an override prices one name")
    compile_entry(model, "", entry)


def compile_override(record: PriceRecord) -> Rows:
    """What the request path looks up. Raises ValueError, msgspec.DecodeError or RecursionError."""
    entry = entry_decoder.decode(record.entry)
    check_override(record.model, entry)
    rows = compile_entry(record.model, override_version(record, entry), entry)
    return tuple((max(starts_ms, record.effective_from_ms), price) for starts_ms, price in rows)
