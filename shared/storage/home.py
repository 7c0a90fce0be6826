"""Give a user without a home directory a private one, because libraries keep files there."""

import os
import pwd
from collections.abc import MutableMapping
from pathlib import Path

from shared.storage import scratch


def lend(environ: MutableMapping[str, str] = os.environ) -> str | None:
    """Set HOME to a private directory if this user has no home; returns the sentence that says so, else None.

    Keras, OpenVINO's exports, plots and cached files of jobs in stores look for the home. Without one they fail, each
    in its own way, or write into a folder named "~". Child processes inherit HOME. Raises PermissionError, with what to
    do, when another user owns the private directory.
    """
    given, known = environ.get("HOME", ""), _of_passwd()
    if os.path.isabs(given) and not (known is None and _is_root_of_others(given)):
        return None
    if known is not None:  # An empty HOME, or one that is no absolute path, would be a folder of the working directory.
        environ["HOME"] = known
        return None
    place = scratch.private_directory() / "home"
    place.mkdir(mode=0o700, exist_ok=True)
    environ["HOME"] = str(place)
    return _sentence(place)


def lent(environ: MutableMapping[str, str] = os.environ) -> str | None:
    """The sentence of `lend` if HOME is what it set, here or in the process that started this one."""
    place = scratch.private_path() / "home"
    return _sentence(place) if environ.get("HOME") == str(place) else None


def _sentence(place: Path) -> str:
    return (
        f"This user has no home directory (HOME names none, and passwd has no entry for the number {os.getuid()}): "
        f"models and copies are kept in {place}, which may go when the machine starts anew. To keep them, set HOME to "
        "a directory that this user may write to."
    )


def _of_passwd() -> str | None:
    try:
        found = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None
    return found if os.path.isabs(found) else None


def _is_root_of_others(home: str) -> bool:
    """Whether it is the / that containers give a user without an entry, who can't write there."""
    return os.path.normpath(home) == os.sep and not os.access(home, os.W_OK)
