"""The OpenAPI document says what the app does, and the explorer of it loads nothing from elsewhere."""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from admin.docs.controller import FILES
from admin.docs.openapi import OPERATIONS, VERSION, rendered
from admin.docs.operations import Operation, Route
from admin.edge import Edge, route_template
from tests.admin.conftest import client_of, make_setting

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENT: dict[str, Any] = msgspec.json.decode(rendered())
OPENED = [(route, row) for route, row in OPERATIONS.items() if row.is_open]
CLOSED = [(route, row) for route, row in OPERATIONS.items() if not row.is_open]
EXAMPLES = [(route, row) for route, row in OPERATIONS.items() if row.example is not None]
SUMS = {
    # swagger-ui-dist 5.35.0, as npm has it
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui-bundle.js.LICENSE.txt": "37eb6e7e59aed57b2c1acf076574b818ea07b74265717e0bd67b59e0baf9abbb",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
    "swagger-ui.LICENSE.txt": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "swagger-ui.NOTICE.txt": "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
}


def named(rows: list[tuple[Route, Operation]]) -> Any:
    return [pytest.param(route, row, id=" ".join(route)) for route, row in rows]


def operation_of(route: Route) -> dict[str, Any]:
    method, template = route
    return DOCUMENT["paths"][re.sub(r":(\w+)", r"{\1}", template)][method.lower()]


def assert_fits(value: Any, schema: dict[str, Any], where: str = "$") -> None:
    """What of JSON Schema the document uses."""
    if "$ref" in schema:
        assert_fits(value, DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]], where)
    if "anyOf" in schema:
        assert any(fits(value, one) for one in schema["anyOf"]), where
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
    kind = kinds.get(schema.get("type", "")) or {"array": list, "object": dict}.get(schema.get("type", ""), object)
    assert isinstance(value, kind), f"{where}: {value!r} is not {schema.get('type')}"
    if "enum" in schema:
        assert value in schema["enum"], where
    if isinstance(value, list):
        for item in value:
            assert_fits(item, schema.get("items", {}), f"{where}[]")
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value), where
        members = schema.get("properties", {})
        rest = schema.get("additionalProperties", not members)
        for name, member in value.items():
            assert name in members or rest is not False, f"{where}.{name} is not told"
            assert_fits(member, members.get(name) or (rest if isinstance(rest, dict) else {}), f"{where}.{name}")


def fits(value: Any, schema: dict[str, Any]) -> bool:
    try:
        assert_fits(value, schema)
    except AssertionError:
        return False
    return True


def test_every_route_is_in_the_document_and_no_other(app: Edge) -> None:
    """Walked in the app itself; the documentation does not document itself."""
    routes = {
        (method, route_template({"path_template": route.path_format}))  # type: ignore[arg-type,typeddict-item]
        for route in app._app.routes  # type: ignore[attr-defined]
        for method in getattr(route, "methods", ())
        if method != "OPTIONS" and not f"{route.path}/".startswith("/docs/")
    }
    assert routes == set(OPERATIONS)


@pytest.mark.parametrize("route", OPERATIONS, ids=" ".join)
def test_every_route_is_in_the_readme(route: Route) -> None:
    """In a line of the admin API's table that has the method and the path, or the path it is below of."""
    method, template = route
    section = README.partition("\n## Admin API")[2].partition("\n## ")[0]
    paths = [f"{path}`" for path in (template, re.sub(r"(/:\w+)+$", "", template))]
    lines = [line for line in section.splitlines() if line.startswith("|") and any(path in line for path in paths)]
    assert any(re.search(rf"`{method}\b", line) for line in lines)


def test_the_document_is_whole() -> None:
    """References lead somewhere, names are unique, and the version is the project's."""
    text = rendered().decode()
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) <= set(DOCUMENT["components"]["schemas"])
    names = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names) == len(OPERATIONS)
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"] == VERSION
    assert DOCUMENT["openapi"] == "3.1.0"


def test_names_are_those_of_the_wire_and_docstrings_explain_them() -> None:
    """In the contract's casing; money is a number; prices are text, as the price list has them."""
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["KeyCreate"]["properties"]["costLimitInUsd"]["type"] == "number"
    assert {"key_id", "correlationId"} <= set(schemas["EventAnswer"]["properties"])
    assert schemas["EventAnswer"]["properties"]["request"]["contentEncoding"] == "base64"
    assert schemas["KeyAnswer"]["properties"]["key"]["description"].startswith("A mask;")
    assert schemas["KeyCreate"]["required"] == ["name"]
    assert schemas["PriceRow"]["properties"]["classes"]["additionalProperties"]["type"] == "string"


@pytest.mark.parametrize(("route", "row"), named(CLOSED))
async def test_what_needs_the_key_says_so(app: Edge, route: Route, row: Operation) -> None:
    """And answers without it as the document has it."""
    operation = operation_of(route)
    assert "security" not in operation
    async with client_of(app) as stranger:
        answer = await stranger.request(route[0], route[1].replace(":", ""))

    assert answer.status_code == 401
    assert_fits(answer.json(), operation["responses"]["401"]["content"]["application/json"]["schema"])


