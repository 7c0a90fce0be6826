"""Turn what a method said of each query into figures: what was found, what was recognised, what was false."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.truth.queries.collection import Query

Scores = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

SAME_PICTURE: Final = "same picture"
_LISTED: Final = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a method said of one query.

    `rank` is that of the original, from 1; 0 where it is not in the answer. `said` is the verdict of the original, None
    where it was not recognised. `wrong` is what was called the same while the original was absent: the photograph's
    place in the collection; `proof` is what was said for it.
    """

    rank: int
    said: str | None
    wrong: int | None = None
    proof: str = ""


def ranks(scores: Scores, originals: Places) -> Places:
    """The rank of each query's original by `scores` [q, n]; another photograph with the same score goes before it."""
    own = scores[np.arange(len(scores)), originals]
    ahead = (scores >= own[:, None]).sum(axis=1)
    return np.asarray(ahead, np.int64)


def best_others(scores: Scores, originals: Places) -> tuple[Places, Scores]:
    """For each query the place and the score of the best photograph that is not its original."""
    others = scores.copy()
    others[np.arange(len(scores)), originals] = -np.inf
    best = others.argmax(axis=1)
    return best, others[np.arange(len(scores)), best]


def threshold(best: Scores, per_thousand: float = 1.0) -> float:
    """The lowest score that at most `per_thousand` in 1,000 of the `best` wrong scores reach.

    It is measured on the very queries that it is applied to, which flatters the method.
    """
    allowed = int(len(best) * per_thousand / 1000)
    return float(np.nextafter(np.sort(best)[::-1][allowed], np.float32(np.inf)))


def by_threshold(scores: Scores, originals: Places, at: float) -> list[Outcome]:
    """The outcomes of a method that calls the same whatever has a score of `at` or more."""
    own = scores[np.arange(len(scores)), originals]
    places, best = best_others(scores, originals)
    return [
        Outcome(
            int(rank),
            SAME_PICTURE if mine >= at else None,
            int(place) if other >= at else None,
            f"score {other:.4f}" if other >= at else "",
        )
        for rank, mine, place, other in zip(ranks(scores, originals), own, places, best, strict=True)
    ]


def figures(queries: Sequence[Query], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The figures over all queries, and by alteration in the order in which they come."""
    kinds: dict[str, list[Outcome]] = {}
    for query, outcome in zip(queries, outcomes, strict=True):
        kinds.setdefault(query.kind, []).append(outcome)
    return _shares(outcomes) | {"by_alteration": {kind: _shares(some) for kind, some in kinds.items()}}


def verdicts(queries: Sequence[Query], outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """By alteration the share of queries whose original got each verdict."""
    kinds: dict[str, list[str]] = {}
    for query, outcome in zip(queries, outcomes, strict=True):
        kinds.setdefault(query.kind, []).append(outcome.said or "none")
    return {
        kind: {word: round(said.count(word) / len(said), 4) for word in sorted(set(said))}
        for kind, said in kinds.items()
    }


def wrong(queries: Sequence[Query], outcomes: Sequence[Outcome], names: Sequence[str]) -> list[dict[str, str]]:
    """The first false verdicts by name: the absent original, how it was altered, what was called the same, and why."""
    return [
        {
            "original": names[query.original],
            "alteration": query.kind,
            "called_the_same": names[outcome.wrong],
            "proof": outcome.proof,
        }
        for query, outcome in zip(queries, outcomes, strict=True)
        if outcome.wrong is not None
    ][:_LISTED]


def _shares(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    count = len(outcomes)
    false = sum(outcome.wrong is not None for outcome in outcomes)
    return {
        "queries": count,
        "r_at_1": round(sum(outcome.rank == 1 for outcome in outcomes) / count, 4),
        "r_at_10": round(sum(1 <= outcome.rank <= 10 for outcome in outcomes) / count, 4),
        "recognised": round(sum(outcome.said is not None for outcome in outcomes) / count, 4),
        "false": false,
        "false_per_1000": round(1000 * false / count, 3),
    }
