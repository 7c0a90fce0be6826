"""Spell the broker's address as each library needs it, and without its secrets for people."""

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from shared.errors import SettingsError
from shared.errors.remedy import Remedy

SOCKET_SCHEME = "redis+socket"
_SCHEMES = {"redis", "rediss", SOCKET_SCHEME, "unix"}
# Options of a URL that name its database, and those that name its user and password, in this order.
_DATABASE_OPTIONS = ("db", "virtual_host")
_USER_OPTIONS = ("username", "password")
# Options of rediss:// that Celery's queues, its results and redis-py all take, and take alike.
_TLS_OPTIONS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_TLS_VALUES = {"ssl_cert_reqs": ("required", "optional", "none"), "ssl_check_hostname": ("true", "false")}
_USER_OF_A_URL = re.compile(r"(\b[a-z+]+://)[^\s/@'\"]*@", re.IGNORECASE)


def celery_url(url: str | None) -> str:
    """`url` as Celery spells it; raises SettingsError for none, for one that is not Redis, for one that names two
    databases or two passwords, and for an option that is not read alike.

    Celery's queues, its results and redis-py each look for the database and the password in another place of a URL, so
    all spellings become the one that they read alike: `redis://USER:PASSWORD@HOST/DATABASE`, and for a socket
    `redis+socket://USER:PASSWORD@/PATH?virtual_host=DATABASE`. A `rediss://` URL that does not say how certificates are
    checked has them checked.
    """
    if not url:
        raise SettingsError(
            "No broker is set",
            remedy=Remedy(
                "option",
                does="pass {}, or set CELERY_BROKER_URL or REDIS_URL",
                given={"broker": "redis://HOST:6379/0"},
            ),
        )
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _SCHEMES and "://" in url and parts.port != 0
        if parts.scheme in ("redis", "rediss"):
            usable = usable and re.fullmatch(r"(/[0-9]*)?", parts.path) is not None  # The number of a database.
        else:  # What comes before the path would be taken for a host, and dropped.
            usable = usable and not parts.hostname and parts.path.strip("/") != ""
    except ValueError:  # A port that is no number, or half an IPv6 address.
        usable = False
    if not usable:
        raise SettingsError(
            f"The broker {redacted(url)} is not one that lookalike speaks to: use redis://HOST:PORT/0, rediss:// or "
            f"{SOCKET_SCHEME}:///PATH; a '/', '?', '#' or '@' in a password is written %2F, %3F, %23 or %40."
        )
    scheme = SOCKET_SCHEME if parts.scheme == "unix" else parts.scheme
    options = parse_qsl(parts.query, keep_blank_values=True)
    rest = dict(option for option in options if option[0] not in _DATABASE_OPTIONS + _USER_OPTIONS)
    if scheme == "rediss":
        if "ssl_check_hostname" in rest:
            rest["ssl_check_hostname"] = rest["ssl_check_hostname"].lower()
        # Celery knows "CERT_REQUIRED" and "required", redis-py the latter only; Celery takes no URL that says neither.
        rest["ssl_cert_reqs"] = rest.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    _require_known(url, scheme, options, rest)
    if scheme != "rediss" and len(rest) == len(options):  # Nothing to change: not even how a character is escaped.
        return scheme + url[len(parts.scheme) :]
    database = _database(parts, options)
    path = parts.path
    if database is not None and scheme == SOCKET_SCHEME:
        rest["virtual_host"] = database
    elif database is not None:
        path = f"/{database}"
    query = f"?{urlencode(rest)}" if rest else ""
    return f"{scheme}://{_user(parts, options)}{parts.netloc.rpartition('@')[2]}{path}{query}"


def _require_known(url: str, scheme: str, options: list[tuple[str, str]], rest: dict[str, str]) -> None:
    """Raise SettingsError for an option of `url` that no library, or not each, would take, and for a value of none.

    Queues would end in a TypeError at `socket_timeout=5`, results take it, and either undo what lookalike sets.
    """
    known = _TLS_OPTIONS if scheme == "rediss" else ()
    every = ", ".join(_DATABASE_OPTIONS + _USER_OPTIONS + known)
    unknown = next((name for name in rest if name not in known), None)
    if unknown is not None:
        # What comes after a "?" may be the end of a password that was not escaped: only a plain name is repeated.
        which = f"the option {unknown}" if re.fullmatch("[a-z_]+", unknown) and "@" not in url else "an option"
        tls = " Options of TLS, ssl_..., go with rediss://." if unknown.startswith("ssl_") and not known else ""
        raise SettingsError(
            f"The broker {redacted(url)} has {which}, which it can't have here: lookalike sets timeouts, retries and "
            f"connections itself. Leave it out; a {scheme}:// address takes {every}.{tls}"
        )
    names = [name for name, _ in options if name in rest]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"The broker {redacted(url)} has the option {twice} twice: write it once.")
    for name, value in rest.items():
        allowed = _TLS_VALUES.get(name)
        if not value or (allowed is not None and value not in allowed):
            expected = " or ".join(allowed) if allowed else "the path of a file"
            raise SettingsError(f"The broker {redacted(url)} has a value of {name} that is none: give {expected}.")


