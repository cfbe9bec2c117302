"""Routes of prices: `/api/prices`, and the page `/docs/pricing`."""

from typing import Any

import msgspec
from litestar import Controller, Request, Response, delete, get, put

from admin.answers import JSON, nothing, query_value, query_values, remote_address
from admin.body import decode
from admin.prices import service
from admin.prices.page import PAGE_HEADERS, PAGE_TYPE, pricing_page
from admin.prices.schemas import PriceAnswer, PricePut

# Decimals as text, as the catalogue has them: exact whoever reads them.
_encoder = msgspec.json.Encoder()


def _answer(content: PriceAnswer | list[PriceAnswer]) -> Response[bytes]:
    return Response(_encoder.encode(content), status_code=200, media_type=JSON)


class PriceController(Controller):
    """Find prices; give a model one of one's own, and take it away."""

    path = "/api/prices"

    @get()
    async def find(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """What models cost now, by `provider`, `model` (both repeatable) and `source`."""
        providers, models = query_values(request, "provider"), query_values(request, "model")
        source = query_value(request, "source")
        return _answer(await service.find_prices(providers, models, request.app.state.prices, source))

    @put(status_code=200)
    async def put(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Create or replace an override."""
        body = decode(await request.body(), PricePut)
        return _answer(await service.put_price(body, request.app.state.prices, remote_address(request)))

    @delete("/{provider:str}/{model:path}", status_code=200)
    async def delete(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Take an override away. A model's name may hold slashes."""
        provider, model = request.path_params["provider"], str(request.path_params["model"]).removeprefix("/")
        await service.delete_price(provider, model, remote_address(request))
        return nothing()


class PricingPageController(Controller):
    """The shipped price list as a page. Anybody may read it: it holds what providers publish, and no override."""

    path = "/docs/pricing"

    @get()
    async def page(self) -> Response[bytes]:
        """One table per provider."""
        return Response(pricing_page(), media_type=PAGE_TYPE, headers=PAGE_HEADERS)
