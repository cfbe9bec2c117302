"""The operator's own prices as one request sees them, and how rows become the next view of them. Pure.

There are few of them: a change makes a new view of all. A row that cannot be used leaves the last good one in place.
"""

from collections.abc import Mapping, Set
from typing import NamedTuple

import msgspec

from shared.catalog import NO_PRICES, Catalog
from shared.price_entries import Rows
from shared.price_overrides import PriceRecord, compile_override


class _Row(NamedTuple):
    record: PriceRecord
    rows: Rows


class Overrides:
    """One immutable view."""

    def __init__(self, rows: Mapping[str, _Row] | None = None) -> None:
        self.rows: Mapping[str, _Row] = rows or {}
        """By the record's id. For builders."""
        by_provider: dict[str, dict[str, Rows]] = {}
        for row in self.rows.values():
            by_provider.setdefault(row.record.provider, {})[row.record.model] = row.rows
        self.catalog: Catalog = Catalog(by_provider, "") if by_provider else NO_PRICES
        """What is asked for prices before the shipped catalogue is."""


class OverridesBuilder:
    """Collects rows into the next view; the former one is never touched. A full build starts from nothing."""

    def __init__(self, former: Overrides, *, is_full: bool) -> None:
        self.changed_rows = 0
        self._former = former
        self._is_full = is_full
        self._rows: dict[str, _Row] = {} if is_full else dict(former.rows)

    def put(self, record: PriceRecord) -> str:
        """An override as it is now. Why it is rejected, or an empty string."""
        known = self._rows.get(record.id)
        if known is not None and known.record == record:
            return ""
        good = self._former.rows.get(record.id)
        if good is not None and good.record == record:
            self._rows[record.id] = good
            return ""
        try:
            self._rows[record.id] = _Row(record, compile_override(record))
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            if self._is_full and good is not None:
                self._rows[record.id] = good
            return str(error)
        self.changed_rows += 1
        return ""

    def remove(self, record_id: str) -> None:
        """An override was deleted."""
        if self._rows.pop(record_id, None) is not None:
            self.changed_rows += 1

    def keep(self, record_ids: Set[str]) -> None:
        """These are all there are: the rest is gone."""
        for record_id in self._rows.keys() - record_ids:
            self.remove(record_id)

    def build(self) -> Overrides:
        """The next view; the former one itself when nothing differs."""
        if self._is_full:
            self.changed_rows += len(self._former.rows.keys() - self._rows.keys())
        return Overrides(self._rows) if self.changed_rows else self._former
