"""The photographs of a run: which are altered, which stand beside them in collages, and which are searched."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.truth.queries.alterations import Kind
from coordinator.sources.resolve import open_source
from shared.errors import UsageError
from shared.images.paths import to_os_path
from shared.settings import Settings
from workers.images.decode import decode_photo
from workers.images.encode import Image

SEED: Final = 0
SAME_BYTES: Final = "equal bytes"
_TWINS: Final = Path(__file__).parent / "twins.json"
_WHOLE: Final = 1 << 20
_KEPT: Final = 64


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph: its file, and its name, which is the path below the folder with slashes."""

    name: str
    path: Path

    def data(self) -> bytes:
        """The bytes of its file."""
        return self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class Twins:
    """Two photographs that are one picture: the one that stayed, the one that was left out, and how it is known."""

    kept: str
    left_out: str
    why: str

    def to_json(self) -> dict[str, str]:
        return {"kept": self.kept, "left_out": self.left_out, "why": self.why}


@dataclass(frozen=True, slots=True)
class Collection:
    """`photos` are searched, `originals` are places in it of those that are altered, `others` are in no search.

    What collages and the like need beside an original comes from `others`, so that no verdict about it is right.
    """

    photos: tuple[Photo, ...]
    originals: tuple[int, ...]
    others: tuple[Photo, ...]
    twins: tuple[Twins, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """An altered photograph: the place of its original in the collection, its alteration's name, its JPEG bytes."""

    original: int
    kind: str
    data: bytes


def pixels_of(data: bytes) -> Image:
    """The bytes of an image file as RGB uint8 [h, w, 3], upright, in full size."""
    return decode_photo(data, _WHOLE, Settings().max_image_pixels)


def draw(folder: Path, originals: int, others: int, seed: int = SEED, most: int | None = None) -> Collection:
    """Draw the collection from all images below `folder`, or from `most` of them.

    Of photographs with equal bytes, and of those that `twins.json` knows to be one picture, the first by name stays.
    Raises UsageError where too few are left.
    """
    folder = folder.resolve()
    paths = [Path(to_os_path(path)) for path in open_source(str(folder), texts=False, archives=False)]
    every = sorted((Photo(path.relative_to(folder).as_posix(), path) for path in paths), key=lambda photo: photo.name)
    if most is not None and most < len(every):
        every = [every[place * len(every) // most] for place in range(most)]
    photos, twins = without_twins(every, json.loads(_TWINS.read_text()))
    if len(photos) < originals + others + 2:
        raise UsageError(
            f"{len(photos)} different photographs were found, and {originals} originals, {others} others and two more "
            "to be searched are needed: give a folder of more photographs, or ask for fewer originals."
        )
    drawn = np.random.default_rng(seed).permutation(len(photos))[: originals + others].tolist()
    aside = set(drawn[originals:])
    searched = [place for place in range(len(photos)) if place not in aside]
    now_at = {place: number for number, place in enumerate(searched)}
    return Collection(
        tuple(photos[place] for place in searched),
        tuple(sorted(now_at[place] for place in drawn[:originals])),
        tuple(photos[place] for place in drawn[originals:]),
        tuple(twins),
    )


def without_twins(every: Sequence[Photo], known: Sequence[Mapping[str, Any]]) -> tuple[list[Photo], list[Twins]]:
    """Those of `every` that are different pictures, and which were left out beside which.

    `known` has entries of `sha256`, the digests of files that are one picture, and `why`.
    """
    group_of = {digest: number for number, entry in enumerate(known) for digest in entry["sha256"]}
    whys = [str(entry["why"]) for entry in known]
    kept: list[Photo] = []
    twins: list[Twins] = []
    first_of: dict[str, Photo] = {}
    first_in: dict[int, Photo] = {}
    for photo in every:
        digest = hashlib.sha256(photo.data()).hexdigest()
        group = group_of.get(digest)
        if digest in first_of:
            twins.append(Twins(first_of[digest].name, photo.name, SAME_BYTES))
            continue
        first = photo if group is None else first_in.setdefault(group, photo)
        first_of[digest] = first
        if first is photo or group is None:
            kept.append(photo)
        else:
            twins.append(Twins(first.name, photo.name, whys[group]))
    return kept, twins


def queries(collection: Collection, kinds: Sequence[Kind]) -> list[Query]:
    """Every original altered in every way, the alterations of one original in a row.

    The others beside it are drawn by the original's number, so they differ from one original to the next.
    """
    pixels = lru_cache(_KEPT)(lambda photo: pixels_of(photo.data()))
    made: list[Query] = []
    for number in collection.originals:
        image = pixels(collection.photos[number])
        order = np.random.default_rng([SEED, number]).permutation(len(collection.others))
        for kind in kinds:
            beside = [pixels(collection.others[place]) for place in order[: kind.others].tolist()]
            made.append(Query(number, kind.name, kind(image, beside, number)))
    return made
