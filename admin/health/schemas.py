"""Health on the wire."""

import msgspec


class HealthAnswer(msgspec.Struct):
    """What probes are told."""

    status: str
    """`ok` or `ready`."""
