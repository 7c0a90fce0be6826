"""List a source: its images in order, each with its place and its source metadata."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

from shared.images.members import Member
from shared.job.manifest import Partition

_NOTHING: Final[Mapping[str, Any]] = {}  # One object for all: two million of them would take a hundred megabytes.


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One image of a listing: its path, the text of a job's list; its place in an archive; its source metadata."""

    path: str
    member: Member | None = None
    known: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


@dataclass(slots=True)
class Listing:
    """A source that is being listed: `images` in the order that gives the image ids, once; iterating gives their paths.

    `kind` is folder, list, stdin, archive or glob; `location` identifies the source to a person. `left_out` counts, by
    reason, files that were seen and not listed; `notes` counts, in words, files that were taken for something else than
    an image. Both are complete when the iteration has ended. A source that `changes_in_place` may be another one under
    the same name, and is compared path by path.
    """

    kind: str
    location: str
    images: Iterator[ListedImage]
    left_out: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def changes_in_place(self) -> bool:
        return self.kind in ("list", "stdin")

    def __iter__(self) -> Iterator[str]:
        return (image.path for image in self.images)


SNIFF_HINT: Final = "--sniff looks into files without suffix whether they are images."


def most_left_out(left_out: Counter[str]) -> str:
    """The most frequent reasons for leaving out: "12 .txt, 3 .pdf"; "" for nothing."""
    return ", ".join(f"{count:,} {reason}" for reason, count in left_out.most_common(5))


def no_images(location: str, left_out: Counter[str]) -> str:
    """The error for a source without any image."""
    among = f" (left out: {most_left_out(left_out)})" if left_out else ""
    sniff = f" {SNIFF_HINT}" if left_out["without suffix"] else ""
    return f"{location} holds no images{among}: name a folder with images in it, or a list that names some.{sniff}"


_Image = TypeVar("_Image")


def partitions_of(images: Iterable[_Image], size: int) -> Iterator[tuple[Partition, list[_Image]]]:
    """Cut `images`, or their paths, into partitions of `size` (the last may be smaller), one held at a time.

    The id of an image is its position; every image falls into just one partition.
    """
    stream = iter(images)
    start = number = 0
    while part := list(islice(stream, size)):
        yield Partition(number, start, start + len(part)), part
        start += len(part)
        number += 1


class PathDigest:
    """SHA-256 over a path list in order, fed while it streams: two lists are the same when their digests are."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.count = 0

    def feed(self, paths: Iterable[str]) -> Iterator[str]:
        """Yield `paths` unchanged while they are counted and digested."""
        for path in paths:
            self.add(path)
            yield path

    def add(self, path: str) -> None:
        # NUL can't be part of a path, so no two lists run together to the same bytes.
        self._digest.update(path.encode() + b"\0")
        self.count += 1

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def digested(listing: Listing, digest: PathDigest) -> Iterator[ListedImage]:
    """The images of `listing`; their paths are digested as they pass."""
    for image in listing.images:
        digest.add(image.path)
        yield image
