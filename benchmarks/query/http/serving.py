"""Run `lookalike serve` for as long as it is measured."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.support.processes import LOOKALIKE, begin
from shared.errors import WorkerFailed

_START_SECONDS = 120.0


@contextmanager
def server(options: Sequence[str], folder: Path) -> Iterator[tuple[tuple[str, int], int]]:
    """`lookalike serve` with `options`, its address and its process; thumbnails of other runs are not in its cache."""
    log = folder / "server.log"
    (folder / "tmp").mkdir()
    os.environ["TMPDIR"] = str(folder / "tmp")
    try:
        process = begin([LOOKALIKE, "serve", *options, "--port", "0"], log)
    finally:
        del os.environ["TMPDIR"]
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (said := re.search(r"^(http://\S+) serves", log.read_text(), re.MULTILINE)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise WorkerFailed(f"The server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        place = urlsplit(said[1])
        yield (place.hostname or "", place.port or 0), process.pid
    finally:
        process.terminate()
        process.wait()
