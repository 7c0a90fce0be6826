"""What altered copies tell of a build: whether they find their originals and prove them, and what chances rest on."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from shared.job.altered_copies import Copies, usable_copies
from shared.job.index.builds import IndexInfo
from shared.job.opened import OpenJob
from shared.settings import load_settings
from workers.evaluate import accuracy
from workers.evaluate.calibration.asked import Asked
from workers.evaluate.calibration.calibrate import COMPARED
from workers.evaluate.calibration.compared import Comparing
from workers.search.searcher import Searcher

ALIKE: Final = 0.94
"""Cosine similarity from which on a copy is close enough to its original for any index to have to find it."""


def of_copies(job: OpenJob, searcher: Searcher, info: IndexInfo, comparing: Callable[[], None]) -> dict[str, Any]:
    """The `accuracy`, `verdicts` and `chances` of an evaluation; `comparing` is called before images are compared."""
    copies = usable_copies(job, info.ledger_digest)
    copies = None if copies is None else copies.without(job.state.removed)
    found = {"accuracy": _accuracy(job, searcher, copies)}
    comparing()
    return found | {"verdicts": _verdicts(job, searcher, copies), "chances": _chances(searcher)}


def _why_none(job: OpenJob, copies: Copies | None) -> str:
    if job.manifest.model.is_imported:
        return "it was made from vectors"
    return "no altered copies of its images were embedded" if copies is None else copies.reason


def _verdicts(job: OpenJob, searcher: Searcher, copies: Copies | None) -> dict[str, Any]:
    """How often copies are proven to show their original, and falsely another image, or why none was compared."""
    if copies is None or not len(copies):
        return {"copies": 0, "reason": _why_none(job, copies), "by_alteration": []}
    # Those that the build compared come last: its own figures are of them.
    found, _ = Comparing(job, load_settings()).verdicts(Asked.of(searcher, copies).strangers, COMPARED, COMPARED)
    return found.to_json()


def _chances(searcher: Searcher) -> dict[str, Any]:
    """What the chances of similar hits rest on."""
    table = searcher.calibration.to_json()
    return {name: table[name] for name in table if name not in ("build", "fingerprint", "verdicts")}


def _accuracy(job: OpenJob, searcher: Searcher, copies: Copies | None) -> dict[str, Any]:
    """accuracy@10 by alteration, through the index and by exact search; `reason` says why there is none."""
    if copies is None or not len(copies):
        reason = _why_none(job, copies)
        return {"copies": 0, "reason": reason, "by_alteration": [], "at_10": None, "exact_at_10": None, "alike": None}
    queries = accuracy.queries_of(copies)
    right = accuracy.found(copies, [searcher.search(query, accuracy.K) for query in queries])
    truth = accuracy.found(copies, searcher.search_many(queries, accuracy.K, exact=True))
    by_index, by_truth = accuracy.by_alteration(copies, right), accuracy.by_alteration(copies, truth)
    alike = [good for good, similarity in zip(right, copies.similarities, strict=True) if similarity >= ALIKE]
    return {
        "copies": len(copies),
        "images": copies.images,
        "reason": "",
        "by_alteration": [
            {
                "alteration": name,
                "copies": copies.alterations.count(name),
                "at_10": share,
                "exact_at_10": by_truth[name],
                "mean_similarity": round(float(np.mean(copies.similarities[np.array(copies.alterations) == name])), 4),
            }
            for name, share in by_index.items()
        ],
        "at_10": sum(right) / len(right),
        "exact_at_10": sum(truth) / len(truth),
        "alike": {"similarity": ALIKE, "copies": len(alike), "at_10": sum(alike) / len(alike)} if alike else None,
    }
