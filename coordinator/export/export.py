"""Export a job into a bundle: refuse what can't be one, and run the process that writes it."""

import signal
import struct
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any, Final

from coordinator.jobs.runs.events import Doing, Said, Tell
from shared.errors import JobError, UsageError
from shared.images.paths import shown_path
from shared.job.bundle.facts import Bundle, refuse_bundle
from shared.job.changes.lock import creation_lock
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.job.opened import open_job
from shared.processes.stage import speaking
from shared.text import duration

LEAST_THUMBNAIL: Final = 16
MOST_THUMBNAIL: Final = 2_048
_BUSY: Final = "Another process is exporting into {} right now: wait until it has ended."
# Signals by which a decoder ends its process.
_CRASHES: Final = frozenset([signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE])
_DOING: Final = {
    "index": "Writing the index …",
    "measuring": "Comparing it with the exact answers of the job …",
    "checksums": "Computing checksums …",
}


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that was made: what it says of itself, how many images can be found in it, how many of them no build
    covers, its bytes by kind, the milliseconds of a query in it (p50), and, where the job has no model to embed an
    image with, how many values a vector to search with has.
    """

    bundle: Bundle
    images: int
    additions: int
    bytes: Mapping[str, int]
    p50_ms: float
    dim: int | None


def export(job: JobDir, place: JobDir, thumbnails: int, tell: Tell) -> Exported:
    """Make a bundle of `job` at `place`, or finish one that was begun there; `thumbnails` is their longer side in
    pixels, 0 for none.

    May be killed at any moment: there is no bundle until it is whole, and the same call continues. Raises UsageError
    for a place that can't be one, JobError for one that holds something already, what is wrong with the job, and what
    the process that writes it raises.
    """
    opened = open_job(job)
    refuse_bundle(opened.path, opened.manifest.bundle, "exported")
    _require_apart(job, place)
    _require_free(place)
    with creation_lock(place, _BUSY):
        _require_free(place)
        result = _written(job, place, thumbnails, tell)
    manifest = load_manifest(place)
    bundle, dim = manifest.bundle, manifest.model.dim if manifest.model.is_imported else None
    assert bundle is not None
    _tell_of(result, bundle, tell)
    return Exported(bundle, result["images"], result["additions"], result["bytes"], result["p50_ms"], dim)


def _require_apart(job: JobDir, place: JobDir) -> None:
    if place.in_store:
        raise UsageError(
            f"A bundle is made on a disk, and {place.path} is not on one: name a folder, and copy it there."
        )
    if job.path == place.path or (not job.in_store and place.path.is_relative_to(job.path)):
        raise UsageError(f"{place.path} is in the job itself: name a folder outside of {job.path}.")


def _require_free(place: JobDir) -> None:
    """Raise JobError unless there is nothing at `place`, or a bundle that was begun."""
    if place.spec.is_file() and not place.exporting.is_file():
        bundle = load_manifest(place).bundle
        what = "a job" if bundle is None else bundle.named
        raise JobError(f"{place.path} is there already, and is {what}: name another folder, or remove it first.")
    if place.exporting.is_file() or not place.path.exists():
        return
    if not place.path.is_dir():
        raise JobError(f"{place.path} is there already, and is no folder: name another one.")
    if any(path != place.creation_lock for path in place.path.iterdir()):
        raise JobError(f"{place.path} is there already, and holds something else: name another folder, or empty it.")


def _written(job: JobDir, place: JobDir, thumbnails: int, tell: Tell) -> dict[str, Any]:
    """What the process that writes the bundle says at its end. Where images crash it, another one continues, which
    decodes those in processes of their own."""
    suspects: list[int] = []
    while True:
        crashed_over: list[int] = []
        try:
            return _one_process(job, place, thumbnails, suspects, crashed_over, tell)
        except JobError:
            found = [image for image in crashed_over if image not in suspects]
            if not found:
                raise
            suspects += found


def _one_process(
    job: JobDir, place: JobDir, thumbnails: int, suspects: Sequence[int], crashed_over: list[int], tell: Tell
) -> dict[str, Any]:
    result: dict[str, Any] | None = None
    with ExitStack() as stack:
        hand = stack.enter_context(tempfile.TemporaryFile())

        def on_exit(number: int) -> str:
            if number in _CRASHES:
                crashed_over.extend(_in_hand(hand))
            return ""

        words = [str(job.path), str(place.path), "--thumbnails", str(thumbnails), "--in-hand", str(hand.fileno())]
        said = stack.enter_context(
            speaking(
                "workers.merge.export.bundle",
                [*words, *(word for image in suspects for word in ("--suspect", str(image)))],
                what=f"The export of {job.path}",
                ended=JobError,
                keep=[hand.fileno()],
                on_exit=on_exit,
            )
        )
        pace = _Pace()
        for told in said:
            if "result" in told:
                result = told["result"]
            else:
                tell(Doing(_DOING.get(told["doing"]) or pace.told(told["done"], told["of"])))
    assert result is not None
    return result


class _Pace:
    """How fast images are exported, in words; those that were exported before don't count."""

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None

    def told(self, done: int, of: int) -> str:
        now = time.monotonic()
        began, first = self._began = self._began or (now, done)
        said = f"Exporting … {done:,} of {of:,} images"
        if done <= first or now <= began:
            return said
        rate = (done - first) / (now - began)
        return f"{said} · {rate:,.0f} img/s · {duration((of - done) / rate)} left"


def _in_hand(hand: IO[bytes]) -> list[int]:
    """The ids of the images that were being decoded."""
    hand.seek(0)
    numbers = struct.unpack("<" + "q" * (len(noted := hand.read()) // 8), noted)
    return sorted(number - 1 for number in numbers if number)


def _tell_of(result: Mapping[str, Any], bundle: Bundle, tell: Tell) -> None:
    """What a person has to know of the bundle beside what it is."""
    if bundle.without_thumbnail:
        named = result["lost"]["sentences"]
        first = f": {'; '.join(map(shown_path, named))}" if named else ""
        more = " …" if named and bundle.without_thumbnail > len(named) else ""
        tell(Said(f"{bundle.without_thumbnail:,} images could not be read for a thumbnail{first}{more}"))
    if result["additions"]:
        tell(
            Said(
                f"{result['additions']:,} of the images came after the index was built: they are in the bundle, and "
                "each search compares all of them."
            )
        )
    if result["renewed"]:
        tell(Said("The job was changed meanwhile: the bundle holds what it held when the export began."))
