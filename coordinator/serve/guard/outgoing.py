"""Fetch an image from a URL that a client names, from public addresses alone, within bounds of bytes and time."""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from coordinator.serve.problems import Refused
from shared.errors import ImageError

_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_HOPS: Final = 4
_PIECE: Final = 65_536
_HEADERS: Final = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "lookalike", "Connection": "close"}
# IPv6 addresses in which an IPv4 address is that translators reach; those that the standard library does not unwrap.
_TRANSLATED: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet: not of this machine, its networks, or their translations."""
    try:
        found: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if any(found in network for network in _TRANSLATED) or found.sixtofour or found.teredo:
            return False  # What is behind it is for a translator to say.
        found = found.ipv4_mapped or found
    # Addresses of the form ::a.b.c.d are IPv4 too, and mean nothing any more.
    if isinstance(found, ipaddress.IPv6Address) and int(found) >> 32 == 0:
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved and not found.is_unspecified


def _resolved(host: str, port: int) -> list[str]:
    return [str(place[4][0]) for place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _connected(address: str, port: int, seconds: float) -> socket.socket:
    return socket.create_connection((address, port), seconds)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Fetches within `seconds`, all redirects together. `resolved` gives the addresses of a name, `connected` a
    connection to one of them."""

    seconds: float = 15.0
    resolved: Callable[[str, int], list[str]] = _resolved
    connected: Callable[[str, int, float], socket.socket] = _connected

    def fetch(self, url: str, most_bytes: int) -> bytes:
        """The bytes behind a URL, also after redirects, each of which is checked as the first was.

        A name is looked up once for each of them, and the connection is to the address that was checked: a name that
        says another one meanwhile changes nothing. Raises Refused, 422, for a URL that leads anywhere but to a public
        http or https server, and ImageError where no image of at most `most_bytes` comes.
        """
        deadline = time.monotonic() + self.seconds
        for _ in range(_MOST_HOPS + 1):
            parts = _checked(url)
            host = parts.hostname or ""
            address = self._public(host, _PORTS[parts.scheme])
            found = self._asked(parts, host, address, most_bytes, deadline)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise ImageError(f"The URL leads on more than {_MOST_HOPS} times.", "unreadable")

    def _public(self, host: str, port: int) -> str:
        try:
            addresses = self.resolved(host, port)
        except (OSError, UnicodeError):
            raise ImageError("The name in the URL is not known.", "unreadable") from None
        # All of them: which one is used must not be for the owner of the name to choose.
        if not addresses or not all(map(is_public, addresses)):
            raise Refused(422, "The URL does not lead to a public address, and no other is asked for images.")
        return addresses[0]

    def _asked(self, parts: SplitResult, host: str, address: str, most: int, deadline: float) -> bytes | str:
        """The bytes, or where a redirect leads."""
        try:
            connection = self.connected(address, _PORTS[parts.scheme], max(0.1, deadline - time.monotonic()))
        except OSError:
            raise _no_answer() from None
        # A server that sends a byte now and then would be waited for, as each of them comes in time.
        ends = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, [connection])
        ends.daemon = True
        ends.start()
        try:
            if parts.scheme == "https":
                connection = ssl.create_default_context().wrap_socket(connection, server_hostname=host)
            asking = _Over(host, connection)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            asking.request("GET", path, headers=_HEADERS)
            with asking.getresponse() as response:
                found = _answered(response, most, deadline)
            if time.monotonic() >= deadline:  # What came may have been cut short from here.
                raise _no_answer()
            return found
        except (OSError, http.client.HTTPException, ValueError):
            raise _no_answer() from None
        finally:
            ends.cancel()
            with suppress(OSError):
                connection.close()


class _Over(http.client.HTTPConnection):
    """A request over a connection that is there."""

    def __init__(self, host: str, connection: socket.socket) -> None:
        super().__init__(f"[{host}]" if ":" in host else host)
        self.sock = connection

    def connect(self) -> None:
        raise OSError("There is no other connection.")


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise Refused(422, "The URL can't be read.") from None
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Refused(422, "The URL has characters that a URL has not: encode them.")
    if parts.scheme not in _PORTS or not host:
        raise Refused(422, "The URL is none of http:// or https:// with a host.")
    if port not in (None, _PORTS[parts.scheme]) or parts.username is not None or parts.password is not None:
        raise Refused(422, "The URL names a port, a user or a password; public images at the usual ports are read.")
    return parts


def _answered(response: http.client.HTTPResponse, most: int, deadline: float) -> bytes | str:
    if response.status in _REDIRECTS and (place := response.getheader("Location")):
        return place
    if response.status != 200:
        raise ImageError(f"The server of the URL answered {response.status}.", "unreadable")
    promised = response.length
    if promised is not None and promised > most:
        raise _too_large(most)
    pieces: list[bytes] = []
    left = most + 1
    while left > 0 and (piece := response.read(min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
        if time.monotonic() > deadline:
            raise _no_answer()
    if left <= 0:
        raise _too_large(most)
    if promised is not None and most + 1 - left < promised:
        raise ImageError("The server of the URL ended before the image did.", "truncated")
    return b"".join(pieces)


def _too_large(most: int) -> ImageError:
    return ImageError(f"The image of the URL has more than {most:,} bytes (the setting max_query_bytes).", "oversized")


def _no_answer() -> ImageError:
    return ImageError("The server of the URL gave no image in time.", "unreadable")


def _shut(connection: Any) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
