"""structlog for both planes: one JSON object per line on stdout, never a prompt, never a secret."""

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, BinaryIO

import msgspec
import structlog

_encoder = msgspec.json.Encoder(enc_hook=str)


def _renderer(plane: str) -> Callable[[Any, str, MutableMapping[str, Any]], bytes]:
    def render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> bytes:
        event["plane"] = plane
        try:
            return _encoder.encode(event)
        except UnicodeEncodeError:
            # A lone surrogate, from a path or a name that was not UTF-8: no line is lost, and no caller gets a 500.
            plain = {name: str(value).encode("utf-8", "backslashreplace").decode() for name, value in event.items()}
            return _encoder.encode(plain)

    return render


def configure(plane: str, stream: BinaryIO | None = None) -> None:
    """Set up structlog and send the standard library's records (Litestar, granian, asyncpg) the same way.

    `stream` takes the lines in place of stdout; the proxy gives one that joins the lines of a moment into one write.
    """
    render = _renderer(plane)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(stream or sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda logger, method, event: render(logger, method, event).decode(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
