"""/metrics of the whole proxy, on a port of its own: any worker answers for all of them.

Every worker listens with SO_REUSEPORT and reads the files that all workers write, so there is no process more to
watch, and it makes no difference which worker a scrape meets. Live gauges of a worker that is gone are dropped here,
since a killed worker cannot do it; its counters and histograms stay for ever, so that none falls.
"""

import asyncio
import os
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from proxy.adapters.listening import numeric_address


def _is_worker(pid: int) -> bool:
    """Whether `pid` lives and is of our session, as all workers are: a stranger may have got a dead one's number."""
    try:
        return os.getsid(pid) == os.getsid(0)
    except OSError:
        return False


def forget_dead_gauges(folder: Path) -> None:
    """Remove the live gauges (`gauge_live*_PID.db`) of workers that are gone; several workers may do so at once."""
    for path in folder.glob("gauge_live*_*.db"):
        if not _is_worker(int(path.stem.rpartition("_")[2])):
            path.unlink(missing_ok=True)


def render_metrics() -> bytes:
    """What all workers have counted, dead ones too, and the gauges of those that live."""
    forget_dead_gauges(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType, reportGeneralTypeIssues]
    return generate_latest(registry)


async def _metrics(_request: web.Request) -> web.Response:
    body = await asyncio.to_thread(render_metrics)
    return web.Response(body=body, headers={"content-type": CONTENT_TYPE_LATEST})


async def start_metrics_server(address: str, port: int) -> web.AppRunner:
    """Serve /metrics until the runner's `cleanup`. Raises OSError when the port belongs to somebody else."""
    app = web.Application()
    app.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    ip = await asyncio.to_thread(numeric_address, address, port)
    await web.TCPSite(runner, ip, port, reuse_port=True).start()
    return runner
