"""Routes of keys: `/api/key-management/keys` and `/api/v2/key-management/keys` (contract §2.2)."""

from typing import Any

from litestar import Controller, Request, Response, delete, get, patch, post, put

from admin.answers import answer, nothing, query_value, query_values, remote_address
from admin.body import decode
from admin.errors import Problem
from admin.keys import finding, service
from admin.keys.schemas import KeyCreate, KeyQuery, KeyUpdate
from admin.listing import answer_list

KEYS = "/key-management/keys"


class KeyController(Controller):
    """Create, find, change and delete keys."""

    path = "/api"

    @put(KEYS, status_code=200)
    async def create(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """A new key; its text is in the answer if Weir minted it."""
        body = decode(await request.body(), KeyCreate)
        return answer(await service.create_key(body, request.app.state.secrets, remote_address(request)))

    @get(KEYS)
    async def find(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """Version 1: keys that match every filter; one filter at least."""
        tags = query_values(request, "tag")[:1] + query_values(request, "tags")
        key_ids = query_values(request, "keyIds")
        provider = query_value(request, "provider")
        if not (tags or key_ids or provider):
            detail = "one of tag, tags, keyIds and provider is needed"
            raise Problem(400, "missing-filteres", "filters are not found", detail)
        wanted = finding.KeyFilter(key_ids=key_ids, tags=tags, provider=provider)
        return await answer_list(finding.find_keys(wanted))

    @post(f"/v2{KEYS}", status_code=200)
    async def query(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """Version 2: by the filters of the body, or all."""
        steps, count = await finding.query_keys(decode(await request.body(), KeyQuery))
        return await answer_list(steps, b'{"keys":[', b'],"count":%d}' % count)

    @patch(f"{KEYS}/{{id:str}}")
    async def update(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Change some fields of a key."""
        body = decode(await request.body(), KeyUpdate)
        key_id = request.path_params["id"]
        return answer(await service.update_key(key_id, body, request.app.state.secrets, remote_address(request)))

    @delete(f"{KEYS}/{{id:str}}", status_code=200)
    async def remove(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Delete a key; one that does not exist is deleted already."""
        await service.delete_key(request.path_params["id"], remote_address(request))
        return nothing()
