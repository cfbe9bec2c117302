"""The composition root: the only file that knows everybody. One `Worker` per process, and the ASGI app around it.

Starlette owns the app and its lifespan and answers the health paths; every other request goes straight to the
gateway, past Starlette's router, which is linear in its routes.
"""

import asyncio
import gc
import os
import secrets as randomness
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from proxy.adapters import metrics_observer as metrics
from proxy.adapters.adopter import Adopter
from proxy.adapters.clock import SystemClock
from proxy.adapters.counters import RedisCounters
from proxy.adapters.destinations import Destinations
from proxy.adapters.downstream import AsgiDownstream, Receive, Scope, Send
from proxy.adapters.event_store import EventStore
from proxy.adapters.journal import DiskJournal
from proxy.adapters.limiter.address import redis_address
from proxy.adapters.limiter.postgres_charges import PostgresCharges
from proxy.adapters.log_observer import JoinedWrites, LogObserver
from proxy.adapters.metrics_observer import MetricsObserver
from proxy.adapters.metrics_server import start_metrics_server
from proxy.adapters.object_store.postgres_objects import PostgresObjects
from proxy.adapters.objects import Objects
from proxy.adapters.postgres import connect_options, open_pool
from proxy.adapters.process import DRAIN_MARK, ignore_interrupt, is_orphan, run_folder
from proxy.adapters.shipper import Shipper
from proxy.adapters.snapshots import PolledSnapshots
from proxy.adapters.tasks import Tasks
from proxy.adapters.tokens import TokenCounts
from proxy.adapters.upstream import make_upstream
from proxy.books import Books
from proxy.core.headers import preflight_headers
from proxy.core.routing import Rests
from proxy.gateway import Gateway
from proxy.metering import Meter
from proxy.observations import Observation
from proxy.providers import PROVIDERS
from proxy.relay import Relay
from shared import log
from shared.catalog import load_catalog
from shared.secrets import Secrets
from shared.settings import Settings, load

FIRST_VIEW_SECONDS = 10.0
FLUSH_SECONDS = 5.0
SHIP_SECONDS = 10.0
POLL_COMMAND_SECONDS = 5.0
GAUGE_SECONDS = 1.0
LAG_SECONDS = 0.1
# Garbage collection is the event loop's tail latency: what is alive after the start is never looked at again.
GC_THRESHOLDS = (50_000, 20, 50)
HEALTH_METHODS = ("GET", "HEAD", "POST")


