"""From the sealed partitions of a job to a promoted index: check, train, add, measure, promote."""
# Over 250 lines: a merge is one sequence, and whoever changes a step has to see what comes before and after.

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.errors import CorruptFile, JobError, LookalikeError
from shared.errors.remedy import Remedy
from shared.job.altered_copies import Copies, usable_copies
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.calibration import Calibration, none_measured, write_calibration
from shared.job.index.filling import filling_of
from shared.job.index.request import IndexRequest, read_index_request
from shared.job.index.shards import Range, shard_file
from shared.job.local.job_files import Entry, JobFiles
from shared.job.manifest import load_manifest, maker_of
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.ledger import Seal
from shared.processes import memory
from shared.settings import Settings
from shared.storage import files
from workers.evaluate import recall
from workers.evaluate.accuracy import accuracy_at_10
from workers.evaluate.calibration.calibrate import calibrated
from workers.merge import answers, directories, fill, growth, shards, tune
from workers.merge.growth import Former
from workers.merge.progress import MergeControl, step
from workers.merge.shards import ShardsWanted
from workers.search.candidates.width import Width
from workers.search.searcher import Searcher
from workers.vectors.ann import faiss_index
from workers.vectors.ann.plan import IndexPlan
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.image_list import Images, sealed_images, write_images

QUERIES: Final = 500
SEED: Final = 0

WORSE_BY: Final = 0.01
"""Recall by which a build may fall short of the promoted one, where it misses what was asked for, and be promoted."""


def merge(
    job: OpenJob,
    settings: Settings,
    control: MergeControl,
    choose: Callable[[int, int, IndexRequest], IndexPlan] = faiss_index.plan_for,
    *,
    elsewhere: bool = False,
) -> IndexInfo:
    """Build, measure and promote the index over all sealed partitions of a job, in memory that does not grow with it.

    The index is the one that the job's request asks for. Returns what is promoted already when that is it. A merge that
    is killed leaves CURRENT as it was, and the next one continues where it stood, less half a minute. One merge of a
    job runs at a time: the caller keeps others out. `choose` makes the plan from the number of embeddings, their
    dimension and the request. A build that is worse than the promoted one is kept and not promoted; its `refused` says
    why. With `elsewhere`, shards are left to `shards.fill_shard`, and this raises ShardsWanted until they are full;
    only those of a job in a store are filled here all the same, where they are on this machine.

    Raises JobError when a partition is not sealed or no image was embedded, CorruptFile when a sealed file is not what
    its seal says or `embedded + failed = listed` does not hold by id, FingerprintMismatch for another model,
    SettingsError for a request that can't be fulfilled, Stopped as `step` does.
    """
    seals = list(ledger.sealed(job))
    _require_all(job, seals)
    left = set(job.chunk_partitions())
    for seal in seals:
        if seal.partition in left:  # Of a worker that was killed between its seal and their removal.
            ledger.remove_chunks(job, seal.partition)
    digest = builds.ledger_digest(seals)
    asked = read_index_request(job)
    current = directories.usable(job, digest, asked) or directories.promoted_now(job, digest, asked)
    if current is not None:
        directories.remove_stale(job, current.build)
        return current
    request = asked or IndexRequest(recall=settings.recall_target)
    seconds: dict[str, float] = {}
    job_files = JobFiles.of(job, settings)
    rows = sum(seal.embedded for seal in seals)
    plan = choose(rows, max(seal.dim for seal in seals), request)
    with _timed(seconds, "checking"):
        former = growth.former(job, job_files, seals, request, plan)
        if former is not None:
            plan = former.plan(plan)
        ranges = shards.ranges_for(plan, rows, former)
        made_of: dict[str, Any] = {"digest": digest, "plan": asdict(plan), "seed": SEED}
        made_of |= {} if former is None else {"grown_from": former.info.build}
        made_of |= {"wish": request.to_json(), "shards": [list(shard) for shard in ranges]} if ranges else {}
        known = frozenset() if former is None else former.known
        if directories.is_trained(job, made_of):
            known = frozenset(seal.partition for seal in seals)
        # What a build holds already that grows, or whose shards are filled, was compared before.
        stored = _checked(job_files, seals, known, control)
        copies = _copies(job, digest)
    work = job_files.work_dir
    build = directories.claim(job, digest, made_of, work)
    directories.remove_stale(job, build)
    try:
        queries = recall.drawn(stored, QUERIES, SEED)
        if ranges:
            shards.begin(work / build, plan, ranges, former, stored, queries, SEED, control, seconds)
            wanted = filling_of(job, build) if elsewhere else None
            if wanted is not None and wanted.missing:
                raise ShardsWanted(wanted)
        info, searcher = _built(
            job, seals, stored, copies, plan, former, request, control, work, build, digest, seconds, ranges
        )
        if copies is not None:
            with _timed(seconds, "calibrating"):
                write_calibration(job, _calibration(job, info, searcher, copies, settings, control))
        job_files.publish(info, lambda share: step(control, "promoting", share))
        step(control, "promoting", 0.0)  # The last moment for the caller to end a merge that lost its claim.
        builds.write_info(job, info)
        if not info.refused:
            builds.promote(job, build)
        job_files.keep(info)
        directories.finish(job, build)
    except (CorruptFile, JobError):
        directories.give_up(job, build)  # Whatever else ends it, the next merge continues with what is there.
        raise
    return info


