"""List a source and keep short runs of neighbours, spread evenly over the whole, as the timed sample."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

from coordinator.doctor.checks import Check, ok, problem, warning
from coordinator.sources.choosing import EVERYTHING, Choice
from coordinator.sources.listing import most_left_out, no_images
from coordinator.sources.resolve import open_source
from shared.images.location import Location
from shared.images.paths import is_url
from shared.text import without_secrets

RUN = 32
"""Images in a run. A worker reads neighbours one after the other, from one place of the disk or archive. A sample of
single images would pay for a seek each time, and one long run would know only one corner of the source.
"""

LEAST_RUNS = 64
_LOOK_SECONDS = 0.1


class SpreadRuns:
    """Keep between LEAST_RUNS and twice as many runs of a stream of unknown length, all equally far apart.

    Every run is kept until there are too many. Then every second one is dropped, and as many of the following are
    skipped. Memory does not grow with the stream.
    """

    def __init__(self, run: int = RUN, least: int = LEAST_RUNS) -> None:
        self._run, self._most = run, 2 * least
        self._stride = 1
        self._number = self._in_run = 0
        self._kept: list[list[Location]] = []
        self._current: list[Location] = []

    def add(self, location: Location) -> None:
        if self._number % self._stride == 0:
            self._current.append(location)
        self._in_run += 1
        if self._in_run == self._run:
            self._end_run()

    def _end_run(self) -> None:
        if self._current:
            self._kept.append(self._current)
        self._current = []
        self._number, self._in_run = self._number + 1, 0
        if len(self._kept) > self._most:
            self._kept = self._kept[::2]
            self._stride *= 2

    def locations(self) -> list[Location]:
        """The locations of the images of the runs, those of a run side by side; any beginning of the list is spread as
        well.
        """
        runs = [*self._kept, *([self._current] if self._current else [])]
        return [location for number in _spread(len(runs)) for location in runs[number]]


def _spread(count: int) -> Iterator[int]:
    """The numbers below `count`, each once, by steps of the golden section: each next number falls into a gap."""
    step = max(1, round(count * (math.sqrt(5) - 1) / 2))
    while math.gcd(step, count) > 1:
        step += 1
    return (place * step % count for place in range(count))


@dataclass(slots=True)
class ListedSource:
    """A source as far as it was listed: `count` images in `seconds`, the bytes of their paths, and the places of the
    timed sample.

    `complete` says whether that is the whole source. `left_out` counts what was seen and not listed. `location` has no
    secrets.
    """

    kind: str
    location: str
    count: int = 0
    path_bytes: int = 0
    seconds: float = 0.0
    complete: bool = False
    left_out: Counter[str] = field(default_factory=Counter)
    sample: list[Location] = field(default_factory=list)

    @property
    def mean_path_bytes(self) -> float:
        return self.path_bytes / self.count if self.count else 0.0


def list_source(source: str, seconds: float, told: Callable[[int], None], choice: Choice = EVERYTHING) -> ListedSource:
    """List `source` for `seconds` at most, in a thread, as a mount that went away may hold a reader for ever.

    `told` is called with the number of images now and then. `choice` holds the options about the files of the source.
    Raises SourceError when the source can't be listed, UsageError when `choice` makes no sense.
    """
    listing = _Listing(source, choice)
    thread = threading.Thread(target=listing.run, name="listing the source", daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(_LOOK_SECONDS)
        told(listing.found.count)
    return listing.taken()


class _Listing:
    """The listing that runs in a thread; taking its result ends it."""

    def __init__(self, source: str, choice: Choice) -> None:
        self.found = ListedSource("source", shown(source))
        self._choice = choice
        self._source = source
        self._runs = SpreadRuns()
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._taken = False

    def run(self) -> None:
        began = time.monotonic()
        try:
            # A reader of its own: no thread may be using Python's when the interpreter ends.
            with open(0, "rb", closefd=False) if self._source == "-" else nullcontext() as stdin:
                listing = open_source(self._source, stdin, self._choice)
                self.found.kind, self.found.location = listing.kind, shown(listing.location)
                for image in listing.images:
                    with self._lock:
                        if self._taken:
                            return
                        self._add(Location(image.path, image.member), time.monotonic() - began)
            with self._lock:
                if not self._taken:
                    self.found.left_out = listing.left_out
                    self.found.seconds = time.monotonic() - began
                    self.found.complete = True
        except BaseException as error:
            self._error = error

    def _add(self, location: Location, seconds: float) -> None:
        self._runs.add(location)
        self.found.count += 1
        self.found.path_bytes += len(location.path.encode())
        self.found.seconds = seconds

    def taken(self) -> ListedSource:
        with self._lock:
            self._taken = True
            if self._error is not None:
                raise self._error
            self.found.sample = self._runs.locations()
            return self.found


def shown(path: str) -> str:
    """A path as people may see it: a URL loses user, password and signature."""
    return without_secrets(path) if is_url(path) else path


def check(found: ListedSource, seconds: float) -> Check:
    """Whether the source holds images, and could be listed to its end within `seconds`."""
    facts = {"listed": found.count, "complete": found.complete, "seconds": round(found.seconds, 3)}
    left_out = most_left_out(found.left_out)
    said = f"{found.count:,} images in the {found.kind} {found.location}, listed in {found.seconds:.1f} s"
    if not found.complete and not found.count:
        sentence = f"{found.location} gave no image within {seconds:g} s: see that its mount answers."
        return problem("source", sentence, **facts)
    if not found.complete:
        sentence = f"{said} and not at the end: what follows is for these. A list file spares the listing."
        return warning("source", sentence, **facts)
    if not found.count:
        return problem("source", no_images(found.location, found.left_out), **facts)
    return ok("source", said + (f"; not listed: {left_out}." if left_out else "."), **facts)
