"""Tune how widely an index is searched, and how deeply reranked, to reach a recall at the least latency."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from workers.evaluate.recall import Measurement, Yardstick
from workers.search.candidates.width import Width
from workers.vectors.ann import faiss_index
from workers.vectors.ann.plan import IndexPlan
from workers.vectors.embeddings import Rows, StoredEmbeddings
from workers.vectors.exact import TIE

DEPTHS: Final = (20, 30, 50, 70, 100, 150, 200, 300, 400, 500, 700, 1_000, 1_400, 2_000)
"""The numbers of candidates that tuning tries to compare exactly."""

RATIOS: Final = (1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5, 1.7, 2.0, 0.0)
"""The depth ratios that tuning tries: how many times as far as the last hit a candidate may seem; 0 is no bound."""

# Tuning aims higher, because a width that just reaches its recall on these queries misses it on others half the time.
_MARGIN = 0.2
_TIMED_QUERIES = 100
# Few queries read many more lists than most do. Without this bound the slowest would take twice as long, and the recall
# of most of them would be the same.
_MOST_LISTS = 3
# To pick a candidate costs the index about this share of what comparing it exactly costs.
_PICKING = 0.1


@dataclass(frozen=True, slots=True)
class Tuned:
    """The chosen width, its measurement, and every width that was measured on the way."""

    width: Width
    measured: Measurement
    sweep: Sequence[tuple[Width, Measurement]]


@dataclass(frozen=True, slots=True)
class _Point:
    """One width, the recall@k that it reaches, and about what its candidates cost a query."""

    width: Width
    recall: float
    cost: float


class _Curve:
    """What the depths and ratios reach at one choice of lists."""

    def __init__(self, points: Sequence[_Point]) -> None:
        self.points = sorted(points, key=lambda point: point.cost)
        self.best = max(point.recall for point in points)

    def cheapest(self, recall: float) -> _Point | None:
        return next((point for point in self.points if point.recall >= recall), None)


def tune(
    plan: IndexPlan,
    index: Any,
    stored: StoredEmbeddings,
    yardstick: Yardstick,
    target: float,
    measure: Callable[[Width, Yardstick], Measurement],
    report: Callable[[float], None],
) -> Tuned:
    """The width that reaches `target` recall at the least latency; the one with the highest recall if none does.

    The index is asked once for each number of lists, and the recall of each depth and ratio is computed from its
    answer: the recall after an exact rerank of some candidates is the share of the truth among them. Then `measure`
    asks the real search for the latency of the cheapest that reaches the target at each number of lists, and for all of
    the chosen one. `report` gets the share that is done, 0 to 1, and may raise to end it.
    """
    if yardstick.truth.ids.shape[1] == 0 or not len(yardstick.ids):  # A single image has no neighbour.
        width = Width(plan.nprobe, min(DEPTHS[0], len(stored)))
        measured = measure(width, yardstick)
        report(1.0)
        return Tuned(width, measured, [(width, measured)])
    wanted = target + _MARGIN * (1 - target)
    prunes = faiss_index.prunes(index)
    nprobes = _nprobes(plan, fine=prunes)
    curves: list[_Curve] = []
    for number, nprobe in enumerate(nprobes):
        report(0.5 * number / len(nprobes))
        reach = _reach(index, yardstick, nprobe, plan.nlist) if prunes else Width(nprobe, 0)
        curves.append(_curve(index, stored, yardstick, reach, RATIOS if prunes else (0.0,)))
        if nprobe and _enough(curves, wanted):
            break
    few = yardstick.first(_TIMED_QUERIES)
    sweep: list[tuple[Width, Measurement]] = []
    timed = _worth_timing(curves, wanted)
    for number, point in enumerate(timed):
        report(0.5 + 0.4 * number / len(timed))
        sweep.append((point.width, replace(measure(point.width, few), recall=point.recall)))
    reaching = [(width, found) for width, found in sweep if (found.recall or 0.0) >= wanted]
    if reaching:
        chosen = min(reaching, key=lambda pair: pair[1].p50_ms)[0]
    else:
        chosen = max(sweep, key=lambda pair: (pair[1].recall or 0.0, -pair[1].p50_ms))[0]
    report(0.9)
    measured = measure(chosen, yardstick)
    report(1.0)
    return Tuned(chosen, measured, sweep)


def _nprobes(plan: IndexPlan, fine: bool) -> list[int]:
    """The numbers of lists to try, ascending: powers of two up to all lists, and values between them if `fine`; a
    single value for an index without lists.
    """
    if not plan.most_nprobe:
        return [plan.nprobe]
    least = max(1, min(8, plan.nlist // 16)) if plan.nlist else plan.nprobe
    tried = list(_doubling(least, plan.most_nprobe))
    if fine:
        tried += [3 * nprobe // 2 for nprobe in tried if nprobe > 1 and 3 * nprobe // 2 < plan.most_nprobe]
    return [*sorted(tried), plan.most_nprobe]


def _doubling(least: int, most: int) -> Iterator[int]:
    while least < most:
        yield least
        least *= 2


def _reach(index: Any, yardstick: Yardstick, nprobe: int, nlist: int) -> Width:
    """The lists that each query reads if the average is `nprobe`: fewer for a query that is clearly near one list."""
    if nprobe >= nlist:
        return Width(nlist, 0)
    most = min(_MOST_LISTS * nprobe, nlist)
    return Width(most, 0, faiss_index.list_margin(index, yardstick.vectors, nprobe, most))


def _enough(curves: Sequence[_Curve], wanted: float) -> bool:
    """Whether a wider search can't help: the last two reach the recall with the same candidates."""
    if len(curves) < 2:
        return False
    before, last = (curve.cheapest(wanted) for curve in curves[-2:])
    if before is None or last is None:
        return False
    return (before.width.depth, before.width.depth_ratio) == (last.width.depth, last.width.depth_ratio)


