"""Show what was removed from a job, or would be."""

from coordinator.jobs.changes.removal import FEW, Removal
from shared.images.paths import shown_path
from shared.job.directory import JobDir
from shared.job.local.job_files import StoreFiles


def removal_lines(removal: Removal, job: JobDir, *, dry_run: bool) -> list[str]:
    """The lines that `delete` prints: how many, how many are left, and of many or of those not removed yet the paths of
    the first few."""
    count, left = removal.count, f"{removal.left:,} of {removal.listed:,}"
    images, them = ("1 image", "it") if count == 1 else (f"{count:,} images", "them")
    if dry_run:
        lines = [f"{images} would be removed, and {left} would be left; nothing was changed."]
    else:
        # A store is not asked at each query.
        soon = f", of workers that run within {StoreFiles.believed_seconds:g} seconds" if job.in_store else ""
        verb = "is" if removal.left == 1 else "are"
        lines = [f"{images} removed: no answer names {them} any more{soon}. {left} {verb} left."]
    if dry_run or count > FEW:
        lines += [f"  {shown_path(path)}" for path in removal.paths]
        lines += [f"  … and {count - len(removal.paths):,} more"] if count > len(removal.paths) else []
    return lines
