"""Bodies are read the way the contract's server reads them, and refused where it would guess."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from admin.body import MAX_DEPTH, decode
from admin.errors import Problem


class Inner(msgspec.Struct, rename="camel"):
    some_path: str = ""


class Outer(msgspec.Struct, rename="camel"):
    name: str = ""
    cost_limit: Decimal = Decimal(0)
    count: int = 0
    is_on: bool | msgspec.UnsetType = msgspec.UNSET
    inners: list[Inner] = []
    inner: Inner | None = None
    params: dict[str, str] = {}
    prices: dict[str, Decimal] = {}
    either: int | msgspec.UnsetType | None = msgspec.UNSET


READ = [
    pytest.param(b"{}", Outer(), id="nothing"),
    pytest.param(b' {"name": "a"} ', Outer(name="a"), id="exact"),
    pytest.param(b'{"NAME": "a", "CostLIMIT": 0.1}', Outer(name="a", cost_limit=Decimal("0.1")), id="any case"),
    pytest.param(b'{"a": {"name": "x"}, "name": "a"}', Outer(name="a"), id="the same name in another object"),
    pytest.param(
        b'{"params": {"x": "\\"x\\":1,{", "y": "x"}}', Outer(params={"x": '"x":1,{', "y": "x"}), id="JSON in text"
    ),
    pytest.param(b'{"na\\u212Ae": "x", "name": "a"}', Outer(name="a"), id="another letter is another name"),
    pytest.param(b'{"name": null, "inner": null, "isOn": null}', Outer(), id="null is absent"),
    pytest.param(b'{"unknown": {"deep": [1, null]}, "name": "a"}', Outer(name="a"), id="unknown names are ignored"),
    pytest.param(b'{"inners": [{"SOMEPATH": "p"}]}', Outer(inners=[Inner("p")]), id="nested in a list"),
    pytest.param(b'{"inner": {"somepath": "p", "x": 1}}', Outer(inner=Inner("p")), id="nested"),
    pytest.param(b'{"params": {"apiKey": "K", "APIKEY": "L"}}', Outer(params={"apiKey": "K", "APIKEY": "L"}), id="map"),
    pytest.param(b'{"params": {"a": null, "b": "x"}}', Outer(params={"b": "x"}), id="null in a map is absent"),
    pytest.param(b'{"prices": {"GPT": 1e-9}}', Outer(prices={"GPT": Decimal("1e-9")}), id="decimals in a map"),
    pytest.param(b'{"either": null}', Outer(either=None), id="null where the field's type has it"),
    pytest.param(b'{"either": 5}', Outer(either=5), id="or a value"),
    pytest.param(b'{"costLimit": -0.0}', Outer(cost_limit=Decimal("-0.0")), id="minus nothing"),
    pytest.param(b'{"costLimit": 1e-400}', Outer(cost_limit=Decimal("1e-400")), id="the smallest"),
    pytest.param(b'{"costLimit": 5}', Outer(cost_limit=Decimal(5)), id="an integer is a decimal"),
    pytest.param(b'{"costLimit": 0.1000000001}', Outer(cost_limit=Decimal("0.1000000001")), id="exact text"),
    pytest.param(b'{"isOn": false}', Outer(is_on=False), id="false is not absent"),
]


@pytest.mark.parametrize(("body", "expected"), READ)
def test_body_is_read_as_go_reads_it(body: bytes, expected: Outer) -> None:
    """Names in any case, null is absent, unknown names are ignored."""
    assert decode(body, Outer) == expected


REFUSED = [
    pytest.param(b"", id="empty"),
    pytest.param(b"{", id="cut"),
    pytest.param(b"[]", id="not an object"),
    pytest.param(b"null", id="null"),
    pytest.param(b'{"name": "a"} x', id="trailing text"),
    pytest.param(b'{"name": "\xff"}', id="not UTF-8"),
    pytest.param(b'{"name": "\\ud800"}', id="half a surrogate pair"),
    pytest.param(b'{"name": "a\\u0000b"}', id="U+0000"),
    pytest.param(b'{"params": {"a\\u0000": "b"}}', id="U+0000 in a name"),
    pytest.param(b'{"name": 5}', id="number for string"),
    pytest.param(b'{"costLimit": "5"}', id="string for decimal"),
    pytest.param(b'{"costLimit": true}', id="boolean for decimal"),
    pytest.param(b'{"costLimit": NaN}', id="NaN"),
    pytest.param(b'{"costLimit": Infinity}', id="infinity"),
    pytest.param(b'{"costLimit": 1e401}', id="beyond any field"),
    pytest.param(b'{"costLimit": 0e-401}', id="nothing, said at length"),
    pytest.param(b'{"costLimit": 1e99999999999999999999}', id="an exponent beyond 64 bits"),
    pytest.param(b'{"costLimit": 1.' + b"0" * 400 + b"}", id="too many digits"),
    pytest.param(b'{"unknown": 1e401}', id="beyond any field where nobody looks"),
    pytest.param(b'{"count": 1.0}', id="float for integer"),
    pytest.param(b'{"count": 9223372036854775808}', id="integer beyond 64 bits"),
    pytest.param(b'{"isOn": "true"}', id="string for boolean"),
    pytest.param(b'{"inners": {"somePath": "a"}}', id="object for list"),
    pytest.param(b'{"params": {"a": 1}}', id="number in a map of strings"),
    pytest.param(b'{"unknown": ' + b"[" * 70 + b"]" * 70 + b"}", id="deep"),
    pytest.param(b"[" * 500_000, id="very deep"),
    pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="very deep objects"),
]


@pytest.mark.parametrize("body", REFUSED)
def test_body_that_cannot_be_trusted_is_400(body: bytes) -> None:
    """Every refusal is the contract's json-unmarshal error."""
    with pytest.raises(Problem) as refused:
        decode(body, Outer)

    assert (refused.value.status, refused.value.kind) == (400, "json-unmarshal")