def _database(parts: SplitResult, options: list[tuple[str, str]]) -> str | None:
    """The number of the database, wherever a URL names it; None where it does not."""
    named = [value for name, value in options if name in _DATABASE_OPTIONS]
    if parts.scheme in ("redis", "rediss") and parts.path.strip("/"):
        named.append(parts.path.strip("/"))
    if not all(re.fullmatch("[0-9]{1,9}", value) for value in named):
        raise SettingsError(
            f"The broker {redacted(parts.geturl())} names a database that is no number: write db=0 or another number."
        )
    numbers = sorted({int(value) for value in named})
    if len(numbers) > 1:
        raise SettingsError(
            f"The broker {redacted(parts.geturl())} names the databases {' and '.join(map(str, numbers))}: write one "
            "of them, once."
        )
    return str(numbers[0]) if numbers else None


def _user(parts: SplitResult, options: list[tuple[str, str]]) -> str:
    """User and password as they are written before the host, with the @; as typed unless the options of a URL name
    them.
    """
    userinfo = parts.netloc.rpartition("@")[0]
    if not any(name in _USER_OPTIONS for name, _ in options):
        return f"{userinfo}@" if userinfo else ""
    found = []
    for name, before in zip(_USER_OPTIONS, (parts.username, parts.password), strict=True):
        named = {value for option, value in options if option == name and value}
        named |= {unquote(before)} if before else set()
        if len(named) > 1:
            raise SettingsError(
                f"The broker {redacted(parts.geturl())} names two things for its {name}: write one of them, once."
            )
        found.append(quote("".join(named), safe=""))
    return f"{found[0]}:{found[1]}@" if found[1] else f"{found[0]}@" if found[0] else ""


def redis_url(url: str | None) -> str:
    """`url` as redis-py spells it: what `celery_url` gives, with a socket's database under redis-py's own name."""
    parts = urlsplit(celery_url(url))
    if parts.scheme != SOCKET_SCHEME:
        return urlunsplit(parts)
    query = "&".join(
        "db" + option.removeprefix("virtual_host") if option.startswith("virtual_host=") else option
        for option in parts.query.split("&")
    )
    return f"unix://{parts.netloc}{parts.path}{'?' if query else ''}{query}"


def redacted(url: str) -> str:
    """`url` without user, password and options, for logs and messages; a malformed one keeps its secrets too."""
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    # A password that was not escaped may hold any character, so only the last @ is sure to end it.
    _, at, place = rest.rpartition("@")
    return f"{scheme}{mark}{'**@' if at else ''}{re.split('[?#]', place)[0]}"


def without_secrets(text: str, url: str | None) -> str:
    """`text` in which neither the broker's `url` nor its user and password can be read, whichever library wrote it."""
    try:
        parts = urlsplit(url or "")
        secrets = [secret for secret in (parts.username, parts.password) if secret]
    except ValueError:
        secrets = []
    text = text.replace(url, redacted(url)) if url else text
    return hidden(text, [*secrets, *map(unquote, secrets)])


def hidden(text: str, secrets: Iterable[str]) -> str:
    """`text` with each of `secrets` replaced where it stands alone, and not where it is part of another word.

    In an address, in quotes and after "user" or "password=" any is replaced. Elsewhere a secret of up to three
    characters, and one of small letters alone, may be a word of ours: a password "redis" must not make "**://" of each
    address.
    """
    text = _USER_OF_A_URL.sub(r"\1**@", text)
    for secret in sorted(set(secrets), key=len, reverse=True):
        sign = re.escape(secret)
        places = rf"(?<=:){sign}(?=@)|(?<=['\"]){sign}(?=['\"])|((?<=password=)|(?<=[Uu]ser )){sign}(?![\w-])"
        text = re.sub(places, "**", text)
        if len(secret) > 3 and re.fullmatch("[a-z]+", secret) is None:
            text = re.sub(rf"(?<!\w){sign}(?!\w)", "**", text)
    return text
