"""Tuning a build: how widely its index is searched, and how deeply reranked, to reach a recall at the least latency."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from workers import index
from workers.plan import IndexPlan
from workers.recall import TIE, Measurement, Width, Yardstick
from workers.stored import Rows, StoredEmbeddings

DEPTHS: Final = (20, 30, 50, 70, 100, 150, 200, 300, 400, 500, 700, 1_000, 1_400, 2_000)
"""Candidates compared exactly, as far as tuning tries."""

# Tuning ends on the width that just reaches its recall on these queries; others would as often as not miss it.
_MARGIN = 0.2
_TIMED_QUERIES = 100


@dataclass(frozen=True, slots=True)
class Tuned:
    """The width chosen, what it was measured to do, and every width that was measured on the way."""

    width: Width
    measured: Measurement
    sweep: Sequence[tuple[Width, Measurement]]


@dataclass(frozen=True, slots=True)
class _Curve:
    """recall@k by depth at one nprobe."""

    nprobe: int
    recalls: dict[int, float]

    def least_depth(self, recall: float) -> int | None:
        return next((depth for depth, reached in self.recalls.items() if reached >= recall), None)

    @property
    def best(self) -> float:
        return max(self.recalls.values())


def tune(
    plan: IndexPlan,
    faiss_index: Any,
    stored: StoredEmbeddings,
    yardstick: Yardstick,
    target: float,
    measure: Callable[[Width, Yardstick], Measurement],
    report: Callable[[float], None],
) -> Tuned:
    """The width that reaches `target` recall at the least latency; the one of highest recall where none does.

    The index is asked once for each nprobe, and each depth is read off what it found: the recall after an exact
    rerank of the first R candidates is the share of the truth among them. Then `measure` asks the real search for the
    latency of the narrowest depth that reaches the target at each nprobe, and for all of the chosen one. `report` is
    told how much of it is done, 0 to 1, and may raise to end it.
    """
    if yardstick.truth.ids.shape[1] == 0 or not len(yardstick.ids):  # A single image has no neighbour.
        width = Width(plan.nprobe, min(DEPTHS[0], len(stored)))
        measured = measure(width, yardstick)
        report(1.0)
        return Tuned(width, measured, [(width, measured)])
    wanted = target + _MARGIN * (1 - target)
    nprobes = _nprobes(plan)
    curves = []
    for number, nprobe in enumerate(nprobes):
        report(0.5 * number / len(nprobes))
        curves.append(_curve(faiss_index, stored, yardstick, nprobe))
        if nprobe and _enough(curves, wanted):
            break
    widths = _worth_timing(curves, wanted)
    few = yardstick.first(_TIMED_QUERIES)
    sweep: list[tuple[Width, Measurement]] = []
    for number, width in enumerate(widths):
        report(0.5 + 0.4 * number / len(widths))
        reached = next(curve for curve in curves if curve.nprobe == width.nprobe).recalls[width.depth]
        sweep.append((width, replace(measure(width, few), recall=reached)))
    reaching = [(width, found) for width, found in sweep if (found.recall or 0.0) >= wanted]
    if reaching:
        chosen = min(reaching, key=lambda pair: pair[1].p50_ms)[0]
    else:
        chosen = max(sweep, key=lambda pair: (pair[1].recall or 0.0, -pair[1].p50_ms))[0]
    report(0.9)
    measured = measure(chosen, yardstick)
    report(1.0)
    return Tuned(chosen, measured, sweep)


def _nprobes(plan: IndexPlan) -> list[int]:
    """What is tried, ascending: powers of two up to all lists, or the one that there is of an index without any."""
    if not plan.most_nprobe:
        return [plan.nprobe]
    least = max(1, min(8, plan.nlist // 16)) if plan.nlist else plan.nprobe
    return [*_doubling(least, plan.most_nprobe), plan.most_nprobe]


def _doubling(least: int, most: int) -> Iterator[int]:
    while least < most:
        yield least
        least *= 2


def _enough(curves: Sequence[_Curve], wanted: float) -> bool:
    """Whether looking more widely can't pay: the last two reach the recall with the same depth."""
    if len(curves) < 2:
        return False
    before, last = (curve.least_depth(wanted) for curve in curves[-2:])
    return before is not None and before == last


def _curve(faiss_index: Any, stored: StoredEmbeddings, yardstick: Yardstick, nprobe: int) -> _Curve:
    depth = min(DEPTHS[-1], len(stored))
    places = []
    for start in range(0, len(yardstick.ids), 100):
        some = slice(start, start + 100)
        # The query's own image is a candidate too, as it will be in use.
        found = index.candidates(faiss_index, yardstick.vectors[some], depth, nprobe)
        places += [_places(stored, yardstick, start + row, ids) for row, ids in enumerate(found)]
    depths = [*(tried for tried in DEPTHS if tried < depth), depth]
    wanted = int(np.count_nonzero(yardstick.truth.ids >= 0))
    all_places = np.concatenate(places)
    right = {tried: int(np.count_nonzero(all_places < tried)) for tried in depths}
    return _Curve(nprobe, {tried: right[tried] / wanted if wanted else 1.0 for tried in depths})


def _places(stored: StoredEmbeddings, yardstick: Yardstick, query: int, found: Rows) -> Rows:
    """Where among the candidates of a query the right answers stand, ascending, as many as there are to find."""
    true = yardstick.truth.ids[query]
    true = true[true >= 0]
    places = np.flatnonzero(np.isin(found, true))
    if len(places) < len(true):
        # Of many copies of one photo any are right: what is as similar as the last that the truth names counts.
        known = np.flatnonzero((found >= 0) & (found != yardstick.ids[query]))
        cosines = stored.cosines(stored.rows_of(found[known]), yardstick.vectors[query])
        last = yardstick.truth.similarities[query, len(true) - 1]
        places = np.union1d(places, known[cosines >= last - TIE])
        stored.release()  # A scattered row may map two megabytes around it.
    return places[: len(true)]


def _worth_timing(curves: Sequence[_Curve], wanted: float) -> list[Width]:
    """For each nprobe the least depth that reaches the recall; where none does, the depths that come nearest."""
    reaching = [Width(curve.nprobe, depth) for curve in curves if (depth := curve.least_depth(wanted)) is not None]
    if reaching:
        return reaching
    best = max(curve.best for curve in curves)
    # A ten-thousandth is not worth twice the time.
    near = [(curve, curve.least_depth(best - 1e-4)) for curve in curves if curve.best >= best - 1e-4]
    return [Width(curve.nprobe, depth) for curve, depth in near if depth is not None]