@pytest.mark.parametrize(("route", "row"), named(OPENED))
async def test_what_is_open_says_so(app: Edge, route: Route, row: Operation) -> None:
    """By having no security at all."""
    operation = operation_of(route)
    assert operation["security"] == []
    async with client_of(app) as stranger:
        answer = await stranger.request(*route)
    assert_fits(answer.json(), operation["responses"][str(answer.status_code)]["content"]["application/json"]["schema"])


@pytest.mark.parametrize(("route", "row"), named(EXAMPLES))
async def test_an_example_works_and_is_answered_as_told(
    admin: httpx2.AsyncClient, route: Route, row: Operation
) -> None:
    """With a real id where it has a made-up one; the answer has no member that is not in the document."""
    method, template = route
    content = operation_of(route)["requestBody"]["content"]["application/json"]
    assert_fits(content["example"], content["schema"])
    setting_id = (await make_setting(admin))["id"]
    body = dict(content["example"])
    if "settingId" in body:
        body["settingId"] = setting_id
    if template.endswith("keys/:id"):
        key = await admin.put("/api/key-management/keys", json={"name": "x", "settingId": setting_id})
        template = template.replace(":id", key.json()["keyId"])

    answer = await admin.request(method, template.replace(":id", setting_id), json=body)

    assert answer.status_code == 200, answer.text
    assert_fits(answer.json(), operation_of(route)["responses"]["200"]["content"]["application/json"]["schema"])


async def test_lists_are_answered_as_told(admin: httpx2.AsyncClient) -> None:
    """Those of GET, whose bodies are none."""
    setting_id = (await make_setting(admin))["id"]
    await admin.put("/api/key-management/keys", json={"name": "x", "settingId": setting_id, "tags": ["told"]})
    for path, params in (
        ("/api/provider-settings", {"ids": setting_id}),
        ("/api/key-management/keys", {"tag": "told"}),
        ("/api/prices", {"provider": "openai"}),
    ):
        answer = await admin.get(path, params=params)
        assert answer.json()
        schema = operation_of(("GET", path))["responses"]["200"]["content"]["application/json"]["schema"]
        assert_fits(answer.json(), schema)


PAGES = ["/docs", "/docs/openapi.json", *(f"/docs/explorer/{name}" for name in FILES)]


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_open_and_locked_to_this_server(app: Edge, path: str) -> None:
    """No key is asked; the browser may keep them a while, and may load and run nothing but them."""
    async with client_of(app) as stranger:
        answer = await stranger.get(path)

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"unsafe|https?:|\*", policy)
    assert answer.headers["content-type"].count("charset") == 1


NOT_OPEN = [
    ("POST", "/docs", 401), ("HEAD", "/docs", 401), ("DELETE", "/docs/openapi.json", 401), ("GET", "/docsx", 401),
    ("GET", "/doc", 401), ("GET", "/docs/explorer/nothing.js", 404), ("GET", "/docs/explorer/README.md", 404),
    ("GET", "/docs/explorer/../controller.py", 404), ("GET", "/docs/../api/prices", 404),
    ("GET", "/docs/api/prices", 404), ("GET", "/docs//api/prices", 404),
    ("GET", "//docs/../api/prices", 401), ("GET", "/docs/\x00", 404),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status"), NOT_OPEN)
async def test_nothing_else_comes_through_the_opening(app: Edge, method: str, path: str, status: int) -> None:
    """Not by another method, and no path of the API by a detour; what is not there is not kept by anybody."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": [], "scheme": "http",
        "client": ("127.0.0.1", 1), "server": ("weir", 80), "state": {},
    }  # fmt: skip
    await app(scope, receive, send)

    assert sent[0]["status"] == status
    assert (b"cache-control", b"no-store") in sent[0]["headers"]


def test_no_page_names_an_external_address() -> None:
    """Nothing that a browser would load: the page's links, the style sheet's imports, the explorer's settings."""
    folder = ROOT / "admin/docs/explorer"
    page, script, style = ((folder / name).read_text() for name in ("explorer.html", "explorer.js", "swagger-ui.css"))
    assert set(re.findall(r'(?:src|href)="([^"]+)"', page)) <= {*PAGES, "data:,"}
    assert "//" not in re.sub(r"^//.*", "", script, flags=re.MULTILINE)
    assert "validatorUrl: null" in script
    assert "queryConfigEnabled: false" in script
    assert "@import" not in style
    assert {target.strip("'\"")[:5] for target in re.findall(r"url\(\s*([^)]{6})", style)} == {"data:"}
    assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=", page)
    assert not re.findall(r"https?://", rendered().decode())


@pytest.mark.parametrize("name", SUMS)
def test_the_explorer_is_what_was_published(name: str) -> None:
    """Unchanged, with its licence, and told with its version."""
    assert hashlib.sha256((ROOT / "admin/docs/explorer" / name).read_bytes()).hexdigest() == SUMS[name]
    assert "swagger-ui-dist 5.35.0" in (ROOT / "admin/docs/explorer/README.md").read_text()
