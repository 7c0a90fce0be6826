"""Load the library behind a URL through fsspec, and turn its errors into ours, without secrets."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from shared.errors import StoreError, UsageError
from shared.storage import remote
from shared.text import without_secrets

# What to install for a URL; the names are those of our extras.
_EXTRAS: Final = {"s3": "lookalike[s3]", "s3a": "lookalike[s3]", "gs": "lookalike[gcs]", "gcs": "lookalike[gcs]"}
WHOLE_OBJECTS: Final = {*_EXTRAS, "memory", "abfs", "abfss", "az", "oss", "r2"}
"""Schemes whose stores take a whole object in one request, so that it is whole or absent. Other file systems write in
place.
"""


@contextmanager
def asking(scheme: str, url: str) -> Iterator[Any]:
    """Yield the file system of a scheme for a question about `url`. Errors of its library become an OSError that says
    what happened: FileNotFoundError, FileExistsError or StoreError.

    Raises UsageError if the library is not installed or the scheme is unknown.
    """
    fs = file_system(scheme)
    try:
        yield fs
    except FileNotFoundError:
        raise _absent(url) from None
    except (FileExistsError, NotImplementedError, TypeError, AttributeError, StoreError):
        raise
    except Exception as error:  # Each library has its own tree of exceptions.
        raise _trouble(url, error) from None


@lru_cache
def file_system(scheme: str) -> Any:
    """The file system of a scheme, one for all threads; UsageError when its library is not installed."""
    # The library logs what it raises, with tracebacks as long as a page.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    try:
        import fsspec  # This import takes half a second, which local jobs need not wait.

        # A cached listing would hide what other machines commit.
        chosen = remote.options(scheme) | {"use_listings_cache": False}
        return fsspec.filesystem(scheme, skip_instance_cache=scheme != "memory", **chosen)
    except ImportError:
        install = f"pip install '{_EXTRAS[scheme]}'" if scheme in _EXTRAS else "install the one that fsspec names"
        raise UsageError(f"{scheme}:// needs a library that is not installed here: {install}.") from None
    except ValueError:
        raise UsageError(
            f"{scheme}:// is no place that files are known to lie in: type a path, or s3://, gs:// or another URL of "
            "fsspec's."
        ) from None
    except Exception as error:  # The library looks for credentials already here.
        raise _trouble(f"{scheme}://", error) from None


def _absent(url: str) -> FileNotFoundError:
    return FileNotFoundError(2, "No such object, or no such bucket", url)


def _trouble(url: str, error: Exception) -> StoreError:
    """What a library raised, as a sentence. It is not chained: a traceback would show its secrets."""
    first = without_secrets((str(error).splitlines() or [""])[0])[:200].rstrip(".")
    why = f"{type(error).__name__}: {first}" if first else type(error).__name__
    refused = (
        isinstance(error, PermissionError)
        or first.startswith("Forbidden")
        or "redential" in why
        or getattr(error, "code", None) in (401, 403)
    )
    if refused:
        return StoreError(
            f"The store refuses access to {url} ({why}): check that the credentials of this machine may list, read, "
            "write and delete there.",
            refused=True,
        )
    return StoreError(f"The store does not answer for {url} ({why}).")
