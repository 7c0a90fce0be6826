"""Decode damaged files of a format in one process, and print a line of JSON before and after each."""

import json
import sys
import time
from pathlib import Path

from benchmarks.fuzz.files import mutated, seeds
from shared.errors import ImageError
from shared.models.preprocessing import REDUCED, REDUCED_OPAQUE
from workers.images.decode import decode

# What a damage may turn into a picture, at most. The memory for one of this size is part of the bound.
MAX_PIXELS = 1_000_000
_SIZE = 224


def peak_bytes() -> int:
    """The most memory that this process has held so far. Linux alone tells it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def outcome(data: bytes, how: str) -> str:
    """The status of an image, or "raised" and an error that is none of ours."""
    try:
        decode(data, _SIZE, MAX_PIXELS, how)
    except ImageError as error:
        return error.status
    except Exception as error:  # What is looked for: a user would see it as a traceback.
        return f"raised {type(error).__name__}: {error}"
    return "ok"


def main(kind: str, start: int, stop: int) -> None:
    files = seeds(kind)
    for data in files:  # What the libraries load once does not count as a file's memory.
        if (status := outcome(data, REDUCED)) != "ok":
            raise SystemExit(f"A whole {kind} file is {status}.")
    before = peak_bytes()
    for number in range(start, stop):
        print(json.dumps({"begun": number}), flush=True)
        data = mutated(files, number, kind)
        began = time.perf_counter()
        # OpenCV alone decodes for older jobs, also what is Pillow's in newer ones. Of PNG it gets some animations then,
        # and ends the process over damaged ones: such an image is quarantined.
        found = [outcome(data, how) for how in ((REDUCED,) if kind == "PNG" else (REDUCED_OPAQUE, REDUCED))]
        status = next((status for status in found if status.startswith("raised")), found[-1])
        seconds = time.perf_counter() - began
        print(json.dumps({"status": status, "seconds": seconds, "grown": peak_bytes() - before}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
