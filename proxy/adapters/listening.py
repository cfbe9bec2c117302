"""Where the proxy listens: a host's name becomes one address, and what cannot be listened on is told in one line.

granian knows no names, and tells a taken port in a traceback per worker. What is listened for is not known here.
"""

import socket


class ListenError(Exception):
    """The proxy cannot listen there. One line, for a person; it names the setting."""


def numeric_address(address: str, port: int) -> str:
    """The IP address that `address` stands for, of several an IPv4 one. Raises OSError when it does not resolve."""
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:  # what the codec for names says of a label that is empty or too long
        raise OSError(None, "not a host name") from None
    # As in the admin plane: of localhost's two addresses IPv4 is the one that every caller tries.
    _, _, _, _, where = min(found, key=lambda info: info[0] != socket.AF_INET)
    return str(where[0])


def check_listening(address_name: str, address: str, port_name: str, port: int) -> str:
    """The IP address to listen on. Raises ListenError when there is none or the port is taken."""
    try:
        ip = numeric_address(address, port)
    except OSError as error:
        raise ListenError(f"{address_name}: {address!r} does not resolve: {error.strerror}") from None
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError as error:
            raise ListenError(f"{port_name}: cannot listen on {address}:{port}: {error.strerror}") from None
    return ip