def _checked(
    job_files: JobFiles, seals: Sequence[Seal], known: frozenset[int], control: MergeControl
) -> StoredEmbeddings:
    """The embeddings of all partitions, once each file was compared with its seal, but for those that are `known`."""
    # Two at a time: hashing leaves the disk waiting, and the disk the hashing.
    with ThreadPoolExecutor(2, thread_name_prefix="check") as pool:
        checks = [pool.submit(_check_bytes, job_files, seal) for seal in seals if seal.partition not in known]
        try:
            for done, check in enumerate(checks):
                step(control, "checking", done / len(checks))
                check.result()
        finally:
            pool.shutdown(cancel_futures=True)
    step(control, "checking", 1.0)
    return StoredEmbeddings.open(job_files, seals)


def _copies(job: JobDir, digest: str) -> Copies | None:
    """The altered copies to measure accuracy by, where there are any of these very embeddings' images."""
    copies = usable_copies(job, digest)
    return copies if copies is not None and len(copies.ids) else None


def _built(
    job: OpenJob,
    seals: Sequence[Seal],
    stored: StoredEmbeddings,
    copies: Copies | None,
    plan: IndexPlan,
    former: Former | None,
    request: IndexRequest,
    control: MergeControl,
    work: Path,
    build: str,
    digest: str,
    seconds: dict[str, float],
    ranges: Sequence[Range],
) -> tuple[IndexInfo, Searcher]:
    """Write all files of a build but its index.json into its directory in `work`, and say what that must hold; with
    what searches it as it will be."""
    directory = work / build
    write_images(directory / builds.IMAGES_FILE, sealed_images(job, seals))
    images = Images.open(directory / builds.IMAGES_FILE)
    if not np.array_equal(images.ids, stored.ids):
        raise CorruptFile(
            f"The metadata of {job.path} changed while it was read",
            remedy=Remedy(maker_of(job), str(job.path), "{} reads it again"),
        )
    if former is not None and not ranges:
        former.begin(directory)
    with memory.Peak() as peak:
        if ranges:
            index = shards.filled(directory, ranges, stored, control, plan.dim, seconds)
        else:
            queries = recall.drawn(stored, QUERIES, SEED)
            index = fill.filled(directory, plan, stored, queries, SEED, control, seconds)
        with _timed(seconds, "measuring"):
            step(control, "measuring", 0.0)

            def searcher(width: Width) -> Searcher:
                # Without a cache: it would be measured instead of the index.
                return Searcher(index, stored, images, width=width, nlist=plan.nlist)

            def measure(width: Width, some: recall.Yardstick) -> recall.Measurement:
                # Hundreds of scattered rows a query, each with the pages around it, would end as the whole file.
                stored.expect_scattered_reads()
                return recall.measure_against(searcher(width), some, between=stored.release)

            tuned, known = None, answers.known_of(job, former, stored)
            if former is not None:
                some, known = answers.yardstick(stored, known, 10, growth.QUERIES, SEED)
                measured = measure(former.width, some)
                tuned = tune.Tuned(former.width, measured, [(former.width, measured)])
            if tuned is None or (former is not None and not former.serves(tuned, request)):
                truth, known = answers.yardstick(stored, known, 10, QUERIES, SEED)
                stored.expect_scattered_reads()
                told = partial(step, control, "measuring")
                tuned = tune.tune(plan, index, stored, truth, request.recall, measure, told)
            serving = searcher(tuned.width)
            found = {} if copies is None else accuracy_at_10(serving, copies)
    promoted = directories.usable(job, digest)
    measured = tuned.measured
    info = IndexInfo(
        build=build,
        type=plan.type,
        factory=plan.factory,
        ntotal=len(stored),
        dim=stored.dim,
        fingerprint=seals[0].fingerprint,
        ledger_digest=digest,
        nlist=plan.nlist,
        nprobe=tuned.width.nprobe,
        m=plan.m,
        nbits=plan.nbits,
        rerank_depth=tuned.width.depth,
        list_margin=tuned.width.list_margin,
        depth_ratio=tuned.width.depth_ratio,
        recall_at_10=measured.recall,
        recall_queries=measured.queries if measured.recall is not None else 0,
        p50_ms=measured.p50_ms,
        p99_ms=measured.p99_ms,
        seconds=seconds,
        built_at=time.time(),
        files={name: _entry(directory / name) for name in (*_index_files(ranges), builds.IMAGES_FILE)},
        format=builds.FORMAT_OF_SHARDS if ranges else builds.FORMAT,
        shards=[list(shard) for shard in ranges],
        shard_rows=plan.shard_rows,
        wish=request.to_json(),
        train_rows=plan.train_rows,
        accuracy_at_10=found,
        accuracy_copies=0 if copies is None else len(copies.ids) // max(1, len(found)),
        peak_rss_bytes=peak.bytes(),
        sweep=[_point(width, found) for width, found in tuned.sweep],
        former=promoted.build if promoted else "",
        trained_for=0 if former is None else former.trained_for,
        grown_from="" if former is None else former.info.build,
        refused=_why_refused(promoted, measured.recall, request, build),
    )
    answers.keep(job, info, known, SEED)
    return info, serving