def _curve(index: Any, stored: StoredEmbeddings, yardstick: Yardstick, reach: Width, ratios: Sequence[float]) -> _Curve:
    """The recall of each depth and ratio if the lists of `reach` are read."""
    deepest = min(DEPTHS[-1], len(stored))
    depths = [*(tried for tried in DEPTHS if tried < deepest), deepest]
    # How many candidates of each query each pair leaves to be compared, and how many of these are right.
    compared = np.zeros((len(ratios), len(depths)))
    right = np.zeros((len(ratios), len(depths)))
    for start in range(0, len(yardstick.ids), 100):
        some = slice(start, start + 100)
        # The query's own image is a candidate too, as in use.
        found = faiss_index.search(index, yardstick.vectors[some], deepest, reach.nprobe, list_margin=reach.list_margin)
        places = [_places(stored, yardstick, start + row, ids) for row, ids in enumerate(found.ids)]
        limits = [faiss_index.farthest(found.distances, ratio or np.inf, yardstick.k + 1) for ratio in ratios]
        for distances, of_query, here in zip(found.distances, np.stack(limits, axis=1), places, strict=True):
            kept = np.minimum(np.searchsorted(distances, of_query, side="right")[:, None], depths)
            compared += kept
            right += np.searchsorted(here, kept)
    wanted = int(np.count_nonzero(yardstick.truth.ids >= 0))
    return _Curve(
        [
            _Point(
                replace(reach, depth=depth, depth_ratio=ratio),
                right[number, place] / wanted if wanted else 1.0,
                compared[number, place] / len(yardstick.ids) + _PICKING * depth,
            )
            for number, ratio in enumerate(ratios)
            for place, depth in enumerate(depths)
        ]
    )


def _places(stored: StoredEmbeddings, yardstick: Yardstick, query: int, found: Rows) -> Rows:
    """The positions of the right answers among the candidates of a query, ascending, as many as there are to find."""
    true = yardstick.truth.ids[query]
    true = true[true >= 0]
    places = np.flatnonzero(np.isin(found, true))
    if len(places) < len(true):
        # Among many equal photos any are right: an image as similar as the last one that the truth names counts.
        known = np.flatnonzero((found >= 0) & (found != yardstick.ids[query]))
        cosines = stored.cosines(stored.rows_of(found[known]), yardstick.vectors[query])
        last = yardstick.truth.similarities[query, len(true) - 1]
        places = np.union1d(places, known[cosines >= last - TIE])
        stored.release()  # A scattered row may map two megabytes around it.
    return places[: len(true)]


def _worth_timing(curves: Sequence[_Curve], wanted: float) -> list[_Point]:
    """The cheapest point that reaches the recall on each curve; if none does, those that come nearest."""
    reaching = [point for curve in curves if (point := curve.cheapest(wanted)) is not None]
    if reaching:
        return reaching
    # A ten-thousandth of recall is not worth twice the time.
    near = max(curve.best for curve in curves) - 1e-4
    return [point for curve in curves if (point := curve.cheapest(near)) is not None]
