"""What a price override may be: the catalogue's own checks, and a name that requests can have. Pure."""

from collections.abc import Container

import msgspec

from admin.errors import Problem, invalid
from admin.prices.schemas import PricePut
from shared.price_entries import ModelEntry, entry_decoder, held_fields
from shared.price_overrides import LONGEST_ENTRY, check_override

INVALID = "price validation failed"
LATEST_SECOND = 253_402_300_800
"""The year 10000."""

LONGEST_MODEL = 500


def _refuse(detail: str) -> Problem:
    return invalid(INVALID, detail)


def check_name(body: PricePut, providers: Container[str]) -> None:
    """Raises Problem (400) for a provider that Weir does not have and a model that no path or body can name."""
    if not body.provider:
        raise _refuse("provider field cannot be empty")
    if body.provider not in providers:
        raise _refuse(f"provider {body.provider} is not supported")
    model = body.model
    if not model:
        raise _refuse("model field cannot be empty")
    if len(model) > LONGEST_MODEL or not model.isprintable() or model != model.strip() or model.strip("/") != model:
        raise _refuse(
            f"model must be printable, at most {LONGEST_MODEL} characters, without a space or slash at either end"
        )
    if {"", ".", ".."} & set(model.split("/")):  # a path drops these, so that DELETE would name another model
        raise _refuse("model must have no empty or dot segment between its slashes")
    if not 0 <= body.effective_from < LATEST_SECOND:
        raise _refuse("effectiveFrom must be Unix seconds, or 0")


def entry_of(body: PricePut) -> ModelEntry:
    """The price as the catalogue holds it. Raises Problem (400) naming the field."""
    content = msgspec.json.encode(body.price)
    if len(content) > LONGEST_ENTRY:
        raise _refuse(f"price must have at most {LONGEST_ENTRY} bytes")
    try:
        entry = entry_decoder.decode(content)
        check_override(body.model, entry)
    except (msgspec.DecodeError, ValueError) as error:
        raise _refuse(f"price: {error}") from None
    if held := next(held_fields(entry), ""):  # it would be believed to count
        raise _refuse(f"price: {held}: is not counted yet, and would make the cost of every call unknown")
    return entry
