"""The broker's address as each library spells it, and as people may see it: without its secrets."""

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from shared.errors import SettingsError

SOCKET_SCHEME = "redis+socket"
_SCHEMES = {"redis", "rediss", SOCKET_SCHEME, "unix"}


def celery_url(url: str | None) -> str:
    """`url` as Celery spells it; raises SettingsError for none or for one that is not Redis.

    A `rediss://` URL that does not say how certificates are checked has them checked.
    """
    if not url:
        raise SettingsError(
            "No broker is set: pass --broker redis://HOST:6379/0, or set CELERY_BROKER_URL or REDIS_URL."
        )
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _SCHEMES and "://" in url and parts.port != 0
        if parts.scheme in ("redis", "rediss"):
            usable = usable and re.fullmatch(r"(/\d*)?", parts.path) is not None  # The number of a database.
    except ValueError:  # A port that is no number, or half an IPv6 address.
        usable = False
    if not usable:
        raise SettingsError(
            f"The broker {redacted(url)} is not one that lookalike speaks to: use redis://HOST:PORT/0, rediss:// or "
            f"{SOCKET_SCHEME}:///PATH; a '/', '?', '#' or '@' in a password is written %2F, %3F, %23 or %40."
        )
    if parts.scheme == "rediss":
        return _with_certificates_checked(parts)
    return (SOCKET_SCHEME if parts.scheme == "unix" else parts.scheme) + url[len(parts.scheme) :]


def _with_certificates_checked(parts: SplitResult) -> str:
    query = dict(parse_qsl(parts.query))
    # Celery knows "CERT_REQUIRED" and "required", redis-py the latter only, and Celery takes no URL that says neither.
    query["ssl_cert_reqs"] = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    return urlunsplit(parts._replace(query=urlencode(query)))


def redis_url(url: str | None) -> str:
    """`url` as redis-py spells it."""
    found = celery_url(url)
    return "unix" + found.removeprefix(SOCKET_SCHEME) if found.startswith(SOCKET_SCHEME) else found


def redacted(url: str) -> str:
    """`url` without user, password and options, for logs and messages; a malformed one keeps its secrets too."""
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    # A password that was not escaped may hold any character, so only the last @ is sure to end it.
    _, at, place = rest.rpartition("@")
    return f"{scheme}{mark}{'**@' if at else ''}{re.split('[?#]', place)[0]}"


def without_secrets(text: str, url: str | None) -> str:
    """`text` in which neither the broker's `url` nor its password can be read, whoever wrote it."""
    try:
        password = urlsplit(url or "").password
    except ValueError:
        password = None
    text = text.replace(url, redacted(url)) if url else text
    for secret in {password, unquote(password)} if password else ():
        text = text.replace(secret, "**")
    return text
