"""Which Host a request may name, and whether another site's page sent it (pure)."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from coordinator.serve.problems import Refused

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address to listen at."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def answered_for(address: str, named: Iterable[str]) -> frozenset[str]:
    """The names and addresses that a server which listens at `address` answers for, besides those `named`."""
    try:
        own = set() if ipaddress.ip_address(address).is_unspecified else {address.lower()}
    except ValueError:
        own = {address.lower()}
    return _LOOPBACK | own | {name.lower().rstrip(".") for name in named}


def require_host(given: Iterable[str], known: frozenset[str]) -> None:
    """Raise Refused unless a request names just one Host, and a known one: a page elsewhere may have a name that leads
    here."""
    hosts = list(given)
    if len(hosts) != 1 or (name := _name(hosts[0])) is None:
        raise Refused(400, "The request must have one Host header, with a name or an address.")
    if name not in known:
        raise Refused(
            400,
            f"This server does not answer for the host {name[:80]!r}; it was told to answer for "
            f"{', '.join(sorted(known))}.",
        )


def _name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        if parts.path or parts.query or parts.fragment or "@" in host or parts.port == 0:
            return None
    except ValueError:  # A port that is no number, a bracket that is not closed.
        return None
    return parts.hostname.rstrip(".") if parts.hostname else None


def require_same_site(method: str, headers: Mapping[str, str]) -> None:
    """Raise Refused where a browser says that a page of another site sent a request that does more than read.

    A form of any page can send one here, with the upload that its author chose. Programs send neither header.
    """
    if method in _SAFE:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        raise Refused(403, "The page of another site sent this request, and a browser must not do that here.")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise Refused(403, "The request has the Origin of another site, and a browser must not send it here.")
