"""Count what was said of hits, and what is true: by chance, by alteration, and among few images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from shared.job.altered_copies import Copies
from shared.job.index.builds import IndexInfo
from shared.job.index.calibration import Calibration, Point
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.vectors import unit
from workers.evaluate.accuracy import queries_of
from workers.evaluate.calibration.curve import Seen
from workers.images.alterations import MEASURED
from workers.search.cascade.chance import after_comparing, chances, standing
from workers.search.cascade.nearness import RANKS
from workers.search.searcher import Searcher

BINS: Final = (0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 1.0)
_SMALL: Final = (20, 30, 40, 60, 120, 200)
_SEED: Final = 0


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A copy with the hits of a search: whether each is the original, and whether comparing proves the original."""

    alteration: str
    photo: str
    is_original: Sequence[bool]
    standings: np.ndarray
    proven: bool


def seen_of(queries: Sequence[Asked]) -> Seen:
    """All hits of queries, those of one photograph counting as one query."""
    copies = len(MEASURED)
    return Seen(
        np.concatenate([query.standings for query in queries]).astype(np.float64),
        np.concatenate([query.is_original for query in queries]),
        np.concatenate([np.full(len(query.standings), 1 / copies) for query in queries]),
    )


def bins(calibration: Calibration, there: Sequence[Asked], absent: Sequence[Asked]) -> list[dict[str, Any]]:
    """What was said of hits by the chance that the build gives them, and what is true."""
    queries = [*there, *absent]
    before = np.concatenate([chances(calibration, query.standings) for query in queries])
    after = after_comparing(calibration, before)
    original = np.concatenate([query.is_original for query in queries])
    proven = np.concatenate([np.array(query.is_original) & query.proven for query in queries])
    rows = []
    for low, high in pairwise(BINS):
        some = (before >= low) & ((before < high) | (high == 1.0))
        left = some & ~proven
        rows.append(
            {
                "from": low,
                "to": high,
                "hits": int(some.sum()),
                "said": round(float(before[some].sum()), 2),
                "originals": int(original[some].sum()),
                "said_after": round(float(after[left].sum()), 2),
                "originals_after": int(original[left].sum()),
            }
        )
    return rows


def alteration(calibration: Calibration, name: str, there: Sequence[Asked], absent: Sequence[Asked]) -> dict[str, Any]:
    """What became of the copies of one alteration."""
    some, none = ([query for query in queries if query.alteration == name] for queries in (there, absent))
    return {
        "alteration": name,
        "queries": len(some),
        "among_nearest": sum(any(query.is_original) for query in some),
        "proven": sum(query.proven for query in some),
        "nothing_there": nothing(calibration.bound, some),
        "nothing_there_unproven": sum(
            not query.proven and bool(query.standings.max() <= calibration.bound) for query in some
        ),
        "nothing_absent": nothing(calibration.bound, none),
    }


def nothing(bound: float, queries: Sequence[Asked]) -> float:
    """The share of queries of which no hit stands out by more than `bound`."""
    return round(float(np.mean([query.standings.max() <= bound for query in queries])), 4)


def smaller(
    job: OpenJob, info: IndexInfo, copies: Copies, curve: Sequence[Point], bound: float
) -> list[dict[str, Any]]:
    """What the published curve says where a job has few images: each copy of the build's own is asked for among so many
    images, drawn anew, with its original and without."""
    stored = Searcher.open(JobFiles.of(job), info.build).stored
    similar = queries_of(copies) @ unit(stored.rows(np.arange(len(stored.ids)))).T
    places, values = np.array(curve).T
    own = stored.rows_of(copies.ids)
    rng = np.random.default_rng(_SEED)
    rows = []
    for images in _SMALL:
        there: list[bool] = []
        absent: list[bool] = []
        said = 0.0
        for row, place in zip(similar, own.tolist(), strict=True):
            others = rng.permutation(np.delete(np.arange(len(row)), place))[:images]
            for kept, found in ((np.append(others[1:], place), there), (others, absent)):
                stands = standing(np.sort(row[kept])[::-1][:RANKS])
                found.append(bool(stands.max() <= bound))
                said += float(np.interp(stands, places, values).sum())
        shares = {"nothing_there": round(float(np.mean(there)), 4), "nothing_absent": round(float(np.mean(absent)), 4)}
        rows.append({"images": images, "originals": len(there), "said": round(said, 1)} | shares)
    return rows
