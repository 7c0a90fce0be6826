"""Copy the small files of a job into its bundle: the log of changes, the model's weights, where the source moved to."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from shared.errors import CorruptFile
from shared.images.paths import split_member
from shared.job.changes.log import read_change
from shared.job.directory import JobDir
from shared.job.opened import OpenJob
from shared.job.path_list import read_paths
from shared.job.source.moved import read_moved, write_moved
from shared.storage import files


def copy(job: OpenJob, bundle: JobDir) -> None:
    """Copy the log of changes, the files of the model where it has any, and where the source moved to."""
    for number in range(1, job.state.number + 1):
        _copy(job.change(number), bundle.change(number))
        change = read_change(job, number)
        # What a compaction keeps of deleted images, by which a refresh knows their files, stays in the job.
        if change.digest:
            _copy(job.removed(number, change.digest), bundle.removed(number, change.digest))
    for name, sha256 in job.manifest.model.files.items():
        _copy(job.model_dir / name, bundle.model_dir / name)
        if files.sha256_of(bundle.model_dir / name) != sha256:
            raise CorruptFile(
                f"{job.model_dir / name} has another checksum than job.json says: restore it from a copy."
            )
    moved = read_moved(job)
    if moved.renamed and len(job.state.removed):
        left = _left_files(job, moved.renamed)
        moved = replace(moved, renamed={old: new for old, new in moved.renamed.items() if old in left})
    # A bundle has none of the images that were added as bytes: they are where they were, or there is a thumbnail.
    write_moved(bundle, moved, holder=str(job.path) if job.state.named else "")


def _left_files(job: OpenJob, renamed: Collection[str]) -> set[str]:
    """Those of the `renamed` files and archives that an image is listed in which was not removed."""
    found: set[str] = set()
    for one in job.partitions:
        paths = read_paths(job, one)
        for image_id in job.kept(one).tolist():
            path = paths[image_id - one.start]
            inside = split_member(path)
            file = path if inside is None else inside[0]
            if file in renamed:
                found.add(file)
    return found


def _copy(path: Path, target: Path) -> None:
    with files.written_aside(target) as aside, open(aside, "wb") as into:
        for block in files.blocks_of(path):
            into.write(block)
