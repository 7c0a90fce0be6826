"""Find, claim and tidy the directories of builds: the one that serves, a new one, and leftovers of killed merges."""

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import CorruptFile, JobMismatch
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.answers import ANSWERS_FILE
from shared.job.index.builds import IndexInfo
from shared.job.index.calibration import CALIBRATION_FILE
from shared.job.index.filling import claim_of
from shared.job.index.request import IndexRequest
from shared.job.index.shards import TRAINED_FILE, filling_file, shard_file, shards_in
from shared.storage import files


def usable(job: JobDir, digest: str, request: IndexRequest | None = None) -> IndexInfo | None:
    """The promoted build, if it is whole and the index of these embeddings that was asked for.

    A broken build is not usable and will be replaced.
    """
    try:
        info = builds.current_info(job)
        if info is None or not info.covers(digest, request):
            return None
        builds.check_files(job, info, checksums=False)
    except (CorruptFile, JobMismatch):
        return None
    return info


def promoted_now(job: JobDir, digest: str, request: IndexRequest | None = None) -> IndexInfo | None:
    """Promote and return the newest whole build that was asked for, whose merge was killed just before promoting.

    A refused build is returned as it is, if exactly the same was asked for again.
    """
    for info in builds.whole_builds(job):
        if info.covers(digest, request) and (request is not None or not info.refused):
            try:
                builds.check_files(job, info, checksums=True)
            except CorruptFile:
                continue
            if not info.refused:
                builds.promote(job, info.build)
            return info
    return None


def is_current(job: JobDir, build: str) -> bool:
    """Whether `build` is the promoted one; False if CURRENT names no build."""
    try:
        return builds.current_build(job) == build
    except CorruptFile:
        return False


def claim(job: JobDir, digest: str, made_of: Mapping[str, Any], work: Path) -> str:
    """The name of a new build, or of one that a killed merge left and that is `made_of` the same.

    A new one's number is above all others, also when two merges ask at once. Its files are to be made in the directory
    of that name in `work`: the job's own of all builds, or of a job in a store one on this machine.
    """
    if job.in_store:  # There nothing but a file that is written first says whose a name is.
        return _claim_in_store(job, digest, made_of, work)
    job.index_dir.mkdir(parents=True, exist_ok=True)
    for build in reversed(builds.build_names(job)):
        if not builds.is_whole(job, build) and claim_of(job.build_dir(build)) == made_of:
            return build
    while True:
        build = builds.next_build_name(job, digest)
        try:
            job.build_dir(build).mkdir()
        except FileExistsError:
            continue
        _write_claim(job.build_dir(build), made_of)
        return build


def is_trained(job: JobDir, made_of: Mapping[str, Any]) -> bool:
    """Whether the shards of a build that is `made_of` this are being filled: its embeddings were compared before."""
    names = [] if job.in_store or "shards" not in made_of else builds.build_names(job)
    return any(
        claim_of(job.build_dir(build)) == made_of and (job.build_dir(build) / TRAINED_FILE).is_file()
        for build in names
        if not builds.is_whole(job, build)
    )


def _claim_in_store(job: JobDir, digest: str, made_of: Mapping[str, Any], work: Path) -> str:
    """As `claim`. In the store the claim names its owner: two merges that ask at once may be made of the same."""
    left = sorted(files.directories_in(work), key=builds.build_number, reverse=True)
    for build in left:
        # A later merge, of another machine, has removed the claims that it found.
        claimed = claim_of(work / build) == made_of and claim_of(job.build_dir(build)) is not None
        if claimed and not builds.is_whole(job, build):
            return build
    shutil.rmtree(work, ignore_errors=True)
    build, mine = "", {**made_of, "by": uuid.uuid4().hex}
    while True:
        build = builds.next_build_name(job, digest, above=builds.build_number(build))
        _write_claim(job.build_dir(build), mine, keep_first=True)
        if claim_of(job.build_dir(build)) == mine:
            _write_claim(work / build, made_of)
            return build


def _write_claim(directory: Path, made_of: Mapping[str, Any], *, keep_first: bool = False) -> None:
    data = (json.dumps(made_of, indent=2) + "\n").encode()
    files.write_bytes(directory / builds.CLAIM_FILE, data, keep_first=keep_first)


def remove_stale(job: JobDir, build: str) -> None:
    """Remove what killed merges left: directories without index.json that are older than `build`, a truncated CURRENT,
    and the files from which whole builds were filled.
    """
    files.remove_leftovers(job.current)
    for name in builds.build_names(job):
        if builds.is_whole(job, name):
            finish(job, name)
        # A merge that runs at the same time by mistake has the higher number at worst, and keeps its directory.
        elif builds.build_number(name) < builds.build_number(build):
            files.remove_all(job.build_dir(name))


def finish(job: JobDir, build: str) -> None:
    """Remove from a whole build the files for resuming, and what killed merges were writing."""
    directory = job.build_dir(build)
    shards = shards_in(files.names_in(directory))
    left = [builds.FILLING_FILE, TRAINED_FILE, *map(filling_file, shards), builds.CLAIM_FILE]
    for name in left:
        (directory / name).unlink(missing_ok=True)
    for name in (
        *left,
        builds.INDEX_FILE,
        *map(shard_file, shards),
        builds.IMAGES_FILE,
        ANSWERS_FILE,
        CALIBRATION_FILE,
        builds.INFO_FILE,
    ):
        files.remove_leftovers(directory / name)


def give_up(job: JobDir, build: str) -> None:
    """Remove a build that failed, unless it is the promoted one."""
    if not is_current(job, build):
        files.remove_all(job.build_dir(build))
