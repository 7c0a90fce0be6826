"""Fill the shards of a build: train once for all of them, then each from that by itself, here or by other workers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import CorruptFile
from shared.errors.remedy import Remedy
from shared.job.changes.log import last_change
from shared.job.index import builds
from shared.job.index.filling import Filling, claim_of, filling_of
from shared.job.index.shards import TRAINED_FILE, Range, even_ranges, filling_file, grown_ranges, shard_file
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.ledger import Seal
from shared.processes.failpoints import failpoint
from workers.merge import fill
from workers.merge.growth import Former
from workers.merge.progress import MergeControl, step
from workers.vectors.ann import faiss_index, index_files
from workers.vectors.ann.plan import IndexPlan
from workers.vectors.embeddings import Rows, StoredEmbeddings


class ShardsWanted(Exception):
    """A build was trained, and its shards are to be filled before it can be measured."""

    def __init__(self, filling: Filling) -> None:
        super().__init__(f"{len(filling.missing)} of {len(filling.ranges)} shards of {filling.build} are to be filled")
        self.filling = filling


class Superseded(Exception):
    """What a shard was to be filled for is not built any more."""


def ranges_for(plan: IndexPlan, rows: int, former: Former | None) -> list[Range]:
    """The rows of each shard of an index to `plan`; none for an index of one file."""
    if not plan.shard_rows:
        return []
    if former is None:
        return even_ranges(rows, plan.shards)
    return grown_ranges(former.ranges, rows, plan.shard_rows)


def begin(
    directory: Path,
    plan: IndexPlan,
    ranges: Sequence[Range],
    former: Former | None,
    stored: StoredEmbeddings,
    held_out: Rows,
    seed: int,
    control: MergeControl,
    seconds: dict[str, float],
) -> None:
    """Make what the shards of a build are filled from: the trained index, and the shards of the one that it grows from.

    What is there already stays.
    """
    trained = directory / TRAINED_FILE
    if trained.is_file():
        return
    if former is not None:
        made = index_files.emptied(former.indexes[0], plan.dim)
        for number, rows in enumerate(former.ranges):
            whole = ranges[number] == rows
            former.put(number, directory / (shard_file(number) if whole else filling_file(number)))
    else:
        made = fill.trained(plan, stored, held_out, seed, control, seconds)
    faiss_index.save(made, trained)  # Comes last: with it the shards can be filled.


def filled(
    directory: Path,
    ranges: Sequence[Range],
    stored: StoredEmbeddings,
    control: MergeControl,
    dim: int,
    seconds: dict[str, float],
) -> Any:
    """The index of all shards of a build that was begun; those that are not full are filled one by one.

    `seconds` is told how long it took since it was begun until the last was full, by the times of their files.
    """
    step(control, "training", 1.0)
    parts = []
    for number, rows in enumerate(ranges):

        def told(share: float, rows: Range = rows) -> None:
            step(control, "adding", (rows.start + share * len(rows)) / len(stored))

        parts.append(_one(directory, number, rows, stored, rows, dim, told))
    times = [(directory / name).stat().st_mtime for name in (TRAINED_FILE, *map(shard_file, range(len(ranges))))]
    seconds["adding"] = round(max(times) - times[0], 3)
    return index_files.together(parts)


def fill_shard(job: OpenJob, job_files: JobFiles, build: str, number: int, control: MergeControl) -> Sequence[int]:
    """Fill one shard of a build that was begun, or continue where that stood; returns which are to be filled after it.

    One worker fills a shard at a time: the caller keeps others out. Raises Superseded when that build is whole, or is
    not the one that the job needs any more, CorruptFile when what it is filled from is damaged, Stopped as `step` does.
    """
    try:
        return _filled_shard(job, job_files, build, number, control)
    except (CorruptFile, FileNotFoundError):
        if last_change(job) == job.state.number:
            raise
        raise Superseded(f"The embeddings that the build {build} is of were compacted meanwhile") from None


def _filled_shard(job: OpenJob, job_files: JobFiles, build: str, number: int, control: MergeControl) -> Sequence[int]:
    directory = job.build_dir(build)
    found, claim = filling_of(job, build), claim_of(directory)
    seals = list(ledger.sealed(job))
    if found is None or claim is None or builds.is_whole(job, build) or number >= len(found.ranges):
        raise Superseded(f"The build {build} is whole, or was given up")
    if claim.get("digest") != builds.ledger_digest(seals):
        raise Superseded(f"The build {build} is of other embeddings than those that are sealed now")
    if number not in found.missing:
        return found.missing
    rows = found.ranges[number]
    some, first = _overlapping(seals, rows)
    stored = StoredEmbeddings.open(job_files, some)
    own = Range(rows.start - first, rows.stop - first)

    def told(share: float) -> None:
        if not (directory / builds.CLAIM_FILE).is_file():  # To write there would make the directory again.
            raise Superseded(f"The build {build} was given up")
        step(control, "adding", share)

    failpoint("fill_shard")
    _one(directory, number, rows, stored, own, stored.dim, told)
    left = filling_of(job, build)
    return [] if left is None else left.missing


def _one(
    directory: Path,
    number: int,
    rows: Range,
    stored: StoredEmbeddings,
    own: Range,
    dim: int,
    told: Callable[[float], None],
) -> Any:
    """A shard of `rows`, which are the rows `own` of `stored`, full and saved."""
    whole, so_far = directory / shard_file(number), directory / filling_file(number)
    empty = _trained(directory, dim)
    made = fill.left_behind(whole, so_far, len(rows), dim)
    if made is None or index_files.trained_as(made) != index_files.trained_as(empty):
        # What a worker that was frozen meanwhile filled of an earlier training does not fit the other shards.
        for path in (whole, so_far):
            path.unlink(missing_ok=True)
        made = empty
    fill.add_missing(made, stored, own, whole, so_far, told)
    so_far.unlink(missing_ok=True)
    return made


def _trained(directory: Path, dim: int) -> Any:
    """The trained index of a build, without an image; where it is damaged, it is removed to be trained again."""
    trained = directory / TRAINED_FILE
    try:
        return faiss_index.load(trained, ntotal=0, dim=dim)
    except CorruptFile:
        trained.unlink(missing_ok=True)
        raise CorruptFile(f"{trained} is damaged", remedy=Remedy("make", does="{} trains the index again")) from None


def _overlapping(seals: Sequence[Seal], rows: Range) -> tuple[list[Seal], int]:
    """The partitions that hold `rows`, and the number of the first row in them."""
    stops = np.cumsum([seal.embedded for seal in seals])
    first = int(np.searchsorted(stops, rows.start, side="right"))
    last = int(np.searchsorted(stops, rows.stop, side="left"))
    return list(seals[first : last + 1]), int(stops[first]) - seals[first].embedded
