"""From the sealed partitions of a job to a promoted index: check, train, add, measure, promote."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared import builds, files, ledger
from shared.builds import IndexInfo
from shared.errors import CorruptFile, JobError
from shared.jobdir import JobDir
from shared.ledger import Seal
from shared.manifest import Manifest
from shared.settings import Settings
from workers import build_dirs, index, recall
from workers.index import IndexPlan
from workers.recall import Width
from workers.search import Searcher
from workers.stored import BLOCK_ROWS, Floats, Images, StoredEmbeddings, sealed_images, widen, write_images

Report = Callable[[str, float], None]
"""Called with the phase (checking, training, adding, measuring or promoting) and how much of it is done, 0 to 1."""

MOST_DEPTH: Final = 1_600
"""Candidates beyond which a build does not deepen the exact rerank to reach its recall; settings may ask for more."""

QUERIES: Final = 500
SEED: Final = 0


def merge(
    job: JobDir,
    manifest: Manifest,
    settings: Settings,
    report: Report,
    choose: Callable[[int, int], IndexPlan] = index.choose_index,
) -> IndexInfo:
    """Build, measure and promote the index over all sealed partitions of a job, in memory that does not grow with it.

    Returns what is promoted already when that covers the same embeddings. A merge that is killed leaves CURRENT as it
    was; the next one removes what it left behind. One merge of a job runs at a time: the caller keeps others out.
    `choose` makes the plan from the number of embeddings and their dimension.

    Raises JobError when a partition is not sealed or no image was embedded, CorruptFile when a sealed file is not what
    its seal says or `embedded + failed = listed` does not hold by id, FingerprintMismatch for another model.
    """
    seals = list(ledger.sealed(job, manifest))
    _require_all(job, manifest, seals)
    for seal in seals:
        if job.chunk_dir(seal.partition).exists():  # Of a worker that was killed between its seal and their removal.
            ledger.remove_chunks(job, seal.partition)
    digest = builds.ledger_digest(seals)
    current = build_dirs.usable(job, digest) or build_dirs.promoted_now(job, digest)
    build = build_dirs.claim(job, digest) if current is None else current.build
    build_dirs.remove_stale(job, build)
    if current is not None:
        return current
    directory = job.build_dir(build)
    try:
        info = _built(job, seals, settings, report, choose, directory, digest)
        report("promoting", 0.0)  # The last moment for the caller to end a merge that lost its claim.
        builds.write_info(job, info)
        builds.promote(job, build)
    except BaseException:
        if not build_dirs.is_current(job, build):
            shutil.rmtree(directory, ignore_errors=True)
        raise
    return info


def _built(
    job: JobDir,
    seals: Sequence[Seal],
    settings: Settings,
    report: Report,
    choose: Callable[[int, int], IndexPlan],
    directory: Path,
    digest: str,
) -> IndexInfo:
    """Write all files of a build but its index.json, and say what that must hold."""
    seconds: dict[str, float] = {}
    with _timed(seconds, "checking"):
        for done, seal in enumerate(seals):
            report("checking", done / len(seals))
            _check_bytes(job, seal)
        stored = StoredEmbeddings.open(job, seals)
        write_images(directory / builds.IMAGES_FILE, sealed_images(job, seals))
        images = Images.open(directory / builds.IMAGES_FILE)
        if not np.array_equal(images.ids, stored.ids):
            raise CorruptFile(f"The metadata of {job.path} changed while it was read: run `lookalike index` again.")
        report("checking", 1.0)
    plan = choose(len(stored), stored.dim)
    with _timed(seconds, "training"):
        faiss_index = _trained(plan, stored, report)
    with _timed(seconds, "adding"):
        _add_all(faiss_index, stored, report)
        index.save(faiss_index, directory / builds.INDEX_FILE)
    with _timed(seconds, "measuring"):
        truth = recall.yardstick(stored, k=10, queries=QUERIES, seed=SEED)
        stored.expect_scattered_reads()
        width, measured = recall.narrowest(
            # Hundreds of scattered rows a query, each with the pages around it, would end as the whole file.
            lambda width: recall.measure_against(
                _searcher(plan, width, faiss_index, stored, images), truth, between=stored.release
            ),
            start=Width(plan.nprobe, min(len(stored), settings.rerank_depth)),
            most=Width(plan.nlist, min(len(stored), max(MOST_DEPTH, settings.rerank_depth))),
            target=settings.recall_target,
            report=lambda reached: report("measuring", reached),
        )
    return IndexInfo(
        build=directory.name,
        type=plan.type,
        factory=plan.factory,
        ntotal=len(stored),
        dim=stored.dim,
        fingerprint=seals[0].fingerprint,
        ledger_digest=digest,
        nlist=plan.nlist,
        nprobe=width.nprobe,
        m=plan.m,
        nbits=plan.nbits,
        rerank_depth=width.depth,
        recall_at_10=measured.recall,
        recall_queries=measured.queries if measured.recall is not None else 0,
        p50_ms=measured.p50_ms,
        p99_ms=measured.p99_ms,
        seconds=seconds,
        built_at=time.time(),
        files={name: _entry(directory / name) for name in (builds.INDEX_FILE, builds.IMAGES_FILE)},
    )


def _entry(path: Path) -> dict[str, Any]:
    try:
        return {"bytes": path.stat().st_size, "sha256": files.sha256_of(path)}
    except FileNotFoundError:
        raise JobError(
            f"{path} was removed while the index was built, as another merge of the job does that starts meanwhile: "
            "`lookalike index` builds the index again where that one did not."
        ) from None


def _require_all(job: JobDir, manifest: Manifest, seals: Sequence[Seal]) -> None:
    absent = sorted(set(range(manifest.partition_count)) - {seal.partition for seal in seals})
    if absent:
        raise JobError(
            f"{len(absent)} of the {manifest.partition_count} partitions of {job.path} are not sealed (the first is "
            f"{absent[0]}), and an index covers all of them: run `lookalike index` until they are."
        )
    if not sum(seal.embedded for seal in seals):
        failed = sum(seal.failed for seal in seals)
        raise JobError(
            f"None of the {manifest.listed} images of {job.path} could be embedded, {failed} failed, so there is "
            f"nothing to build an index from: the reason of each is in {job.errors(0).parent}."
        )


def _check_bytes(job: JobDir, seal: Seal) -> None:
    """Compare a partition's embeddings and metadata with its seal, so that no flipped bit becomes a wrong answer."""
    for path in (job.img_emb(seal.partition), job.metadata(seal.partition)):
        if not path.is_file() or files.sha256_of(path) != seal.files[str(path.relative_to(job.path))]["sha256"]:
            raise CorruptFile(
                f"{path} is missing or has another checksum than its seal says: `lookalike repair {job.path}` takes "
                "the partition back, and `lookalike index` embeds it again."
            )


