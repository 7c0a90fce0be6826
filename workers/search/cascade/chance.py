"""Give the hits of a query that are compared and not proven the chance that they show its picture after all."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shared.job.index.calibration import Calibration
from shared.messages.search import Hit, SearchJob
from shared.messages.verdicts import NOTHING, SIMILAR
from shared.messages.verified import PROVEN, Verified
from workers.search.cascade.nearness import COPIES, RANKS
from workers.search.cascade.normalised import BEHIND, Floats, normalised
from workers.search.searcher import Searcher

# The more images, the nearer the nearest stranger: slowly, as with the logarithm of their number.
_MOST_GROWN = 2.0


def standing(similarities: Sequence[float] | Floats) -> Floats:
    """How many deviations each of the nearest images stands above the ranks behind: float32, in the order given.

    That need not be the order of their similarity, by which the ranks are counted.
    """
    return normalised(np.asarray(similarities, np.float32), _behind(similarities))


def is_crowded(similarities: Sequence[float] | Floats) -> bool:
    """Whether even the ranks behind are as near as copies are: then nothing stands out, and yet all may be copies."""
    behind = _behind(similarities)
    return bool(len(behind) and behind.mean() >= COPIES)


def _behind(similarities: Sequence[float] | Floats) -> Floats:
    return np.sort(np.asarray(similarities, np.float32))[::-1][BEHIND]


def chances(calibration: Calibration, standings: Floats) -> Floats:
    """The chance of each hit to be the original of its query, by how far it stands out: before it is compared."""
    places, values = np.array(calibration.curve, np.float64).T
    return np.asarray(np.interp(standings, places, values), np.float32)


def after_comparing(calibration: Calibration, before: Floats) -> Floats:
    """The chance of hits that were compared, and not proven: most originals would have been."""
    left = before.astype(np.float64) * calibration.missed
    return np.asarray(left / np.maximum(left + (1 - before.astype(np.float64)), 1e-12), np.float32)


def with_chances(
    searcher: Searcher, found: Sequence[Hit], judged: Sequence[Hit], told: Verified, message: SearchJob
) -> tuple[Sequence[Hit], Verified]:
    """The hits of a query with their chances, and what is to be said of them.

    `found` are all hits in any order, `judged` the same with their verdicts, in the order of the answer. Where
    a hit is proven, the others get none: what was measured is where one picture of the job is the original.
    """
    if not found or any(hit.verdict in PROVEN for hit in judged):
        return judged, told
    if (reason := why_none(searcher, found, message)) is not None:
        is_asked = any(hit.verdict == SIMILAR for hit in judged)
        return judged, replace(told, no_chances=reason) if is_asked else told
    calibration = searcher.calibration
    standings = standing([hit.similarity for hit in found])
    nothing = bool(standings.max() <= calibration.bound)
    values = after_comparing(calibration, chances(calibration, standings))
    of = {hit.id: round(float(value), 6) for hit, value in zip(found, values, strict=True)}
    verdict = NOTHING if nothing else SIMILAR
    with_them = [replace(hit, verdict=verdict, chance=of[hit.id]) if hit.verdict == SIMILAR else hit for hit in judged]
    return with_them, replace(told, nothing=nothing, chances=calibration.measured)


def why_none(searcher: Searcher, hits: Sequence[Hit], message: SearchJob) -> str | None:
    """Why what was measured says nothing of the hits of a search; None where it does."""
    calibration, similarities = searcher.calibration, [hit.similarity for hit in hits]
    if not calibration.measured:
        return calibration.reason
    if message.filter is not None:
        return "Chances are measured among all images, and this search was among some."
    if message.verify.views > 1:
        return "Chances are measured for whole queries, and several views of this one were searched for."
    if any(hit.finer is not None for hit in hits):
        # What it brought forward stands out by another measure, and is an original more often than the chance says.
        return "Chances are measured by the model of the job alone, and a finer model compared the images too."
    if searcher.searched is not None and searcher.searched.shards is not None and searcher.searched.shards.missing:
        return "Chances are measured among all images, and each query worker searched some shards."
    if len(similarities) < RANKS:
        return f"Chances are told by the {RANKS} nearest images, and this search found {len(similarities)}."
    if is_crowded(similarities):
        return f"The {RANKS} nearest images are all as near as copies are, so that none of them stands out."
    ratio = searcher.ntotal / max(1, calibration.images)
    if not 1 / _MOST_GROWN <= ratio <= _MOST_GROWN:
        return (
            f"Chances were measured among {calibration.images:,} images, and {searcher.ntotal:,} can be found now: "
            "another build of the index measures them anew."
        )
    return None
