"""A run of `compact`: what was removed leaves the files of a job, and its index is built again without it."""

from dataclasses import dataclass, field
from typing import Final

from coordinator.jobs.changes import compaction
from coordinator.jobs.changes.compacting.plan import Bounds, bounds_of
from coordinator.jobs.changes.compaction import Compacted
from coordinator.jobs.progress import Progress, ProgressReader
from coordinator.jobs.runs.events import Finished, Said, Tell
from coordinator.jobs.runs.loop import until_indexed
from shared.errors import JobBusy, LookalikeError
from shared.job.bundle.facts import refuse_bundle
from shared.job.opened import OpenJob, open_job
from shared.settings import Settings
from shared.text import size

DUE_SHARE: Final = 0.01
"""The share of a job's images that has to be purged by a compaction that nobody asked for."""

_LATER: Final = "Not all partitions are sealed yet: the index is built again once they are."


@dataclass(frozen=True, slots=True)
class Asked:
    """What `compact` is asked to do: to replace what `bounds` name, or with `dry_run` to say what that would be.

    `workers` are to embed, where no broker is given and altered copies have to be made again.
    """

    job: OpenJob
    settings: Settings
    bounds: Bounds = field(default_factory=Bounds)
    dry_run: bool = False
    workers: int = 1


def compact(asked: Asked, tell: Tell) -> Compacted:
    """Compact a job, and have its index built again without what was purged; continue where an earlier call stood.

    Where there is nothing to do, that is said and no end told. It may be ended at any moment: what serves goes on
    serving, and the same call continues. Raises as `compaction.compact` and `run_job` do.
    """
    job = asked.job
    refuse_bundle(job.path, job.manifest.bundle, "compacted")
    if asked.dry_run:
        done = compaction.foreseen(job, asked.bounds)
        tell(Said(f"{_said(done, 'would be ')}; nothing was changed." if done else _nothing(job)))
        return done
    done = compaction.compact(job, asked.bounds, tell)
    if done:
        tell(Said(f"{_said(done)}."))
    progress = ProgressReader(open_job(job)).read()
    if not progress.complete:
        tell(Said(_LATER if done else _nothing(job)))
        return done
    was_current = progress.index_is_current
    progress = _finish(job, asked.settings, progress, asked.workers, tell)
    if done or not was_current:
        tell(Finished(progress))
    else:
        tell(Said(_nothing(job)))
    return done


def by_itself(job: OpenJob, settings: Settings, progress: Progress, workers: int, tell: Tell) -> Progress:
    """Compact a job that nobody asked to be compacted, where that is worth it by the settings; the last progress.

    What keeps it from being compacted is said: the job is well without, and is asked again the next time.
    """
    try:
        done = compaction.compact(job, bounds_of(settings), tell) if _is_due(job, settings) else Compacted()
    except JobBusy:
        return progress
    except (LookalikeError, OSError) as error:
        tell(Said(f"The job was not compacted: {error}"))
        return progress
    if done:
        tell(Said(f"{_said(done)}."))
        progress = ProgressReader(open_job(job)).read()
    return _finish(job, settings, progress, workers, tell)


def _is_due(job: OpenJob, settings: Settings) -> bool:
    """Whether there is enough to compact: asked without the lock, under which another process may be at work.

    An index is built for it, so a few images of a large job have to wait until they are more.
    """
    job = open_job(job)
    found = compaction.foreseen(job, bounds_of(settings))
    joined = found.replaced - found.made + 1
    return joined >= settings.compact_small or found.purged > DUE_SHARE * (job.listed - len(job.state.purged))


def _finish(job: OpenJob, settings: Settings, progress: Progress, workers: int, tell: Tell) -> Progress:
    """Have the index built, and remove the builds that still hold what was purged."""
    job = open_job(job)
    progress = until_indexed(job, settings, progress, workers, tell)
    if removed := compaction.tidy(job):
        holding = "the build" if len(removed) == 1 else "the builds"
        tell(Said(f"removed {holding} {', '.join(removed)}, which held what was purged"))
    return progress


def _said(done: Compacted, verb: str = "") -> str:
    """What a compaction did; `verb` is "would be " for one that is only foreseen."""
    partitions = "1 partition" if done.replaced == 1 else f"{done.replaced:,} partitions"
    how = "rewritten" if done.made == done.replaced else f"made into {'one' if done.made == 1 else f'{done.made:,}'}"
    images = "1 removed image" if done.purged == 1 else f"{done.purged:,} removed images"
    without = f" without {images}" if done.purged else ""
    return f"{partitions} {verb}{how}{without}: about {size(done.bytes)} freed"


def _nothing(job: OpenJob) -> str:
    return f"Nothing of {job.path} is to be compacted."