def _trained(plan: IndexPlan, stored: StoredEmbeddings, report: Report) -> Any:
    report("training", 0.0)
    sample = _sample(stored, plan.train_rows) if plan.train_rows else None
    report("training", 0.2)
    trained = index.train(plan, sample, SEED)
    report("training", 1.0)
    return trained


def _sample(stored: StoredEmbeddings, size: int) -> Floats:
    """`size` rows drawn across all partitions, float32 [size, d]."""
    drawn = np.sort(np.random.default_rng(SEED).choice(len(stored), size=size, replace=False))
    sample = np.empty((size, stored.dim), dtype=np.float32)
    # Ascending rows in pieces: the disk is read once, forwards.
    for start in range(0, size, BLOCK_ROWS):
        sample[start : start + BLOCK_ROWS] = widen(stored.rows(drawn[start : start + BLOCK_ROWS]))
        stored.release()
    return sample


def _add_all(faiss_index: Any, stored: StoredEmbeddings, report: Report) -> None:
    for first, block in stored.blocks():
        report("adding", first / len(stored))
        index.add(faiss_index, stored.ids[first : first + len(block)], widen(block))
    report("adding", 1.0)


def _searcher(plan: IndexPlan, width: Width, faiss_index: Any, stored: StoredEmbeddings, images: Images) -> Searcher:
    # Without a cache: it would be measured instead of the index.
    return Searcher(faiss_index, stored, images, nprobe=width.nprobe, nlist=plan.nlist, rerank_depth=width.depth)


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[phase] = round(time.monotonic() - started, 3)
