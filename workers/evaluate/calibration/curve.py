"""Fit a rising curve from how far hits stand out to the chance that they are the original (pure)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.job.index.calibration import Point

Doubles = npt.NDArray[np.float64]

# Counted beside what was seen at each place of the curve: half an original and half a stranger. So no chance is 0 or 1,
# and the fewer were seen, the farther it is from both.
_PRIOR = 0.5
_MOST_STEPS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Hits of queries: `standings` float64 [n], whether each is the `originals` bool [n], and what each counts.

    `weights` float64 [n] are such that all copies of one image count as one: they are not independent of each other.
    """

    standings: Doubles
    originals: npt.NDArray[np.bool_]
    weights: Doubles

    @property
    def blind(self) -> float:
        """The chance of a hit to be the original where nothing is known of how far it stands out."""
        return float(np.sum(self.weights[self.originals]) / np.sum(self.weights))


def rising(values: Doubles, weights: Doubles) -> tuple[Doubles, npt.NDArray[np.int64]]:
    """The rising sequence nearest to `values` by weighted squares: its steps, and where in `values` each begins."""
    level: list[float] = []
    weight: list[float] = []
    start: list[int] = []
    for place, (value, counts) in enumerate(zip(values.tolist(), weights.tolist(), strict=True)):
        level.append(value)
        weight.append(counts)
        start.append(place)
        while len(level) > 1 and level[-2] >= level[-1]:
            both = weight[-2] + weight[-1]
            level[-2] = (level[-2] * weight[-2] + level[-1] * weight[-1]) / both
            weight[-2] = both
            del level[-1], weight[-1], start[-1]
    return np.array(level), np.array(start, np.int64)


def fitted(seen: Seen) -> tuple[Point, ...]:
    """Points of the curve, by rising standing; none where there are no originals, or no strangers.

    It is level over the standings of each step, straight between the last of one and the first of the next, and level
    beyond both ends.
    """
    if not seen.originals.any() or seen.originals.all():
        return ()
    order = np.lexsort((~seen.originals, seen.standings))  # Of equal standings, originals first: they are one step.
    standings, weights = seen.standings[order], seen.weights[order]
    originals = weights * seen.originals[order]
    _, starts = rising(originals / weights, weights)
    counts, hits = np.add.reduceat(weights, starts), np.add.reduceat(originals, starts)
    # A step of a few hits keeps near the middle, which may be below the step before it.
    steps, first = rising((hits + _PRIOR) / (counts + 2 * _PRIOR), counts)
    starts = starts[first]
    ends = np.append(starts[1:], len(standings)) - 1
    if len(steps) > _MOST_STEPS:
        some = np.unique(np.linspace(0, len(steps) - 1, _MOST_STEPS).round().astype(np.int64))
        steps, starts, ends = steps[some], starts[some], ends[some]
    points: list[Point] = []
    for start, end, step in zip(standings[starts].tolist(), standings[ends].tolist(), steps.tolist(), strict=True):
        points += [(round(place, 3), round(step, 5)) for place in dict.fromkeys((start, end))]
    return tuple(points)


def standing_at(curve: tuple[Point, ...], chance: float) -> float:
    """The highest standing at which a curve is not above `chance`; that of its first point where it begins above."""
    places, values = (np.array(column) for column in zip(*curve, strict=True))
    above = np.flatnonzero(values > chance)
    if not len(above):
        return float(places[-1])
    last = int(above[0]) - 1
    if last < 0:
        return float(places[0])
    share = (chance - values[last]) / (values[last + 1] - values[last])
    return float(places[last] + share * (places[last + 1] - places[last]))
