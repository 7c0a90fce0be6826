"""Compare a batch of pairs of images by what they show, and commit what came of it."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Final

from shared.errors import CorruptFile, ImageError
from shared.job.index.duplicates.compared import (
    Compared,
    Pair,
    asks_for_pixels,
    read_asked,
    read_compared,
    write_compared,
)
from shared.job.opened import OpenJob
from shared.messages.verdicts import SAME_PICTURE, SAME_PIXELS
from shared.processes.control import Control
from workers.evaluate.duplicates.pictures import Pictures
from workers.verify.agreement.colours import Colours, has_lost_colours
from workers.verify.features import LocalFeatures
from workers.verify.pixels import same_pixels
from workers.verify.same_picture import verify

_WHOLE: Final = 0.9


def compare_pairs(
    job: OpenJob, batch: str, control: Control[float], threads: int, pictures: Pictures | None = None
) -> int:
    """Compare the pairs of a batch and commit what came of it; returns how many show the same.

    What `pictures` of the job remember is not read again. A batch that was compared stays as it is. Raises CorruptFile
    where its pairs can't be read, SourceError where the place of the images is out of reach, Stopped as `control` says.
    """
    path = job.compared_pairs(batch)
    if path.is_file():
        try:
            return sum(one.verdict is not None for one in read_compared(path)[0])
        except CorruptFile:
            path.unlink(missing_ok=True)
    pairs, alone = sorted(read_asked(job, batch)), asks_for_pixels(job, batch)
    pictures, found = pictures or Pictures(job), list[Compared]()
    pictures.begin()
    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="compare") as pool:
        queries = [list(some) for _, some in groupby(pairs, key=lambda pair: pair.query)]

        def compared(some: Sequence[Pair]) -> list[Compared]:
            control.require_going()
            return list(_compared(pictures, some, alone))

        for some in pool.map(compared, queries):
            found += some
            control.report(len(found) / len(pairs))
    if any(one.unread for one in found):
        pictures.require_source()
    control.require_commit()
    job.require()
    write_compared(job, batch, found)
    return sum(one.verdict is not None for one in found)


def _compared(pictures: Pictures, pairs: Sequence[Pair], pixels_alone: bool) -> Iterator[Compared]:
    """What comes of the pairs of one query."""
    try:
        query = pictures.looked_at(pairs[0].query)
    except ImageError as error:
        for pair in pairs:
            yield Compared(pair, unread=str(error))
        return
    for pair in pairs:
        try:
            hit = pictures.looked_at(pair.hit)
        except ImageError as error:
            yield Compared(pair, unread=str(error))
            continue
        verdict, evidence = SAME_PIXELS, same_pixels(query, hit)
        if evidence is None and not pixels_alone:
            verdict, evidence = SAME_PICTURE, verify(query, hit)
        if evidence is None:
            yield Compared(pair, pixels_alone=pixels_alone)
            continue
        # Only where nothing else says which of two is better: it takes the pixels, which may be out of reach.
        sharp = [pictures.sharpness(one) if pictures.are_equally_large(*pair) else None for one in pair]
        # Of a part of a picture nobody knows what colours the rest has.
        is_whole = min(evidence.query_overlap, evidence.hit_overlap) >= _WHOLE
        grey = [is_whole and _has_lost(*both) for both in ((query, hit), (hit, query))]
        text = json.dumps(evidence.to_json())
        yield Compared(pair, verdict, text, None, sharp[0], sharp[1], grey[0], grey[1], pixels_alone)


def _has_lost(one: LocalFeatures, other: LocalFeatures) -> bool:
    """Whether one of two copies has lost the colours that the other has."""
    of_each = (Colours((some.width, some.height), some.colours, some.grey) for some in (one, other))
    return has_lost_colours(*of_each)
