"""Ports for servers that are started a moment after their port was chosen."""

import random
import socket

# Below the range that kernels take the ports of outgoing connections from: between the choice and the start, one of
# thousands of connections of a test run would now and then sit on it.
_FIRST, _LAST = 15_000, 30_000
_given: set[int] = set()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on and that was not given before in this process."""
    while True:
        port = random.SystemRandom().randint(_FIRST, _LAST)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
