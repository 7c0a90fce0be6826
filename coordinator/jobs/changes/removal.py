"""Remove images from the answers of a job: choose them, refuse what can't be meant, and write the change."""

import base64
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from coordinator.client.stored_query import is_image_id
from coordinator.jobs.runs.events import Doing, Said, Tell
from coordinator.jobs.source.named_images import find_images
from shared.errors import JobError
from shared.errors.remedy import Remedy
from shared.job import path_list
from shared.job.bundle.facts import refuse_bundle
from shared.job.changes.lock import changing
from shared.job.changes.log import DELETE, Change, Ids, write_change
from shared.job.changes.removing import require_there
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.job.source.moved import read_moved
from shared.messages.filter import Filter
from shared.processes import stage

FEW: Final = 5
"""How many images are named by their paths."""
MOST_SHARE: Final = 0.2
"""The share of what is left that an expression may match without a word more."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Which images are to be removed, and how. Just one of `images`, `ids` and `where` is given.

    `images` are named each by id or path, `ids` are int64 [n], and `where` is an expression over the metadata. `yes`
    allows that it matches more than MOST_SHARE of what is left. With `dry_run` nothing is changed.
    """

    images: Sequence[str] = ()
    ids: Ids | None = None
    where: str | None = None
    yes: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Removal:
    """How many images were removed, or would be; how many are left then of those listed; the paths of the first few."""

    count: int
    left: int
    listed: int
    paths: Sequence[str]


def remove(job: JobDir, asked: Asked, tell: Tell) -> Removal:
    """Remove images from the answers of a job, in one change of its log: with it they are gone, without it none is.

    Images that failed or are not embedded yet are removed as well; an expression matches embedded ones alone. What is
    stored of an image stays. Raises JobError, with nothing done, for an id that was never given, an image that was
    removed before, and an expression that matches none or too many; QueryError for a path that is not listed and an
    expression that can't be asked; JobBusy when another process changes the job; and as `open_job` does.
    """
    with nullcontext(open_job(job)) if asked.dry_run else changing(job) as opened:
        refuse_bundle(opened.path, opened.manifest.bundle, "changed")
        ids, reasons = _chosen(opened, asked, tell)
        require_there(opened, ids)
        paths = _paths(opened, ids[:FEW])
        if not asked.dry_run:
            change = Change(opened.state.number + 1, DELETE, removed=ids, reasons=reasons)
            write_change(opened, opened.manifest, change)
    return Removal(len(ids), _left(opened) - len(ids), opened.listed, paths)


def _left(job: OpenJob) -> int:
    return job.listed - len(job.state.removed)


def _chosen(job: OpenJob, asked: Asked, tell: Tell) -> tuple[Ids, dict[str, int]]:
    """The images that are meant, int64 ascending, and how many were named in which way."""
    if asked.where is not None:
        ids = _matching(job, asked.where, tell)
        _require_few(job, asked, len(ids))
        return ids, {f"where {asked.where}": len(ids)}
    if asked.ids is not None:
        ids = np.unique(asked.ids)
        return ids, {"by id": len(ids)}
    way = {}
    for image, image_id in zip(asked.images, find_images(job, asked.images), strict=True):
        way[image_id] = "by id" if is_image_id(image) else "by path"
    return np.array(sorted(way), np.int64), dict(Counter(way.values()))


def _matching(job: OpenJob, where: str, tell: Tell) -> Ids:
    """The images that are left for whose metadata an expression is true, as a process of its own finds them."""
    filter = Filter(where=where)
    tell(Doing("Asking the metadata which images are meant …"))
    found: list[Ids] = [np.empty(0, np.int64)]

    def told(said: dict[str, Any]) -> None:
        found.append(np.frombuffer(base64.b64decode(said["ids"]), "<i8").astype(np.int64))

    result = stage.result_of(
        "workers.search.filtering.expressions",
        [str(job.path)],
        told,
        what=f"The search for what is to be removed from {job.path}",
        request={"where": filter.where},
        ended=JobError,
    )
    if unsealed := job.partition_count - int(result["partitions"]):
        what = f"{unsealed:,} of {job.partition_count:,} partitions {'is' if unsealed == 1 else 'are'}"
        tell(Said(f"{what} not sealed yet: the images there have no metadata that could match."))
    return np.setdiff1d(np.concatenate(found), job.state.removed)


def _require_few(job: OpenJob, asked: Asked, matched: int) -> None:
    left = _left(job)
    if not matched:
        raise JobError(
            f"None of the {left:,} images that are left in {job.path} matches {asked.where!r:.200}: nothing was "
            "removed. Those that failed or are not embedded yet have no metadata: name their ids."
        )
    if matched > MOST_SHARE * left and not asked.yes and not asked.dry_run:
        raise JobError(
            f"{asked.where!r:.200} matches {matched:,} of the {left:,} images that are left in {job.path}, more than "
            f"{MOST_SHARE:.0%}, and nothing was removed",
            remedy=Remedy("option", does="if they are meant, {} removes them", given={"yes": ""}),
        )


def _paths(job: OpenJob, ids: Ids) -> list[str]:
    """The paths of a few images, where they are now."""
    moved = read_moved(job)
    lists: dict[int, list[str]] = {}
    found = []
    for image_id in ids.tolist():
        partition = job.partition_of(image_id)
        if partition.number not in lists:
            lists[partition.number] = path_list.read_paths(job, partition)
        found.append(moved.now(lists[partition.number][image_id - partition.start]))
    return found
