"""The admin plane's composition root: the only file that knows everybody."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from litestar import Litestar, Request, Response
from litestar.datastructures import State

from admin.answers import JSON
from admin.auth import Gate
from admin.background import Background
from admin.database import DB
from admin.docs.controller import DocsController
from admin.edge import ANSWERED_ERROR, Edge, route_template
from admin.errors import problem_of
from admin.events.controller import EventController
from admin.health.controller import HealthController
from admin.keys.controller import KeyController
from admin.metrics import Metrics
from admin.prices.controller import PriceController, PricingPageController
from admin.prices.service import PriceList
from admin.provider_settings.controller import ProviderSettingController
from admin.upkeep import keep_up
from shared.catalog import CatalogError
from shared.secrets import Secrets
from shared.settings import Settings, SettingsError

FIRST_TRY_SECONDS = 10
_log = structlog.get_logger()


def _answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    problem = problem_of(error)
    scope: Any = request.scope
    scope[ANSWERED_ERROR] = error
    headers = {} if problem.retry_after is None else {"retry-after": str(problem.retry_after)}
    instance = route_template(request.scope) or request.scope["path"]
    return Response(problem.render(instance), status_code=problem.status, media_type=JSON, headers=headers)


def find_secrets(settings: Settings) -> Secrets:
    """What is derived from the master key. Raises SettingsError when there is none."""
    if settings.weir_master_key is None:
        raise SettingsError(
            "WEIR_MASTER_KEY: must be set, the same in both planes (`openssl rand -base64 32` makes one)"
        )
    return Secrets(settings.weir_master_key, settings.weir_master_key_old)


def find_prices(settings: Settings) -> PriceList:
    """The catalogue with the operator's file over it. Raises SettingsError where that cannot be used."""
    try:
        return PriceList(settings.weir_model_catalog)
    except CatalogError as error:
        raise SettingsError(f"WEIR_MODEL_CATALOG: {error}") from None


def _serve_metrics(metrics: Metrics, settings: Settings) -> None:
    address, port = settings.weir_metrics_address, settings.weir_admin_prometheus_port
    try:
        _log.info("metrics served", address=address, port=metrics.serve(address, port))
    except OSError as error:  # taken since the start checked it: the plane is worth more than its metrics
        _log.error("metrics not served", address=address, port=port, error=error.strerror)


def create_app(settings: Settings, admin_key: str) -> Edge:
    """The ASGI app of the admin plane. Raises SettingsError when a setting is missing."""
    background, metrics = Background(), Metrics()

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncGenerator[None]:
        if settings.prometheus_enabled:
            _serve_metrics(metrics, settings)
        tried = asyncio.Event()
        background.spawn_forever(keep_up(settings, metrics, tried), "upkeep")
        try:
            # Usually PostgreSQL is there, and then the first request already works.
            async with asyncio.timeout(FIRST_TRY_SECONDS):
                await tried.wait()
        except TimeoutError:
            _log.warning("postgresql not reached", detail="still trying")
        try:
            yield
        finally:
            await background.cancel(5)
            await DB.close()
            metrics.stop()

    app = Litestar(
        route_handlers=[
            HealthController,
            ProviderSettingController,
            KeyController,
            EventController,
            PriceController,
            PricingPageController,
            DocsController,
        ],
        exception_handlers={Exception: _answer_error},
        lifespan=[lifespan],
        state=State({"secrets": find_secrets(settings), "prices": find_prices(settings)}),
        openapi_config=None,
        logging_config=None,
    )
    return Edge(app, settings, Gate(admin_key, time.monotonic), metrics, background)