TWICE = [
    pytest.param(b'{"name": "a", "name": "b"}', "$.name", id="exactly"),
    pytest.param(b'{"name": "a", "NAME": "b"}', "$.name", id="in another case"),
    pytest.param(b'{"NAME": null, "name": "b"}', "$.name", id="once as null"),
    pytest.param(b'{"name": "a", "na\\u006De": "b"}', "$.name", id="once escaped"),
    pytest.param(b'{"inners": [{}, {"SomePath": "a", "somepath": "b"}]}', "$.inners[1].somePath", id="deeper"),
    pytest.param(b'{"inners": [{"somePath": "a", "somePath": "b"}]}', "$.inners", id="deeper, exactly"),
    pytest.param(b'{"PRICES": {"sk-secret": 1, "b": 2, "sk-secret" : 3}}', "$.prices", id="in a map"),
    pytest.param(b'{"sk-secret": 1, "sk-secret": 2}', "$....", id="that nobody knows"),
    pytest.param(b'{"x": [{"y": [], "z": "y", "y": {}}]}', "$....", id="deep in what nobody knows"),
]


@pytest.mark.parametrize(("body", "where"), TWICE)
def test_what_is_said_twice_is_refused(body: bytes, where: str) -> None:
    """Readers of JSON differ on which of two counts; the message names the field."""
    with pytest.raises(Problem) as refused:
        decode(body, Outer)

    assert refused.value.status == 400
    assert refused.value.detail == f"a member is given twice - at `{where}`"


def test_values_never_appear_in_messages() -> None:
    """A secret in the wrong place is not repeated."""
    bodies: list[bytes] = [b'{"count": "sk-secret"}', b'{"sk-secret": 1, "name": 5}', b'{"params": {"sk-secret": 7}}']
    for body in bodies:
        with pytest.raises(Problem) as refused:
            decode(body, Outer)

        assert "secret" not in refused.value.detail


def test_depth_is_counted_exactly() -> None:
    """The deepest that is allowed passes; one more is refused."""

    def nested(levels: int) -> bytes:
        return b'{"x":' * (levels - 1) + b"{}" + b"}" * (levels - 1)

    expected: Any = Outer()
    assert decode(nested(MAX_DEPTH), Outer) == expected

    with pytest.raises(Problem):
        decode(nested(MAX_DEPTH + 1), Outer)
