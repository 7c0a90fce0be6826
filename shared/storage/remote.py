"""Read and list what fsspec opens by a URL, with deadlines, and turn failures into sentences."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final, TypeVar

from shared.errors import ImageError, SourceError
from shared.text import without_secrets

_TRIES: Final = 3
PAUSE_SECONDS: Final = 0.5
TIMEOUT_SECONDS: Final = 30
_CHUNK_BYTES: Final = 4 << 20
_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
_Value = TypeVar("_Value")


class OutOfReach(ImageError):
    """A place did not answer, or answered that it can't just now: that says nothing about the image."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "unreadable")


class _NoSuchRange(ImageError):
    """A server says that a file has none of the bytes that were asked for."""


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of fsspec for `url`, and the path in it. Raises SourceError if fsspec knows none."""
    protocol = url.partition("://")[0].lower()
    try:
        import fsspec  # Not at the top: most jobs are on disks, and it takes a tenth of a second.

        fs, path = fsspec.core.url_to_fs(url, **options(protocol))
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"install lookalike[{extra}]" if extra else f"install what it asks for ({error})"
        raise SourceError(f"To read {protocol}:// URLs, a package is missing: {remedy}.") from None
    except ValueError as error:
        raise SourceError(
            f"No file system is known for {without_secrets(url)} ({error}): see fsspec's list of them."
        ) from None
    return fs, str(path)


def options(protocol: str) -> dict[str, Any]:
    """Options that keep a request from hanging, for the file systems that take them.

    Credentials, endpoints and other options are fsspec's own: its configuration files and FSSPEC_... variables.
    """
    if protocol in ("http", "https"):
        try:
            from aiohttp import ClientTimeout
        except ImportError:
            return {}
        limits = ClientTimeout(total=None, connect=TIMEOUT_SECONDS, sock_read=TIMEOUT_SECONDS)
        return {"client_kwargs": {"timeout": limits}, "use_listings_cache": False}
    if protocol in ("s3", "s3a"):
        seconds = {"connect_timeout": TIMEOUT_SECONDS, "read_timeout": TIMEOUT_SECONDS}
        return {"config_kwargs": seconds, "use_listings_cache": False}
    return {}


def read(url: str, max_bytes: int) -> bytes:
    """The bytes of the file at `url`.

    Raises ImageError with vanished, unreadable or oversized, and OutOfReach when nothing answers at the third try.
    """
    try:
        data = read_at(url, 0, max_bytes + 1)
    except _NoSuchRange:
        return b""  # For an empty file, servers refuse even the range from its beginning.
    except OutOfReach:
        if _size(url) == 0:
            return b""
        raise
    if len(data) > max_bytes:
        raise ImageError(f"The file has more than {max_bytes:,} bytes; no more are read.", "oversized")
    return data


def read_at(url: str, start: int, length: int) -> bytes:
    """`length` bytes of the file at `url` from `start` on, fewer where it ends; raises as `read` does."""

    def once() -> bytes:
        fs, path = filesystem(url)
        data: bytes = fs.cat_file(path, start=start, end=start + length)
        return data[:length]

    return _asked(once, url)


def _size(url: str) -> int | None:
    try:
        fs, path = filesystem(url)
        size: int | None = fs.info(path).get("size")
        return size
    except Exception:
        return None


def _asked(once: Callable[[], _Value], url: str) -> _Value:
    """The result of `once`, tried up to three times; failures of any file system become ImageErrors."""
    for left in reversed(range(_TRIES)):
        try:
            return once()
        except SourceError as error:
            raise ImageError(str(error), "unreadable") from None
        except FileNotFoundError:
            raise ImageError("The place answers that there is no such file.", "vanished") from None
        except PermissionError:
            raise ImageError(
                "The place answers that it may not be read: give this machine access.", "unreadable"
            ) from None
        except Exception as error:  # Each file system has exceptions of its own, and they share no base.
            if (status := _status(error)) is not None and 400 <= status < 500 and status not in (408, 429):
                if status == 416:
                    raise _NoSuchRange("The place answers that the file has no such bytes.", "truncated") from None
                raise ImageError(*_refusal(status)) from None
            if not left:
                said = str(error).strip() or type(error).__name__
                raise OutOfReach(
                    f"{without_secrets(url)} can't be reached now ({said}), after {_TRIES} tries."
                ) from None
        time.sleep(PAUSE_SECONDS * (_TRIES - left))
    raise AssertionError("the last try raises")


def _status(error: BaseException | None) -> int | None:
    """The HTTP status in an exception of aiohttp, gcsfs or botocore."""
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if status is None:
        response = getattr(error, "response", None)
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    return int(status) if isinstance(status, int) or (isinstance(status, str) and status.isdecimal()) else None


def _refusal(status: int) -> tuple[str, str]:
    if status in (401, 403):
        return f"The place answers {status}, that it may not be read: give this machine access.", "unreadable"
    if status in (404, 410):
        return f"The place answers {status}, that there is no such file.", "vanished"
    return f"The place answers {status}.", "unreadable"


@contextmanager
def opened(url: str) -> Iterator[IO[bytes]]:
    """The file at `url`, to be read forwards with little seeking. Raises SourceError when it can't be."""
    with listing(url):
        fs, path = filesystem(url)
        with fs.open(path, "rb", block_size=_CHUNK_BYTES) as file:
            yield file


@contextmanager
def listing(url: str) -> Iterator[None]:
    """Raise failures to list a place, or to read one of its files, as SourceErrors."""
    try:
        yield
    except (SourceError, ImageError):
        raise
    except FileNotFoundError as error:
        # The file system for HTTP says so for everything that is refused.
        if (status := _status(error.__cause__)) not in (None, 404, 410):
            raise SourceError(f"{without_secrets(url)} can't be read: it answers {status}.") from None
        raise SourceError(f"There is nothing at {without_secrets(url)}: see whether the address is right.") from None
    except PermissionError:
        raise SourceError(f"{without_secrets(url)} may not be read: give this machine access to it.") from None
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError):
        raise
    except Exception as error:  # Each file system has exceptions of its own, and they share no base.
        said = str(error).strip() or type(error).__name__
        raise SourceError(f"{without_secrets(url)} can't be read ({said}): see whether it answers.") from None
