"""Routes of provider settings: `/api/provider-settings` (contract §2.3)."""

from typing import Any

from litestar import Controller, Request, Response, get, route
from litestar.enums import HttpMethod

from admin.answers import answer, query_values, remote_address
from admin.body import decode
from admin.provider_settings import service
from admin.provider_settings.schemas import SettingCreate


class ProviderSettingController(Controller):
    """Create and find provider settings."""

    path = "/api/provider-settings"

    # The contract's documentation says both PUT and POST (§2.9).
    @route(http_method=[HttpMethod.PUT, HttpMethod.POST], status_code=200)
    async def create(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """A new setting."""
        body = decode(await request.body(), SettingCreate)
        return answer(await service.create_setting(body, request.app.state.secrets, remote_address(request)))

    @get()
    async def find(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """The settings named by `ids`, or all."""
        return answer(await service.find_settings(query_values(request, "ids")))
