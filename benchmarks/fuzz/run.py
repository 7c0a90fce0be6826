"""Put damaged files of every format through the decoders, and report results, memory and crashes.

python -m benchmarks.fuzz [--files 1000]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.fuzz.files import FORMATS
from benchmarks.fuzz.once import MAX_PIXELS
from benchmarks.support import program
from benchmarks.support.processes import REPOSITORY, require_linux
from shared.errors import LookalikeError
from shared.processes.stage import ending

RESULTS = program.RESULTS / "fuzz.json"
# A process that decodes so many small files and is not done by then hangs over one of them.
_SECONDS = 300


Said = tuple[list[dict[str, Any]], str | None]
"""What a process said of its files, and how it ended if that was not well."""


def fuzz(kind: str, files: int, decoded: Callable[[str, int, int], Said] | None = None) -> dict[str, Any]:
    """Decode mutations 0 to `files` - 1 of a format in processes of their own; one that ends costs one file.

    `decoded` is what decodes mutations from one up to another, as `one_process` does, which is meant unless given.
    Returns `files`, `statuses` (how many of each), `ended` (number and ending of each file that ended its process),
    `raised` (errors that are none of ours), `most_bytes` that a process grew by, and the `slowest` file in seconds.
    """
    statuses: Counter[str] = Counter()
    ended: list[dict[str, Any]] = []
    found: dict[str, Any] = {"files": files, "raised": [], "most_bytes": 0, "slowest": 0.0}
    start = 0
    while start < files:
        lines, how = (decoded or one_process)(kind, start, files)
        begun = [line["begun"] for line in lines if "begun" in line]
        for line in lines:
            if "status" in line:
                statuses[line["status"].split(" ")[0]] += 1
                if line["status"].startswith("raised"):
                    found["raised"].append(line["status"])
                found["most_bytes"] = max(found["most_bytes"], line["grown"])
                found["slowest"] = round(max(found["slowest"], line["seconds"]), 3)
        if how is None:
            break
        if not begun:
            raise LookalikeError(f"The process that was to decode damaged {kind} files ended before the first: {how}.")
        ended.append({"number": begun[-1], "how": how})
        start = begun[-1] + 1
    return {**found, "statuses": dict(sorted(statuses.items())), "ended": ended}


def one_process(kind: str, start: int, stop: int) -> Said:
    """Decode the mutations from `start` up to `stop`, or up to the one that ends the process."""
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "benchmarks.fuzz.once", kind, str(start), str(stop)]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=said, stderr=subprocess.DEVNULL)
        try:
            code: int | None = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
        said.seek(0)
        lines = [json.loads(line) for line in said.read().splitlines() if line.endswith(b"}")]
    return lines, None if code == 0 else "no end" if code is None else ending(code)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz", description="Decode damaged files of every format."
    )
    parser.add_argument("--files", type=int, default=1_000, help="damaged files of each format")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go, as JSON")
    arguments = parser.parse_args()
    started = time.perf_counter()
    results = program.head("fuzz", f"python -m benchmarks.fuzz --files {arguments.files}", "pillow")
    results |= {"max_pixels": MAX_PIXELS, "formats": {}}
    try:
        require_linux()
        for kind in FORMATS:
            results["formats"][kind] = fuzz(kind, arguments.files)
            print(kind, json.dumps(results["formats"][kind]), flush=True)
    except LookalikeError as error:
        print(f"The benchmark could not be made: {error}", file=sys.stderr)
        return 1
    results["wall_seconds"] = round(time.perf_counter() - started)
    program.write(arguments.out, results)
    bad = sum(len(found["ended"]) + len(found["raised"]) for found in results["formats"].values())
    return 1 if bad else 0
