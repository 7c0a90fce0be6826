"""Compact a job: what was removed leaves its files, and small partitions become whole ones, in one change or not at
all.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from coordinator.jobs.changes.compacting import leftovers, plan, rows
from coordinator.jobs.changes.compacting.plan import Bounds, Run
from coordinator.jobs.runs.events import Doing, Tell
from coordinator.jobs.source.facts import read_at
from coordinator.jobs.source.lost.left_out import left_out_of
from shared.errors import CorruptFile, JobBusy, JobError, JobMismatch
from shared.job.changes.lock import changing, is_kept_out
from shared.job.changes.log import Change, Ids, write_change
from shared.job.changes.replaced import Replaced
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.manifest import Partition
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.partition.features.counted import FeaturesReader
from shared.job.partition.ledger import Seal
from shared.processes.failpoints import failpoint

ACTION: Final = "compact"


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did, or would do: partitions replaced and made of them, images purged, bytes freed (about)."""

    replaced: int = 0
    made: int = 0
    purged: int = 0
    bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.replaced)


def foreseen(job: OpenJob, bounds: Bounds) -> Compacted:
    """What a compaction would do; nothing is changed. Raises as `ledger.sealed` does."""
    runs = _chosen(job, {seal.partition: seal for seal in ledger.sealed(job)}, bounds)
    return _counted(runs, sum(run.reclaimed for run in runs))


def compact(job: JobDir, bounds: Bounds, tell: Tell) -> Compacted:
    """Put new partitions in the place of those that `bounds` name, without the images that were removed.

    Ids stay as they are, and those of purged images are given to no other. Rows are copied bit by bit from files that
    were compared with their seals. A kill at any step leaves the job as it was, or compacted; files that are left over
    then are removed by the next call. What goes on serving meanwhile is the build that was promoted: it is for the
    caller to have it built again, and to call `tidy` then.

    Raises JobError when all images were removed, CorruptFile when a file is not what was sealed, JobBusy when another
    process changes the job: each with nothing changed.
    """
    with changing(job) as opened:
        alone = is_kept_out(opened)
        leftovers.remove_replaced(opened, alone=alone)
        leftovers.remove_added(opened, alone=alone)
        seals = {seal.partition: seal for seal in ledger.sealed(opened)}
        runs = _chosen(opened, seals, bounds)
        if not runs:
            leftovers.keep_copies(opened, list(seals.values()))
            return Compacted()
        if len(opened.state.removed) == opened.listed:
            raise JobError(
                f"All {opened.listed:,} images of {opened.path} were removed: nothing would be left of it but its "
                "name. Remove its folder instead."
            )
        written = _Compaction(opened, runs, tell).run()
        after = open_job(opened)
        leftovers.remove_replaced(after, alone=alone)
        leftovers.remove_added(after, alone=alone)
        leftovers.keep_copies(after, list(ledger.sealed(after)))
        freed = sum(part.bytes for run in runs for part in run.parts) - _size(after, written)
        return _counted(runs, freed)


def tidy(job: OpenJob) -> list[str]:
    """Remove the builds that hold purged images, once one that does not serves; their names."""
    return leftovers.remove_outlived(job)


def _chosen(job: OpenJob, seals: Mapping[int, Seal], bounds: Bounds) -> list[Run]:
    return plan.choose(job, seals, bounds, _covered_up_to(job, seals), partial(rows.layout_of, job))


def _covered_up_to(job: OpenJob, seals: Mapping[int, Seal]) -> int:
    """The id behind the last that the promoted build covers; 0 where there is none, or one of other embeddings."""
    with suppress(CorruptFile, JobMismatch):
        info = builds.current_info(job)
        covered = None if info is None else builds.covered(info, list(seals.values()), job)
        return covered[-1].stop if covered else 0
    return 0


def _size(job: OpenJob, seals: Sequence[Seal]) -> int:
    files = sum(int(entry["bytes"]) for seal in seals for entry in seal.files.values())
    return files + sum(FeaturesReader().bytes(job, seals).values())


def _counted(runs: Sequence[Run], freed: int) -> Compacted:
    return Compacted(sum(len(run.parts) for run in runs), len(runs), sum(run.dead for run in runs), max(0, freed))


class _Compaction:
    """A compaction under way, under the lock of the job."""

    def __init__(self, job: OpenJob, runs: Sequence[Run], tell: Tell) -> None:
        self._job, self._runs, self._tell = job, runs, tell
        self._change = job.state.number + 1
        self._begun: list[Partition] = []

    def run(self) -> list[Seal]:
        """Write the new partitions, then the change that names them; their seals."""
        job = self._job
        first = job.next_number()
        try:
            written = []
            for place, run in enumerate(self._runs):
                self._tell(Doing(f"Compacting, partition {place + 1:,} of {len(self._runs):,} …"))
                written.append(self._written(first + place, run))
            replaced = [self._replaced(run, seal) for run, seal in zip(self._runs, written, strict=True)]
            former = (part.seal for run in self._runs for part in run.parts)
            left_out = left_out_of(job, (Partition(seal.partition, seal.start, seal.stop) for seal in former))
            for run in self._runs:
                leftovers.forget_renamed(job, self._gone(run))
            self._require_as_read(written)
            failpoint("commit_compaction")
            write_change(job, job.manifest, Change(self._change, ACTION, replaced=replaced, left_out=left_out))
        except BaseException:
            self._take_back()
            raise
        return written

    def _gone(self, run: Run) -> Ids:
        """The images of a run that were removed, purged before or to be purged now; int64 ascending."""
        removed = self._job.state.removed
        gone: Ids = removed[(removed >= run.start) & (removed < run.stop)]
        return gone

    def _written(self, number: int, run: Run) -> Seal:
        failpoint("compact_partition")
        partition = Partition(number, run.start, run.stop)
        self._begun.append(partition)
        return rows.write_joined(self._job, partition, run, self._gone(run))

    def _replaced(self, run: Run, seal: Seal) -> Replaced:
        times = [read_at(self._job, part.seal) for part in run.parts]
        former = tuple(builds.facts_of(part.seal) for part in run.parts)
        # One time of all would be too early for failed images of the others: they would count as changed since.
        failed = tuple(until for _, of_part in times for until in of_part)
        return Replaced(builds.facts_of(seal), former, min(began for began, _ in times), failed)

    def _require_as_read(self, written: Sequence[Seal]) -> None:
        """Raise JobBusy when what was copied was taken back meanwhile, or what was written was removed."""
        job = self._job
        former = [part.seal for run in self._runs for part in run.parts]
        if all(self._is_there(seal) for seal in (*former, *written)):
            return
        raise JobBusy(
            f"Another process, as a retry or a repair, worked on what was compacted in {job.path}: nothing was "
            "changed. Run the command again when that has ended."
        )

    def _is_there(self, seal: Seal) -> bool:
        job = self._job
        try:
            whole = all(
                path.stat().st_size == seal.entry(job, path)["bytes"] for path in job.sealed_files(seal.partition)
            )
            return whole and job.paths(seal.partition).is_file() and ledger.read_seal(job, seal.partition) == seal
        except (FileNotFoundError, CorruptFile):
            return False

    def _take_back(self) -> None:
        """Remove what was written, unless the change that names it is there."""
        with suppress(OSError):
            if not self._job.change(self._change).is_file():
                for partition in self._begun:
                    leftovers.remove_partition(self._job, partition.number)
