"""Compare altered copies with their originals and with the nearest other images, as a search does."""

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from shared.errors import CorruptFile, ImageError
from shared.job.index.calibration import UNALTERED, VerdictRow, VerdictsMeasured
from shared.job.opened import OpenJob
from shared.messages.verdicts import SAME_PICTURE, SAME_PIXELS
from shared.settings import Settings
from workers.evaluate.calibration.asked import Related, Relations
from workers.evaluate.duplicates.pictures import LONGEST, Pictures, Pixels
from workers.images.alterations import ALTERATIONS, MEASURED
from workers.search.decoding.pictures import decode_of, features_of
from workers.verify.features import QUERY_KEYPOINTS, LocalFeatures, local_features
from workers.verify.pixels import same_pixels
from workers.verify.same_picture import verify

STRANGERS: Final = 3
"""Other images, those that stand out farthest, with which the copies of each original are compared."""
Strangers = Mapping[int, Sequence[tuple[int, float]]]
"""For each original the other images near it, the nearest first: their ids, and how far they stand out."""

_TRIED: Final = 2  # So many times as many originals as are wanted are looked at, where some can't be read.
_THREADS: Final = 4
_SECONDS: Final = 30.0  # Behind a slow server, a build goes on with what was compared until then.


@dataclass(frozen=True, slots=True)
class _Compared:
    """What came of the copies of one original: its rows, what others are to it, and how many were left out."""

    rows: Sequence[VerdictRow]
    related: Relations
    unclear: int


@dataclass(slots=True)
class Comparing:
    """Compares images of a job. Features that it stores are used; other images are read and decoded in this process:
    they are among those that were decoded when they were embedded. `going` is called before each original, from several
    threads, and may raise."""

    job: OpenJob
    settings: Settings
    going: Callable[[], None] = lambda: None
    _pictures: Pictures = field(init=False)

    def __post_init__(self) -> None:
        self._pictures = Pictures(self.job, self.settings)

    def verdicts(self, strangers: Strangers, most: int, passed: int = 0) -> tuple[VerdictsMeasured, Relations]:
        """What verdicts the altered copies of up to `most` of the originals get, and what others are to those.

        They are spread over all, and the same each time; the first `passed` of them come last.
        An original that can't be read is passed over, and so is another image; where none can be, the reason is told.
        """
        own = sorted(strangers)
        order = [own[place] for place in _spread(len(own))]
        order = (order[passed:] + order[:passed])[: most * _TRIED]
        found: list[_Compared] = []
        why = ""
        until = time.monotonic() + _SECONDS
        with ThreadPoolExecutor(_side_by_side(), thread_name_prefix="calibrate") as pool:
            while order and len(found) < most and time.monotonic() < until:
                some, order = order[: most - len(found)], order[most - len(found) :]
                for one in pool.map(lambda image: self._tried(image, strangers[image], until), sorted(some)):
                    if isinstance(one, _Compared):
                        found.append(one)
                    else:
                        why = why or one
        related = {pair: what for one in found for pair, what in one.related.items()}
        if not found:
            return VerdictsMeasured(reason=why or "No image was asked for."), {}
        return VerdictsMeasured(_added(found), len(found), sum(one.unclear for one in found)), related

    def related(self, pairs: Sequence[tuple[int, int]]) -> Relations:
        """What the second image of each pair is to the first; pairs of which one can't be read are left out."""

        until = time.monotonic() + _SECONDS

        def look(pair: tuple[int, int]) -> Related | None:
            self.going()
            if time.monotonic() > until:
                return None
            try:
                itself = local_features(self._pixels(pair[0]), QUERY_KEYPOINTS)
                return relation_of(itself, self.features(pair[1]))
            except (ImageError, CorruptFile, OSError):
                return None

        with ThreadPoolExecutor(_side_by_side(), thread_name_prefix="calibrate") as pool:
            looked = list(pool.map(look, pairs))
        return {pair: what for pair, what in zip(pairs, looked, strict=True) if what is not None}

    def _tried(self, own: int, strangers: Sequence[tuple[int, float]], until: float) -> _Compared | str:
        self.going()
        if time.monotonic() > until:
            return f"Reading the images took more than {_SECONDS:.0f} seconds."
        try:
            return self._copies(own, self._pixels(own), strangers[:STRANGERS])
        except (ImageError, CorruptFile, OSError) as error:
            return str(error)

    def _copies(self, own: int, pixels: Pixels, strangers: Sequence[tuple[int, float]]) -> _Compared:
        original = self.features(own)
        itself = local_features(pixels, QUERY_KEYPOINTS)
        others, related = dict[int, LocalFeatures](), dict[tuple[int, int], Related]()
        for image, _ in strangers:
            try:
                features = self.features(image)
            except (ImageError, CorruptFile, OSError):
                continue
            what = relation_of(itself, features)
            if what is None:
                others[image] = features
            else:
                related[own, image] = what
        rows = [VerdictRow(UNALTERED, 1, 1, 0, 0, 0, 0, 0)]  # It has the bytes that were embedded, or was not read.
        for name in MEASURED:
            jpeg = ALTERATIONS[name](pixels)
            query = features_of(jpeg, QUERY_KEYPOINTS, LONGEST**2, decode_of(self.job.manifest.model))
            verdict, false = _verdict(query, original), Counter(_verdict(query, other) for other in others.values())
            is_false = SAME_PIXELS if false[SAME_PIXELS] else SAME_PICTURE if false[SAME_PICTURE] else None
            rows.append(
                VerdictRow(
                    alteration=name,
                    copies=1,
                    same_bytes=0,
                    same_pixels=int(verdict == SAME_PIXELS),
                    same_picture=int(verdict == SAME_PICTURE),
                    false_pixels=int(is_false == SAME_PIXELS),
                    false_picture=int(is_false == SAME_PICTURE),
                    strangers=len(others),
                )
            )
        return _Compared(rows, related, sum(what is Related.UNCLEAR for what in related.values()))

    def _pixels(self, image_id: int) -> Pixels:
        return self._pictures.picture(image_id)

    def features(self, image_id: int) -> LocalFeatures:
        """The features that an image of the job is compared by; ImageError where it has none stored and can't be
        read."""
        return self._pictures.looked_at(image_id)


def _verdict(query: LocalFeatures, hit: LocalFeatures) -> str | None:
    if same_pixels(query, hit) is not None:
        return SAME_PIXELS
    return SAME_PICTURE if verify(query, hit) is not None else None


def relation_of(itself: LocalFeatures, other: LocalFeatures) -> Related | None:
    """What another image is to an original, None for a stranger; `itself` is the original as a query."""
    verdict = _verdict(itself, other)
    return None if verdict is None else Related.SAME if verdict == SAME_PIXELS else Related.UNCLEAR


def _added(found: Sequence[_Compared]) -> list[VerdictRow]:
    """The rows of all originals together, one for each alteration."""
    return [_sum(rows) for rows in zip(*(one.rows for one in found), strict=True)]


def _sum(rows: Sequence[VerdictRow]) -> VerdictRow:
    names = [name for name in VerdictRow.__slots__ if name != "alteration"]
    return VerdictRow(rows[0].alteration, **{name: sum(getattr(row, name) for row in rows) for name in names})


def _spread(count: int) -> Iterator[int]:
    """The numbers from 0 to `count` - 1 so that the first few of them are spread over all: the same at each time."""
    step = next(step for step in range(max(1, round(count * 0.618)), count + 2) if math.gcd(step, count) == 1)
    return (number * step % count for number in range(count))


def _side_by_side() -> int:
    return max(1, min(_THREADS, os.cpu_count() or 1))
