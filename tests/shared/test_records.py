"""Rows as JSON: what the admin plane writes is what the poll reads."""

import msgspec
import pytest

from shared.events import Event, event_decoder, event_encoder
from shared.records import (
    AllowedPath,
    CostMap,
    KeyDetail,
    Limit,
    SettingDetail,
    key_detail_decoder,
    limits_decoder,
    setting_detail_decoder,
)


def test_limits_travel_as_arrays() -> None:
    limits = (
        Limit("l1", "cost", "mo", 9_000_000_000_000_000, 3, 1_795_000_000_000),
        Limit("l2", "requests", "s", 1, 0, 0),
    )

    assert limits_decoder.decode(msgspec.json.encode(limits)) == limits
    assert limits_decoder.decode(b'[["l1","cost","total",5,0,0]]') == (Limit("l1", "cost", "total", 5, 0, 0),)


@pytest.mark.parametrize(
    "text",
    [
        b'[["l","coffee","m",1,0,0]]',
        b'[["l","cost","year",1,0,0]]',
        b'[["l","cost","m",1.5,0,0]]',
        b'[["l","cost","m"]]',
        b"{}",
        b"null",
    ],
)
def test_a_limit_that_is_not_understood_is_an_error_never_no_limit(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        limits_decoder.decode(text)


def test_a_keys_detail_survives_the_way_and_its_absent_parts_are_empty() -> None:
    paths = (AllowedPath("/api/providers/openai/v1/models", "GET"),)
    detail = KeyDetail("n", ("t",), ("s1", "s2"), paths, rotation=True, should_log_response=True)

    assert key_detail_decoder.decode(msgspec.json.encode(detail)) == detail
    assert key_detail_decoder.decode(b'{"name":"n","later":1}') == KeyDetail("n")
    with pytest.raises(msgspec.DecodeError):
        key_detail_decoder.decode(b"{}")


def test_a_settings_detail_survives_the_way_with_the_cost_map_in_the_contracts_names() -> None:
    detail = SettingDetail("n", {"url": "https://x"}, ("m",), CostMap({"m": 1}, {"m": 2}), "free")
    encoded = msgspec.json.encode(detail)

    assert setting_detail_decoder.decode(encoded) == detail
    assert b'"promptCostPerModel":{"m":1}' in encoded
    assert setting_detail_decoder.decode(b"{}") == SettingDetail()


def test_a_cost_map_holds_whole_nano_usd_only() -> None:
    with pytest.raises(msgspec.DecodeError):
        setting_detail_decoder.decode(b'{"cost_map":{"promptCostPerModel":{"m":0.5}}}')


def test_an_event_survives_the_way_and_tells_unknown_cost_from_no_cost() -> None:
    common = {"id": "a", "request_id": "r", "admitted_at": 1, "ended_at": 2, "outcome": "completed", "status": 200}
    for cost in (None, 0, 5):
        event = Event(**common, list_cost_nano=cost, charged_cost_nano=cost, tags=("x",), input_tokens=3)  # type: ignore[arg-type]
        assert event_decoder.decode(event_encoder.encode(event)) == event
    unknown, nothing = Event(**common), Event(**common, charged_cost_nano=0)  # type: ignore[arg-type]

    assert b"charged_cost_nano" not in event_encoder.encode(unknown)
    assert b'"charged_cost_nano":0' in event_encoder.encode(nothing)


def test_an_event_of_an_unheard_of_outcome_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        event_decoder.decode(b'{"id":"a","request_id":"r","admitted_at":1,"ended_at":2,"outcome":"fine","status":200}')
