"""Write a bundle of a job, or resume it: `python -m workers.merge.export.bundle JOB BUNDLE`, JSON lines on stdout."""

import argparse
import errno
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.errors import CorruptFile, JobError, LookalikeError
from shared.job.bundle.facts import CODES_DTYPE, Bundle
from shared.job.changes.log import last_change, read_changes
from shared.job.changes.state import state_of
from shared.job.directory import JobDir
from shared.job.identity import new_identity
from shared.job.local.job_files import JobFiles
from shared.job.manifest import write_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.partition.ledger import Seal
from shared.job.source.moved import read_moved
from shared.processes.failpoints import failpoint
from shared.processes.stage import end_with_parent, exit_status, say
from workers.merge.export import beginning, build, measure, partition, small_files
from workers.merge.export.beginning import version_text
from workers.merge.export.features import features_written
from workers.merge.export.thumbnails import ThumbnailMaker, without_thumbnail
from workers.search.kept import Kept
from workers.search.searcher import Searcher
from workers.vectors.embeddings import StoredEmbeddings

Report = Callable[[str, int, int], None]
"""Called with what is done, how much of it is done, and of how much."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a bundle is to hold: thumbnails whose longer side is of so many pixels, 0 for none; and for `ThumbnailMaker`
    `in_hand` and `suspects`."""

    thumbnails: int = 0
    in_hand: int | None = None
    suspects: Sequence[int] = ()


def export(job: OpenJob, bundle: JobDir, asked: Asked, report: Report) -> dict[str, Any]:
    """Write a bundle of `job`, or finish one of the same job that was begun; its job.json comes last, and with it it is
    a bundle.

    Partitions that are done are not done again, unless the job or what is asked is another one now. The caller keeps
    others out. Returns what `Bundle` says of it, but for its files, and `images`, `additions` (images that no build
    covers), `bytes` by kind, `lost` and `renewed` (whether the job was changed meanwhile).

    Raises JobError when a partition is not sealed, nothing is left to be found or the disk is too small, NoIndexYet
    without an index, CorruptFile when a file of the job is damaged, SourceError when the photos are out of reach.
    """
    seals = list(ledger.sealed(job))
    info, covered = build.promoted(job, seals)
    moved = read_moved(job)
    maker = ThumbnailMaker(job, moved, asked.thumbnails, asked.in_hand, asked.suspects)
    if asked.thumbnails:
        maker.require_place()
    if not sum(seal.embedded for seal in seals) > _removed_embedded(job, seals):
        raise JobError(f"All embedded images of {job.path} were removed: there is nothing to search in a bundle.")
    beginning.begin(job, bundle, seals, asked.thumbnails)
    beginning.require_space(job, bundle, seals, info, asked.thumbnails)
    made = [_partition(job, bundle, seal, maker if asked.thumbnails else None, report) for seal in seals]
    small_files.copy(job, bundle)
    report("index", 0, 1)
    stored = Kept(StoredEmbeddings.open(JobFiles.of(job), seals), job.state.removed).stored
    built = build.write_build(job, bundle, info, stored, made[:covered])
    manifest = replace(job.manifest, dtype=CODES_DTYPE, identity=new_identity(), bundle=_facts(job, bundle, asked))
    opened = OpenJob(bundle.path, manifest, state_of(bundle, manifest, read_changes(bundle)))
    report("measuring", 0, 1)
    worth = measure.measure(Searcher.open(JobFiles.of(bundle), built.build, job=opened), stored)
    measured = replace(
        built,
        recall_at_10=worth.recall,
        recall_queries=worth.queries,
        p50_ms=worth.p50_ms,
        p99_ms=worth.p99_ms,
    )
    build.promote(bundle, measured)
    report("checksums", 0, 1)
    assert manifest.bundle is not None
    facts = replace(
        manifest.bundle,
        recall_at_10=worth.recall,
        queries=worth.queries,
        error_p99=round(worth.error_p99, 6),
        error_most=round(worth.error_most, 6),
        files=_entries(bundle),
    )
    failpoint("export_manifest")
    write_manifest(bundle, replace(manifest, bundle=facts))
    bundle.exporting.unlink(missing_ok=True)
    return {key: value for key, value in facts.to_json().items() if key != "files"} | {
        "images": sum(seal.embedded for seal in made),
        "additions": sum(seal.embedded for seal in made[covered:]),
        "bytes": _by_kind(facts),
        "lost": {"reasons": dict(maker.lost.reasons), "sentences": maker.lost.sentences},
        "renewed": job.renewed().state.number != job.state.number,
        "p50_ms": worth.p50_ms,
    }


