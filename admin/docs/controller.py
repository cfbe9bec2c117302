"""Routes of the documentation: the OpenAPI document, and an explorer of it that needs nothing from elsewhere.

All below `/docs` is readable without the admin key (admin.edge.OPENINGS): it is the same for every Weir and holds
nothing of this one. The explorer is Swagger UI 5.35.0, unchanged (see explorer/README.md).
"""

from functools import cache
from pathlib import Path
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.exceptions import NotFoundException

from admin.answers import JSON
from admin.docs.openapi import rendered

_FOLDER = Path(__file__).parent / "explorer"
_PAGE = "explorer.html"
FILES = {
    # what is served of the folder, and as what
    _PAGE: "text/html",
    "explorer.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui-bundle.js.LICENSE.txt": "text/plain",
    "swagger-ui.css": "text/css",
    "swagger-ui.LICENSE.txt": "text/plain",
    "swagger-ui.NOTICE.txt": "text/plain",
}


@cache
def _content(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


class DocsController(Controller):
    """Read the documentation."""

    path = "/docs"

    @get()
    async def explorer(self) -> Response[bytes]:
        """The explorer's page."""
        return Response(_content(_PAGE), media_type=FILES[_PAGE])

    @get("/openapi.json")
    async def openapi(self) -> Response[bytes]:
        """The document."""
        return Response(rendered(), media_type=JSON)

    @get("/explorer/{name:str}")
    async def file(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """A file of the explorer."""
        name = request.path_params["name"]
        if name not in FILES:
            raise NotFoundException
        return Response(_content(name), media_type=FILES[name])
