"""The memory of this process, as the system counts it: what it holds, and the most that it held since a moment."""

import resource
import sys
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")


def begin() -> None:
    """Count the peak from now on. Where the system can't forget what was before, it is that of the whole process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """The largest resident size, in bytes, pages of mapped files included."""
    most = _told("VmHWM")
    if most is not None:
        return most
    counted = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return counted if sys.platform == "darwin" else counted * 1024


def own_bytes() -> int | None:
    """Bytes that this process holds now, pages of mapped files left out; None where the system does not tell."""
    return _told("RssAnon")


def _told(what: str) -> int | None:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) * 1024
    return None
