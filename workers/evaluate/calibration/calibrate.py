"""Measure what the similarities of a build mean: the chance of hits by how far they stand out, and verdicts."""

from collections.abc import Callable
from typing import Final

import numpy as np

from shared.job.altered_copies import Copies
from shared.job.index.calibration import JOB, Calibration, VerdictsMeasured, none_measured
from shared.job.opened import OpenJob
from shared.settings import Settings
from workers.evaluate.calibration import published
from workers.evaluate.calibration.asked import Asked, Relations, SearchesMany
from workers.evaluate.calibration.compared import Comparing, Strangers
from workers.evaluate.calibration.curve import fitted, standing_at
from workers.search.cascade.nearness import RANKS

LEAST_IMAGES: Final = 200
"""Below so many images a job's own chances are not measured: its strangers are too few."""
LEAST_PUBLISHED: Final = 2 * RANKS
"""Below so many images the published ones don't hold either: half of the job is among the ranks behind."""
LEAST_ORIGINALS: Final = 24
"""Below so many images with altered copies neither."""
COMPARED: Final = 8
"""Originals whose altered copies are compared at a build: 48 copies."""
_LOOKED_AT: Final = 24
"""Other images that stand out, of all originals, of which is looked whether they show the same."""
_STANDS_OUT: Final = 6.0
# The published share counts as that of so many originals: a few that were all proven say little of those that are not.
_PUBLISHED_ORIGINALS: Final = 8


def calibrated(
    job: OpenJob,
    build: str,
    searcher: SearchesMany,
    copies: Copies,
    images: int,
    settings: Settings,
    going: Callable[[], None] = lambda: None,
) -> Calibration:
    """What was measured of a build of `images` images through a `searcher` of it, by altered copies of some of them.

    A small job gets what was published, where that is of its model, and the reason. `going` is called now and then,
    from several threads, and may raise.
    """
    reason = _too_small(copies, images)
    if reason:
        return _published(job, build, reason, images)
    asked = Asked.of(searcher, copies)
    going()
    comparing, strangers = Comparing(job, settings, going), asked.strangers
    verdicts, related = comparing.verdicts(strangers, COMPARED)
    if not verdicts.reason:
        related = {**related, **comparing.related(_standing_out(strangers, related))}
    seen, there, absent = asked.seen(related)
    curve = fitted(seen) if len(there) and len(absent) else ()
    if not curve:
        reason = "Nearly all images are as near each other as copies are."
        return none_measured(build, copies.fingerprint, reason, images=images, verdicts=verdicts)
    bound = standing_at(curve, seen.blind)
    return Calibration(
        build=build,
        fingerprint=copies.fingerprint,
        measured=JOB,
        images=images,
        copies=len(copies),
        originals=copies.images,
        curve=curve,
        bound=round(bound, 3),
        nothing_there=round(float(np.mean(there <= bound)), 4),
        nothing_absent=round(float(np.mean(absent <= bound)), 4),
        missed=missed(verdicts),
        verdicts=verdicts,
    )


def missed(verdicts: VerdictsMeasured) -> float:
    """The share of originals that comparing does not prove, by what was compared and what was published."""
    unproven = verdicts.copies - verdicts.proven
    # The copies of one original are not independent of each other: together they count as one.
    share = unproven / verdicts.copies if verdicts.copies else 0.0
    known = verdicts.images + _PUBLISHED_ORIGINALS
    return round((share * verdicts.images + published.MISSED * _PUBLISHED_ORIGINALS) / known, 4)


def _too_small(copies: Copies, images: int) -> str:
    if images < LEAST_IMAGES:
        return f"The job has {images:,} images, and {LEAST_IMAGES:,} are needed."
    if copies.images < LEAST_ORIGINALS:
        return f"{copies.images:,} images have altered copies, and {LEAST_ORIGINALS:,} are needed."
    return ""


def _published(job: OpenJob, build: str, reason: str, images: int) -> Calibration:
    """What was published, where it is of the job's model and there are images enough for any."""
    model = job.manifest.model
    verdicts = VerdictsMeasured(reason=reason)
    is_its = model.fingerprint == published.FINGERPRINT
    if not is_its or images < LEAST_PUBLISHED:
        why = "" if is_its else f"The published ones are for {published.FINGERPRINT}."
        return none_measured(build, model.fingerprint, f"{reason} {why}".strip(), images=images, verdicts=verdicts)
    return published.calibration(build, model.fingerprint, reason, images, verdicts)


def _standing_out(strangers: Strangers, related: Relations) -> list[tuple[int, int]]:
    """The pairs of originals and others that stand out farthest, but for those that were looked at."""
    pairs = [
        (value, own, other) for own, others in strangers.items() for other, value in others[:2] if value >= _STANDS_OUT
    ]
    return [(own, other) for _, own, other in sorted(pairs, reverse=True) if (own, other) not in related][:_LOOKED_AT]
