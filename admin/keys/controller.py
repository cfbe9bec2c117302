"""Routes of keys: `/api/key-management/keys` (contract §2.2)."""

from typing import Any

from litestar import Controller, Request, Response, delete, get, patch, put

from admin.answers import answer, nothing, query_value, query_values, remote_address
from admin.body import decode
from admin.errors import Problem
from admin.keys import service
from admin.keys.schemas import KeyCreate, KeyUpdate


class KeyController(Controller):
    """Create, find, change and delete keys."""

    path = "/api/key-management/keys"

    @put(status_code=200)
    async def create(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """A new key; its text is in the answer if Weir minted it."""
        body = decode(await request.body(), KeyCreate)
        return answer(await service.create_key(body, request.app.state.secrets, remote_address(request)))

    @get()
    async def find(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Keys that match every filter; one filter at least."""
        tags = query_values(request, "tag")[:1] + query_values(request, "tags")
        key_ids = query_values(request, "keyIds")
        provider = query_value(request, "provider")
        if not (tags or key_ids or provider):
            detail = "one of tag, tags, keyIds and provider is needed"
            raise Problem(400, "missing-filteres", "filters are not found", detail)
        return answer(await service.find_keys(tags, key_ids, provider))

    @patch("/{id:str}")
    async def update(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Change some fields of a key."""
        body = decode(await request.body(), KeyUpdate)
        key_id = request.path_params["id"]
        return answer(await service.update_key(key_id, body, request.app.state.secrets, remote_address(request)))

    @delete("/{id:str}", status_code=200)
    async def remove(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Delete a key."""
        await service.delete_key(request.path_params["id"], remote_address(request))
        return nothing()
