"""What the admin plane counts, and the small server that shows it (on a port of its own, loopback by default)."""

import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one app. Labels are bounded: a route is a template, a method one we serve."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "weir_admin_requests",
            "Answered requests by route template and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.duration = Histogram(
            "weir_admin_request_duration_seconds",
            "Time from the head of a request to the end of its answer.",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120),
            registry=self.registry,
        )
        self.wrong_keys = Counter(
            "weir_admin_wrong_keys", "Requests refused for their admin key (401, 429).", registry=self.registry
        )
        self.database_up = Gauge(
            "weir_admin_database_open", "1 once PostgreSQL was reached and migrated.", registry=self.registry
        )
        self._server: tuple[WSGIServer, threading.Thread] | None = None

    def serve(self, address: str, port: int) -> int:
        """Serve /metrics in a thread of its own; returns the port. Raises OSError when the port is taken."""
        server, thread = start_http_server(port, address, registry=self.registry)
        self._server = (server, thread)
        return server.server_port

    def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join(5)
            self._server = None