def export_job(directory: JobDir, bundle: JobDir, asked: Asked, report: Report) -> dict[str, Any]:
    """As `export`, from the beginning again where a compaction took away what was being read."""
    while True:
        job = open_job(directory)
        try:
            return export(job, bundle, asked, report)
        except (CorruptFile, FileNotFoundError):
            if last_change(job) == job.state.number:
                raise


def _removed_embedded(job: OpenJob, seals: Sequence[Seal]) -> int:
    """How many of the embedded images were removed; the failed ones that were removed are not among them."""
    if not len(job.state.removed):
        return 0
    lacking = 0
    for seal in seals:
        if np.any((job.state.removed >= seal.start) & (job.state.removed < seal.stop)):
            lacking += int(np.count_nonzero(job.state.lacks(ledger.check_ids(job, seal))))
    return lacking


def _partition(job: OpenJob, bundle: JobDir, seal: Seal, maker: ThumbnailMaker | None, report: Report) -> Seal:
    """A partition of the bundle: what is there, or made now."""
    number = seal.partition
    report("images", seal.start, job.listed)
    if bundle.seal(number).is_file():
        return ledger.read_seal(bundle, number)
    failpoint("export_partition")
    rows = partition.write_tables(job, bundle, seal)
    partition.write_codes(job, bundle, seal)
    if maker is not None:
        done = 0

        def made() -> None:
            nonlocal done
            done += 1
            report("images", seal.start + done, job.listed)

        maker.write(bundle, job.partition(number), rows, made)
    with features_written(job, bundle, seal, rows) as features:
        return partition.write_seal(bundle, seal, features)


def _facts(job: OpenJob, bundle: JobDir, asked: Asked) -> Bundle:
    """What the bundle says of itself, before it is measured."""
    numbers = [one.number for one in job.partitions]
    return Bundle(
        job=str(job.path),
        job_identity=job.manifest.identity,
        change=job.state.number,
        removed=len(job.state.removed),
        recall_at_10=None,
        queries=0,
        error_p99=0.0,
        error_most=0.0,
        thumbnails=asked.thumbnails,
        without_thumbnail=without_thumbnail(bundle, numbers) if asked.thumbnails else 0,
        at=time.time(),
        made_by=version_text(),
        files={},
    )


def _entries(bundle: JobDir) -> dict[str, dict[str, Any]]:
    apart = (bundle.spec, bundle.exporting, bundle.creation_lock)
    found = sorted(path for path, ours in bundle.files() if ours and path not in apart)
    return {path.relative_to(bundle.path).as_posix(): partition.entry_of(path) for path in found}


def _by_kind(facts: Bundle) -> dict[str, int]:
    """The bytes of the codes, the index, the thumbnails, the features and all other files."""
    kinds = {"img_emb": "codes", "index": "index", "thumbnails": "thumbnails", "features": "features"}
    found = dict.fromkeys((*kinds.values(), "other"), 0)
    for name, entry in facts.files.items():
        found[kinds.get(name.partition("/")[0], "other")] += int(entry["bytes"])
    return found


class _Teller:
    """Prints how far the bundle is, about twice a second and at each new thing that is done."""

    def __init__(self) -> None:
        self._said, self._what = float("-inf"), ""

    def __call__(self, what: str, done: int, of: int) -> None:
        now = time.monotonic()
        if what != self._what or now - self._said >= 0.5:
            self._said, self._what = now, what
            say(doing=what, done=done, of=of)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the bundle; each line of stdout says how far it is, or is the result or an error."""
    parser = argparse.ArgumentParser(prog="python -m workers.merge.export.bundle")
    parser.add_argument("job")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--thumbnails", type=int, default=0)
    parser.add_argument("--in-hand", type=int, metavar="FD")
    parser.add_argument("--suspect", type=int, metavar="ID", action="append", default=[])
    options = parser.parse_args(arguments)
    bundle = JobDir.at(options.bundle)

    def run() -> None:
        asked = Asked(options.thumbnails, options.in_hand, options.suspect)
        try:
            say(result=export_job(JobDir.at(options.job), bundle, asked, _Teller()))
        except (BrokenPipeError, LookalikeError):
            raise
        except OSError as error:
            todo = "make room" if error.errno in _FULL else "see to its disk or mount"
            raise JobError(
                f"{bundle.path} does not take the bundle ({error.strerror or error}): {todo}, and do the same again; "
                "it goes on after the last whole partition."
            ) from error

    return exit_status(run)


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main())