def own_addresses(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Where Weir itself listens, as far as the proxy is told: no upstream may be there, whatever networks are allowed.

    A metrics page or the admin plane as an upstream would be a way in for whoever may write a provider setting.
    """
    own = [
        (settings.weir_proxy_address, settings.weir_proxy_port),
        (settings.weir_admin_address, settings.weir_admin_port),
    ]
    if settings.prometheus_enabled:
        own.append((settings.weir_metrics_address, settings.prometheus_port))
    return tuple(own)


class Worker:
    """Everything of one worker process, started and stopped in order."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = f"{os.uname().nodename[:20]}-{os.getpid()}-{randomness.token_hex(3)}"
        self.started_at = time.monotonic()
        self.is_ready = False
        self._draining_since = 0.0
        self._parent = os.getppid()
        self._drain_mark = run_folder(Path(settings.weir_data_dir), settings.weir_proxy_port) / DRAIN_MARK
        self._lines = JoinedWrites()
        log.configure("proxy", self._lines)  # pyright: ignore[reportArgumentType]
        self.clock = SystemClock()
        self.catalog = load_catalog(override_path=settings.weir_model_catalog)
        self._metrics = MetricsObserver(self.catalog.models())
        log_observer = LogObserver(self.name, self._lines, with_text=settings.weir_privacy == "verbose")
        self._observers = (log_observer, self._metrics)
        self.tasks = Tasks(self.observe)

    def observe(self, observation: Observation) -> None:
        """Tell every observer."""
        for observer in self._observers:
            observer(observation)

    @property
    def is_draining(self) -> bool:
        """The supervisor was told to stop."""
        return self._drain_mark.exists()

    def _is_drained(self) -> bool:
        """DRAIN_TIMEOUT is over: what is still open is ended by us, so that it is not killed."""
        if not self.is_draining:
            return False
        if not self._draining_since:
            self._draining_since = time.monotonic()
        limit = self.settings.drain_notice + self.settings.drain_timeout
        return time.monotonic() - self._draining_since > limit

    async def start(self) -> None:
        """Build, connect, load the first view. Postgres and Redis may be away: then readiness says so."""
        loop = asyncio.get_running_loop()
        ignore_interrupt(loop)
        self._lines.attach(loop)
        settings = self.settings
        assert settings.weir_master_key is not None  # checked before any worker is started
        secrets = Secrets(settings.weir_master_key, settings.weir_master_key_old)
        self.snapshots = PolledSnapshots(
            connect_options(settings, "snapshot", POLL_COMMAND_SECONDS),
            secrets,
            self.clock,
            self.observe,
            self.tasks,
            settings.in_memory_db_update_interval,
        )
        self.journal = DiskJournal(
            Path(settings.weir_data_dir) / "journal", self.name, self.clock, self.observe, settings.journal_max_bytes
        )
        store = EventStore(connect_options(settings, "shipper", settings.postgresql_write_time_out))
        self.shipper = Shipper(self.journal, store, self.observe, self.tasks)
        await self._start_limiter()
        self.adopter = Adopter(self.journal, self.shipper, store, self.counters.settle, self.observe, self.tasks)
        await self._start_gateway(secrets)
        await self.objects.start()
        self.shipper.start()
        self.adopter.start()
        await self.snapshots.start(FIRST_VIEW_SECONDS)
        self._metrics_server = (
            await start_metrics_server(settings.weir_metrics_address, settings.prometheus_port)
            if settings.prometheus_enabled
            else None
        )
        self._gauging = self.tasks.spawn(self._gauge(), "gauges")
        self._lagging = self.tasks.spawn(self._measure_lag(), "loop lag")
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self.is_ready = True

    async def _start_limiter(self) -> None:
        settings = self.settings
        self._charges_pool = await open_pool(connect_options(settings, "limiter", settings.postgresql_read_time_out), 2)
        self.objects = Objects(
            address=redis_address(settings),
            timeout_seconds=settings.limiter_timeout,
            source=PostgresObjects(self._charges_pool),
            clock=self.clock,
            tasks=self.tasks,
            observe=self.observe,
        )
        self.counters = RedisCounters(
            address=redis_address(settings),
            timeout_seconds=settings.limiter_timeout,
            charges=PostgresCharges(self._charges_pool),
            workers=settings.weir_proxy_workers,
            clock=self.clock,
            tasks=self.tasks,
            observe=self.observe,
            unshipped=self.journal.unshipped,
            on_settled=self.journal.settled,
        )
        await self.counters.start()

    async def _start_gateway(self, secrets: Secrets) -> None:
        settings = self.settings
        choice = await make_upstream(Destinations(settings.upstream_allowed_networks, own_addresses(settings)))
        self.upstream = choice.upstream
        books = Books(
            counters=self.counters,
            journal=self.journal,
            observe=self.observe,
            clock=self.clock,
            worker=self.name,
            logged_body_bytes=settings.logged_body_bytes,
        )
        self.tokens = TokenCounts(self.observe)
        rests = Rests()
        relay = self.relay = Relay(
            upstream=self.upstream,
            books=books,
            journal=self.journal,
            rests=rests,
            objects=self.objects,
            meter=Meter(books=books, tokens=self.tokens),
            observe=self.observe,
            clock=self.clock,
            spawn=self.tasks.spawn,
        )
        self.gateway = Gateway(
            snapshots=self.snapshots,
            counters=self.counters,
            objects=self.objects,
            rests=rests,
            books=books,
            relay=relay,
            observe=self.observe,
            clock=self.clock,
            catalog=self.catalog,
            peppers=tuple(secrets.peppers.values()),
            default_urls={
                row.name: getattr(settings, row.base_url_setting.lower())
                for row in PROVIDERS.values()
                if row.base_url_setting
            },
            timeout_seconds=settings.proxy_timeout,
            snapshot_max_age=settings.snapshot_max_age,
        )

    async def stop(self) -> None:
        """Let every call end, settle and ship what is left, then let go. What does not go in time stays on disk.

        granian has waited for the connections; calls whose caller is gone have none and are still being drained.
        """
        self.is_ready = False
        until = time.monotonic() + self.settings.drain_timeout
        while (self.gateway.running or self.relay.detached) and time.monotonic() < until:  # noqa: ASYNC110 - counters
            await asyncio.sleep(0.02)
        for task in (self._gauging, self._lagging):
            task.cancel()
        await self.adopter.close_down()
        await self.counters.flush(FLUSH_SECONDS)
        await self.objects.flush(FLUSH_SECONDS)
        await self.shipper.close_down(SHIP_SECONDS)
        await self.counters.close()
        await self.objects.close()
        self.tokens.close()
        self._charges_pool.terminate()
        await self.snapshots.stop()
        await self.upstream.aclose()
        if self._metrics_server is not None:
            await self._metrics_server.cleanup()
        await self.tasks.drain(1)
        self._metrics.flush()
        self._lines.write_out()

    def readiness(self) -> dict[str, Any]:
        """What a probe is told; nothing secret. Redis away does not make it unready: unbudgeted keys flow."""
        age = self.snapshots.age_seconds()
        is_ready = self.is_ready and not self.is_draining and age <= self.settings.snapshot_max_age
        return {
            "status": "ready" if is_ready else "draining" if self.is_draining else "not ready",
            "worker": self.name,
            "snapshot_age_seconds": round(age, 3) if age < float("inf") else None,
            "snapshot_fault": self.snapshots.fault,
            "keys": self.snapshots.current.keys,
            "limiter_ready": self.counters.is_ready,
            "limiter_fault": self.counters.fault,
            "journal_depth": self.journal.depth,
        }

    async def _gauge(self) -> None:
        while True:
            age = self.snapshots.age_seconds()
            self._metrics.flush()
            self.relay.sweep(is_over=self._is_drained())
            metrics.SNAPSHOT_AGE.set(min(age, 1e9))
            metrics.JOURNAL_DEPTH.set(self.journal.depth)
            metrics.JOURNAL_AGE.set(self.journal.oldest_seconds())
            metrics.JOURNAL_BYTES.set(self.journal.bytes_on_disk)
            metrics.HOLDS.set(self.counters.open_holds)
            metrics.UNSETTLED.set(self.counters.waiting_settles)
            if is_orphan(self._parent):
                os._exit(1)
            await asyncio.sleep(GAUGE_SECONDS)

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            metrics.LOOP_LAG.observe(max(0.0, loop.time() - due))


class App(Starlette):
    """The data plane's ASGI app."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        settings = worker.settings
        self._max_bytes: int = settings.max_body_bytes
        self._body_seconds: float = settings.body_timeout
        routes = [
            Route("/api/health", self._health, methods=HEALTH_METHODS),
            Route("/health", self._health, methods=HEALTH_METHODS),
            Route("/api/health/ready", self._ready, methods=HEALTH_METHODS),
            Route("/health/ready", self._ready, methods=HEALTH_METHODS),
        ]
        self._health_paths = frozenset(route.path for route in routes)
        super().__init__(routes=routes, lifespan=self._lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Health and lifespan to Starlette, the rest to the gateway, which says no in the caller's dialect."""
        if scope["type"] != "http" or (scope["path"] in self._health_paths and scope["method"] in HEALTH_METHODS):
            await super().__call__(scope, receive, send)
            return
        down = AsgiDownstream(scope, receive, send, self._max_bytes, self._body_seconds)
        if down.method == "OPTIONS":
            await down.answer(204, preflight_headers(dict(down.headers), down.origin), b"")
        else:
            await self._worker.gateway.handle(down)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        await self._worker.start()
        try:
            yield
        finally:
            await self._worker.stop()

    async def _health(self, _request: Request) -> Response:
        uptime = time.monotonic() - self._worker.started_at
        return JSONResponse(
            {"status": "ok", "timestamp": int(time.time()), "uptime": round(uptime, 3)},
            headers={"access-control-allow-origin": "*"},
        )

    async def _ready(self, _request: Request) -> Response:
        told = self._worker.readiness()
        return JSONResponse(told, status_code=200 if told["status"] == "ready" else 503)


def create_app() -> App:
    """What granian loads in each worker process."""
    return App(Worker(load()))