def _calibration(
    job: OpenJob, info: IndexInfo, searcher: Searcher, copies: Copies, settings: Settings, control: MergeControl
) -> Calibration:
    """What the build's similarities were measured to mean. It is not needed: where that fails, it says why."""
    step(control, "calibrating", 0.0)
    try:
        return calibrated(job, info.build, searcher, copies, info.ntotal, settings, control.require_going)
    except (LookalikeError, OSError) as error:
        return none_measured(info.build, info.fingerprint, f"Nothing could be measured: {error}")


def _index_files(ranges: Sequence[Range]) -> list[str]:
    return [shard_file(number) for number in range(len(ranges))] or [builds.INDEX_FILE]


def _point(width: Width, found: recall.Measurement) -> dict[str, float]:
    return {
        "nprobe": width.nprobe,
        "depth": width.depth,
        "list_margin": width.list_margin,
        "depth_ratio": width.depth_ratio,
        "recall_at_10": found.recall or 0.0,
        "p50_ms": found.p50_ms,
        "p99_ms": found.p99_ms,
    }


def _why_refused(promoted: IndexInfo | None, reached: float | None, request: IndexRequest, build: str) -> str:
    """Why a build that reached this recall is not promoted over the one that serves the same embeddings, or ""."""
    if promoted is None or promoted.recall_at_10 is None or reached is None:
        return ""
    if reached >= min(request.recall, promoted.recall_at_10) - WORSE_BY:
        return ""
    return (
        f"The index asked for ({request.index}, recall@10 {request.recall:g}) was built as {build} and finds less: "
        f"recall@10 {reached:.3f}, where {promoted.build} ({promoted.type}), which serves now, has "
        f"{promoted.recall_at_10:.3f}. "
        "It was not promoted."
    )


def _entry(path: Path) -> dict[str, Any]:
    try:
        return {"bytes": path.stat().st_size, "sha256": files.sha256_of(path)}
    except FileNotFoundError:
        raise JobError(
            f"{path} was removed while the index was built, as another merge of the job does that starts meanwhile",
            remedy=Remedy("make", does="builds the index again where that one did not"),
        ) from None


def _require_all(job: OpenJob, seals: Sequence[Seal]) -> None:
    manifest = job.manifest
    absent = sorted({one.number for one in job.partitions} - {seal.partition for seal in seals})
    if absent:
        raise JobError(
            f"{len(absent)} of the {job.partition_count} partitions of {job.path} are not sealed (the first is "
            f"{absent[0]}), and an index covers all of them",
            remedy=Remedy(manifest.maker, str(job.path), "{} goes on until they are"),
        )
    if not sum(seal.embedded for seal in seals):
        failed = sum(seal.failed for seal in seals)
        raise JobError(
            f"None of the {job.listed} images of {job.path} could be embedded, {failed} failed, so there is "
            f"nothing to build an index from: the reason of each is in {job.errors(0).parent}."
        )


def _check_bytes(job_files: JobFiles, seal: Seal) -> None:
    """Compare a partition's embeddings and metadata with its seal, so that no flipped bit becomes a wrong answer."""
    job = job_files.job

    def compare(path: Path, entry: Entry) -> None:
        if not path.is_file() or files.sha256_of(path) != entry["sha256"]:
            raise CorruptFile(
                f"{path} is missing or has another checksum than its seal says",
                remedy=Remedy("repair", str(job.path), "takes the partition back", then=load_manifest(job).again()),
            )

    for path in (job.img_emb(seal.partition), job.metadata(seal.partition)):
        job_files.local(path, seal.entry(job, path), compare=compare)


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[phase] = round(time.monotonic() - started, 3)
