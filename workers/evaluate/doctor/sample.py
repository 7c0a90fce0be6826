"""Time read, decode and model on a sample of images: `python -m workers.evaluate.doctor.sample` prints JSON lines."""

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import SourceError
from shared.images.location import Location
from shared.images.members import Member
from shared.job.index.request import IndexRequest
from shared.models import ModelSpec
from shared.models.preprocessing import REDUCED
from shared.processes.load import StageLoad
from shared.processes.memory import largest_resident
from shared.processes.stage import exit_status, say, say_error
from shared.settings import Settings, load_settings
from workers.embed.clock import StageClock
from workers.embed.partition import reading_threads
from workers.images.isolated import IsolatedReaders
from workers.images.read import ReadImage, read_image
from workers.images.stream import stream_images
from workers.models.embedder import Embedder
from workers.models.loaded import loaded_embedder
from workers.vectors.ann.plan import choose_index

_IO = Path("/proc/self/io")
# As many batches as an embed worker lets wait for the model.
BATCHES_AHEAD = 4
_EXAMPLES = 3
# How long the images under way may take when the time is up; after that their disk hangs, and this stops waiting.
_LATE_SECONDS = 30.0


@dataclass(slots=True)
class Sampled:
    """The result of the timed sample: how many images were read and embedded, which failed, the seconds of each stage's
    threads, and after each model call how many images were done after how many seconds.
    """

    read: int = 0
    embedded: int = 0
    bytes: int = 0
    feature_bytes: int = 0
    spent: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "decode": 0.0, "model": 0.0})
    failed: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)
    marks: list[tuple[int, float]] = field(default_factory=list)
    load: StageLoad | None = None

    def take(self, image: ReadImage) -> None:
        self.read += 1
        self.bytes += image.bytes or 0
        self.feature_bytes += len(image.features or b"")
        self.spent["read"] += image.read_seconds
        self.spent["decode"] += image.decode_seconds
        if image.status != "ok":
            self.failed[image.status] += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append({"path": image.path, "error": image.error_message or image.status})


def sample(
    locations: Sequence[Location],
    embedder: Embedder,
    limits: tuple[int, int],
    threads: int,
    seconds: float,
    report: Callable[[int], None],
    now: Callable[[], float] = time.perf_counter,
    how: str = REDUCED,
    alone: bool = False,
    features: bool = False,
) -> Sampled:
    """Embed the images at `locations`, in that order, as an embed worker would, until all are done or `seconds` are up.

    `limits` are the most pixels and bytes of an image, `how` one of DECODES. `report` gets the number read. The
    embeddings are not kept, nor are the `features`, if they are to be made beside them. With `alone` images are read in
    processes of their own, as suspects of a partition are: an image that ends two of these is quarantined.
    """
    with ExitStack() as stack:
        wanted = (embedder.image_size, *limits, how, features)
        readers = stack.enter_context(IsolatedReaders(*wanted)) if alone else None

        def read(place: int, location: Location) -> ReadImage:
            return read_image(location, *wanted) if readers is None else readers.read(location)

        images = stream_images(locations, read=read, threads=threads, ahead=BATCHES_AHEAD * embedder.batch_size)
        # It is closed before the readers that its threads use.
        stack.callback(images.close)
        return _sampled(images, embedder, threads, seconds, report, now)


def _sampled(
    images: Iterator[ReadImage],
    embedder: Embedder,
    threads: int,
    seconds: float,
    report: Callable[[int], None],
    now: Callable[[], float],
) -> Sampled:
    clock, found = StageClock(threads, now), Sampled()
    batch: list[NDArray[np.uint8]] = []
    began, mark = now(), clock.mark()

    def embed() -> None:
        if batch:
            started = now()
            with clock.waiting_for("model"), clock.at_work("model"):
                embedder.embed(np.stack(batch))
            found.spent["model"] += now() - started
        found.embedded += len(batch)
        found.marks.append((found.read, now() - began))
        batch.clear()
        report(found.read)

    while True:
        with clock.waiting_for("read"):
            image = next(images, None)
        if image is None or now() - began >= seconds:
            break
        clock.add("read", image.read_seconds)
        clock.add("decode", image.decode_seconds)
        found.take(image)
        if image.pixels is not None:
            batch.append(image.pixels)
        if len(batch) == embedder.batch_size:
            embed()
    if found.read and (not found.marks or found.marks[-1][0] < found.read):
        embed()
    found.load = clock.since(mark)
    return found


def run(request: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Load the model of a request, time its images, and report what an index of all would take.

    `images` (path and member of each), `listed` (how many the whole source has), `spec` and `model_dir` of the model,
    `threads` (None: as an embed worker would), `seconds`, `limits`: the most pixels and bytes of an image, `alone` and
    `features`, as in `sample`. Raises ModelError when the model can't be loaded.
    """
    spec = ModelSpec.from_json(request["spec"])
    began = time.perf_counter()
    embedder = loaded_embedder(spec, Path(request["model_dir"]), settings)
    # The first call allocates its memory and compiles what is left to compile.
    embedder.embed(np.zeros((1, embedder.image_size, embedder.image_size, 3), np.uint8) + np.uint8(128))
    load_seconds = time.perf_counter() - began
    say(phase="sampling", images=0)
    from_disk = _bytes_from_disk()
    limits = (int(request["limits"][0]), int(request["limits"][1]))
    locations = [_location(image) for image in request["images"]]
    threads = request["threads"] or reading_threads(locations)
    with watched(request["seconds"] + _LATE_SECONDS):
        found = sample(
            locations,
            embedder,
            limits,
            threads,
            request["seconds"],
            lambda images: say(phase="sampling", images=images),
            how=spec.decode,
            alone=request["alone"],
            features=request["features"],
        )
    after = _bytes_from_disk()
    plan = choose_index(max(1, request["listed"]), embedder.dim, IndexRequest(recall=settings.recall_target))
    return {
        "read": found.read,
        "embedded": found.embedded,
        "failed": dict(found.failed),
        "examples": found.examples,
        "bytes": found.bytes,
        "feature_bytes": found.feature_bytes,
        "bytes_from_disk": None if from_disk is None or after is None else after - from_disk,
        "seconds": found.marks[-1][1] if found.marks else 0.0,
        "marks": found.marks,
        "spent": found.spent,
        "load": None if found.load is None else found.load.to_json(),
        "threads": threads,
        "batch_size": embedder.batch_size,
        "dim": embedder.dim,
        "model_seconds": load_seconds,
        "peak_bytes": largest_resident(),
        "index": {"type": plan.type, "bytes": plan.bytes},
    }


def _location(table: dict[str, Any]) -> Location:
    member = table["member"]
    return Location(table["path"], None if member is None else Member(**member))


@contextmanager
def watched(seconds: float, end: Callable[[int], Any] = os._exit) -> Iterator[None]:
    """End the process with an error if the block takes longer: a thread that reads from a dead mount never returns."""

    def give_up() -> None:
        say_error(
            SourceError(f"The images did not come within {seconds:g} s: their disk hangs. See that its mount answers.")
        )
        end(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _bytes_from_disk() -> int | None:
    """Bytes that the system fetched from disks for this process; None if it does not tell."""
    with suppress(OSError, ValueError, KeyError):
        table = dict(line.split(": ") for line in _IO.read_text().splitlines())
        return int(table["read_bytes"])
    return None


def main() -> int:
    """Time what the JSON object on stdin asks for."""
    return exit_status(lambda: say(result=run(json.load(sys.stdin), load_settings())))


if __name__ == "__main__":
    sys.exit(main())
