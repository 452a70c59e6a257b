"""Refuse every connection that leaves the machine, in this process; Python imports this file by itself at start.

The hook cannot be taken back, and sees what any library does through Python's sockets.
"""

import socket
import sys

_SENDING = ("socket.connect", "socket.sendto", "socket.sendmsg")
_ASKING = ("socket.getaddrinfo", "socket.gethostbyname")


class NetworkBlockedError(RuntimeError):
    """Say that something tried to reach the network; no OSError, so that no library takes it for bad luck."""


def _is_local(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    return name is None or name in ("", "localhost", "::1") or str(name).startswith("127.")


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    host: object = None
    if event in _SENDING:
        connection, address = arguments[:2]
        if getattr(connection, "family", None) in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
            host = address[0]
    elif event in _ASKING:
        host = arguments[0]
    if not _is_local(host):
        raise NetworkBlockedError(f"a test tried to reach {host} ({event})")


sys.addaudithook(_watch)
