"""Routes of provider settings: `/api/provider-settings` (contract §2.3)."""

from typing import Any

from litestar import Controller, Request, Response, delete, get, patch, route
from litestar.enums import HttpMethod

from admin.answers import answer, nothing, query_value, query_values, remote_address
from admin.body import decode
from admin.listing import answer_list
from admin.provider_settings import service
from admin.provider_settings.schemas import SettingCreate, SettingUpdate


class ProviderSettingController(Controller):
    """Create, find, change and delete provider settings."""

    path = "/api/provider-settings"

    # The contract's documentation says both PUT and POST (§2.9).
    @route(http_method=[HttpMethod.PUT, HttpMethod.POST], status_code=200)
    async def create(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """A new setting."""
        body = decode(await request.body(), SettingCreate)
        return answer(await service.create_setting(body, request.app.state.secrets, remote_address(request)))

    @get()
    async def find(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """The settings named by `ids`, or all; of `provider`, if that is asked."""
        ids, provider = query_values(request, "ids"), query_value(request, "provider")
        if ids:
            return answer(await service.find_settings(ids, provider))
        return await answer_list(service.all_settings(provider))

    @patch("/{id:str}")
    async def update(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Change some members of a setting."""
        body, setting_id = decode(await request.body(), SettingUpdate), request.path_params["id"]
        secrets, address = request.app.state.secrets, remote_address(request)
        return answer(await service.update_setting(setting_id, body, secrets, address))

    @delete("/{id:str}", status_code=200)
    async def remove(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Delete a setting that no key uses; one that does not exist is deleted already."""
        await service.delete_setting(request.path_params["id"], remote_address(request))
        return nothing()
