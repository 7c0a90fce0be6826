import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from coordinator.jobs.progress import Progress, ProgressReader
from shared.errors import CorruptFile, FingerprintMismatch
from shared.job import altered_copies
from shared.job.changes.log import Change, write_change
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.calibration import (
    CALIBRATION_FILE,
    JOB,
    UNMEASURED,
    Calibration,
    VerdictRow,
    VerdictsMeasured,
    write_calibration,
)
from shared.job.opened import OpenJob, with_manifest
from shared.job.partition import checkpoint, ledger
from shared.job.partition.checkpoint import ImageRow
from shared.job.partition.features.counted import FeaturesCount
from shared.job.partition.features.wanted import want_features
from shared.models import ModelSpec
from shared.models.fusion import FusionTrial
from shared.processes.load import STAGES, StageLoad
from tests.support.builds import build
from tests.support.make_job import image_path, make_job, model_spec, unit
from tests.support.progress import NEW, SEALED, UNDER_WAY

DIM = 16


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of 100 images in partitions of 50 and chunks of 10, with nothing embedded yet."""
    empty = make_job(tmp_path / "job", listed=100, partition_size=50, sealed=())
    return empty.job


def commit(
    job: OpenJob,
    partition: int,
    chunk: int,
    seconds: float = 2.0,
    failed: int = 0,
    load: StageLoad | None = None,
) -> None:
    """Commit one chunk whose last `failed` images have failed."""
    span = job.chunks(job.partition(partition))[chunk]
    good = len(span) - failed
    rows = [
        ImageRow(image, image_path(image), 8, 8, 9, "0" * 64, "ok", None)
        if image - span.start < good
        else ImageRow(image, image_path(image), None, None, None, None, "vanished", "Gone.")
        for image in range(span.start, span.stop)
    ]
    vectors = unit([[1.0] * DIM] * good if good else [[1.0] * DIM])[:good].astype("float16")
    checkpoint.commit_chunk(job, span, rows, vectors, seconds, load)


def seal(job: OpenJob, partition: int, seconds: float = 2.0, failed: int = 0) -> None:
    for chunk in checkpoint.missing_chunks(job, job.partition(partition)):
        commit(job, partition, chunk.number, seconds, failed)
    ledger.seal_partition(job, job.partition(partition))


def test_a_new_job_has_everything_before_it(job: OpenJob) -> None:
    progress = ProgressReader(job).read()
    assert (progress.job, progress.model) == (str(job.path), job.manifest.model.fingerprint)
    assert (progress.listed, progress.embedded, progress.failed, progress.pending, progress.done) == (100, 0, 0, 100, 0)
    assert progress.partitions == {"sealed": 0, "started": 0, "waiting": 2}
    assert (progress.images_per_second, progress.eta_seconds, progress.index) == (None, None, None)
    assert not progress.complete
    assert not progress.index_is_current


def test_chunks_and_seals_are_counted_once_and_together(job: OpenJob) -> None:
    reader = ProgressReader(job)
    commit(job, 1, 0, failed=3)
    commit(job, 1, 4)
    progress = reader.read()
    assert (progress.embedded, progress.failed, progress.pending) == (17, 3, 80)
    assert progress.partitions == {"sealed": 0, "started": 1, "waiting": 1}
    seal(job, 0, failed=1)
    progress = reader.read()
    assert (progress.embedded, progress.failed, progress.done, progress.pending) == (17 + 45, 3 + 5, 70, 30)
    assert progress.partitions == {"sealed": 1, "started": 1, "waiting": 0}
    seal(job, 1)
    progress = reader.read()
    assert (progress.embedded, progress.failed, progress.pending) == (92, 8, 0)
    assert progress.partitions == {"sealed": 2, "started": 0, "waiting": 0}
    assert progress.complete
    assert progress.eta_seconds is None


def test_the_rate_is_that_of_the_last_commits_and_tells_the_time_left(job: OpenJob) -> None:
    reader = ProgressReader(job)
    commit(job, 0, 0, seconds=2.0)
    progress = reader.read()
    assert progress.images_per_second == pytest.approx(10 / 2)
    assert progress.eta_seconds == pytest.approx(90 / 5)
    commit(job, 1, 0, seconds=1.0)  # Another worker, at work on another partition at the same time.
    progress = reader.read()
    assert progress.images_per_second == pytest.approx(5 + 10)
    assert progress.eta_seconds == pytest.approx(80 / 15)


def test_a_slow_start_is_forgotten_after_five_chunks(tmp_path: Path) -> None:
    empty = make_job(tmp_path / "job", listed=100, partition_size=100, sealed=())
    for chunk, seconds in enumerate([1_000.0, 2.0, 2.0, 2.0, 2.0]):
        commit(empty.job, 0, chunk, seconds)
    assert ProgressReader(empty.job).read().images_per_second == pytest.approx(50 / 1_008)
    commit(empty.job, 0, 5, 2.0)
    assert ProgressReader(empty.job).read().images_per_second == pytest.approx(50 / 10)


@pytest.mark.parametrize(
    ("seconds", "later", "expected"),
    [(2.0, 55, 5.0), (2.0, 65, None), (30.0, 65, 1 / 3), (30.0, 95, None), (2.0, -500, 5.0)],
    ids=["fresh", "stale", "slow and fresh", "slow and stale", "clock behind"],
)
def test_only_recent_commits_make_a_rate(job: OpenJob, seconds: float, later: float, expected: float | None) -> None:
    commit(job, 0, 0, seconds)
    at = checkpoint.chunk_summary(job, 0, 0).committed_at
    progress = ProgressReader(job, now=lambda: at + later).read()
    assert progress.images_per_second == (None if expected is None else pytest.approx(expected))
    assert (progress.eta_seconds is None) == (expected is None)


def test_between_two_partitions_the_one_just_sealed_tells_the_rate(job: OpenJob) -> None:
    seal(job, 0, seconds=2.0)
    assert ProgressReader(job).read().images_per_second == pytest.approx(50 / 10)
    assert ProgressReader(job, now=lambda: time.time() + 65).read().images_per_second is None


def test_a_partition_that_is_sealed_while_we_read_is_not_lost(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    for chunk in range(5):
        commit(job, 0, chunk)
    reader, summary = ProgressReader(job), checkpoint.chunk_summary
    read: list[int] = []

    def sealed_meanwhile(of: JobDir, partition: int, chunk: int) -> checkpoint.ChunkSummary:
        read.append(chunk)
        if len(read) == 3:
            ledger.seal_partition(job, job.partition(0))
        return summary(of, partition, chunk)

    monkeypatch.setattr(checkpoint, "chunk_summary", sealed_meanwhile)
    progress = reader.read()
    assert (progress.done, progress.partitions["sealed"]) == (50, 1)


def test_a_chunk_that_can_not_be_read_counts_as_not_committed(job: OpenJob) -> None:
    commit(job, 0, 0)
    commit(job, 0, 1)
    job.chunk(0, 1).write_bytes(b"damaged")
    assert ProgressReader(job).read().done == 10


def test_what_is_committed_is_read_once(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(job, 1, 0)
    seal(job, 0)
    reads: list[str] = []

    def watched(module: ModuleType, name: str) -> None:
        real: Callable[..., object] = getattr(module, name)

        def call(*args: object) -> object:
            reads.append(name)
            return real(*args)

        monkeypatch.setattr(module, name, call)

    watched(checkpoint, "chunk_summary")
    watched(ledger, "read_seal")
    reader = ProgressReader(job)
    first = reader.read()
    seen = list(reads)
    assert sorted(seen) == ["chunk_summary", "read_seal"]
    assert replace(reader.read(), images_per_second=None, eta_seconds=None) == replace(
        first, images_per_second=None, eta_seconds=None
    )
    assert reads == seen


def test_a_seal_that_was_deleted_is_missing_again(job: OpenJob) -> None:
    seal(job, 0)
    reader = ProgressReader(job)
    assert reader.read().done == 50
    job.seal(0).unlink()
    assert reader.read().done == 0
    assert reader.read().partitions == {"sealed": 0, "started": 0, "waiting": 2}


def test_a_seal_of_another_model_or_partition_is_an_error(job: OpenJob) -> None:
    seal(job, 0)
    with pytest.raises(FingerprintMismatch):
        ProgressReader(with_manifest(job, replace(job.manifest, model=model_spec("other")))).read()
    job.seal(0).rename(job.seal(1))
    with pytest.raises(CorruptFile, match="which is not partition 1"):
        ProgressReader(job).read()


def test_an_index_is_current_when_it_covers_all_that_is_sealed(job: OpenJob) -> None:
    seal(job, 0)
    info = build(job)
    reader = ProgressReader(job)
    progress = reader.read()
    assert progress.index == info
    assert not progress.index_is_current  # It covers all that is sealed, but not all is sealed yet.
    seal(job, 1)
    assert not reader.read().index_is_current
    newer = build(job, "0002-ab12cd34")
    progress = reader.read()
    assert progress.index == newer
    assert progress.index_is_current


def test_copies_are_done_when_those_of_what_is_sealed_are_there_or_none_are_needed(
    job: OpenJob,
) -> None:
    reader = ProgressReader(job)
    seal(job, 0)
    none = altered_copies.none_of(job.manifest.model.fingerprint, builds.ledger_digest(ledger.sealed(job)), 0, "Gone.")
    altered_copies.write_copies(job, none)
    assert not reader.read().copies_done, "not all is sealed"
    seal(job, 1)
    assert not reader.read().copies_done, "they are of other embeddings"
    digest = builds.ledger_digest(ledger.sealed(job))
    altered_copies.write_copies(job, replace(none, ledger_digest=digest))
    assert reader.read().copies_done
    job.copies.write_bytes(b"damaged")
    assert not reader.read().copies_done
    job.copies.unlink()
    assert not reader.read().copies_done
    build(job)
    assert reader.read().copies_done, "a job whose index is current is left as it is"


def test_copies_are_read_once(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    seal(job, 0)
    seal(job, 1)
    digest = builds.ledger_digest(ledger.sealed(job))
    altered_copies.write_copies(job, altered_copies.none_of(job.manifest.model.fingerprint, digest, 0, "Gone."))
    reader = ProgressReader(job)
    assert reader.read().copies_done
    monkeypatch.setattr("coordinator.jobs.progress.usable_copies", None)
    assert reader.read().copies_done


def test_of_imported_vectors_no_copies_are_made(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelSpec, "is_imported", property(lambda spec: True))
    seal(job, 0)
    assert not ProgressReader(job).read().copies_done
    seal(job, 1)
    assert ProgressReader(job).read().copies_done


def test_the_json_is_the_documented_one(job: OpenJob) -> None:
    reader = ProgressReader(job)
    commit(job, 0, 0, seconds=3.0, failed=1)
    assert json.loads(json.dumps(reader.read().to_json())) == {
        "job": str(job.path),
        "model": job.manifest.model.fingerprint,
        "sources": [{"kind": "list", "location": "made up"}],
        "listed": 100,
        "embedded": 9,
        "failed": 1,
        "pending": 90,
        "removed": 0,
        "purged": 0,
        "reclaimable_bytes": 0,
        "beside_index": 0,
        "partitions": {"sealed": 0, "started": 1, "waiting": 1},
        "images_per_second": 3.3,
        "eta_seconds": 27,
        "bottleneck": None,
        "busy": None,
        "filling": None,
        "index": None,
        "refused": None,
        "bundle": None,
        "copies": None,
        "calibration": None,
        "fusion": None,
    }
    seal(job, 0)
    seal(job, 1)
    build(job)
    table = reader.read().to_json()
    assert (table["images_per_second"], table["eta_seconds"], table["pending"]) == (None, None, 0)
    assert table["index"] == {
        "build": "0001-ab12cd34",
        "ntotal": 90,
        "type": "Flat",
        "recall_at_10": 1.0,
        "p50_ms": 0.25,
        "shards": 1,
    }
    assert table["calibration"] == {
        "measured": "",
        "reason": UNMEASURED,
        "images": 0,
        "copies": 0,
        "originals": 0,
        "bound": 0.0,
        "nothing_there": 0.0,
        "nothing_absent": 0.0,
        "missed": 1.0,
        "verdicts": dict.fromkeys(("copies", "images", "strangers", "unclear", "proven", "false"), 0) | {"reason": ""},
    }


def test_what_the_build_measured_is_said_without_its_curve_and_what_came_of_fusion(job: OpenJob) -> None:
    seal(job, 0)
    seal(job, 1)
    build(job)
    info = builds.current_info(job)
    assert info is not None
    rows = [VerdictRow("flip", 8, 0, 5, 2, 0, 1, 24)]
    measured = Calibration(
        info.build, info.fingerprint, JOB, images=90, copies=288, originals=48, curve=((0.0, 0.01), (9.0, 0.9)),
        bound=4.5, nothing_there=0.01, nothing_absent=0.7, missed=0.02, verdicts=VerdictsMeasured(rows, 8),
    )  # fmt: skip
    write_calibration(job, measured)
    tried = FusionTrial(False, 70, 1_050, 0.8, 0.79, "it finds no more")
    progress = replace(ProgressReader(job).read(), fusion=tried)
    table = progress.to_json()
    assert table["calibration"] == {
        "measured": "job",
        "reason": "",
        "images": 90,
        "copies": 288,
        "originals": 48,
        "bound": 4.5,
        "nothing_there": 0.01,
        "nothing_absent": 0.7,
        "missed": 0.02,
        "verdicts": {"copies": 8, "images": 8, "strangers": 24, "unclear": 0, "proven": 7, "false": 1, "reason": ""},
    }
    assert table["fusion"] == tried.to_json()
    (job.build_dir(info.build) / CALIBRATION_FILE).write_text("{}")
    table = ProgressReader(job).read().to_json()
    assert table["calibration"]["measured"] == ""
    assert "does not hold what was measured of the build" in table["calibration"]["reason"]


def test_done_and_pending_make_all_that_is_listed() -> None:
    progress = Progress("job", "model", 10, 6, 1, {"sealed": 1, "started": 0, "waiting": 0}, None, None, None, False)
    assert (progress.done, progress.pending, progress.complete) == (7, 3, True)


def load_of(model: float) -> StageLoad:
    return StageLoad(dict.fromkeys(STAGES, 0.1) | {"model": model}, dict.fromkeys(STAGES, 0.0) | {"model": model})


def test_the_rate_comes_with_how_busy_the_stages_were_by_the_last_commits(job: OpenJob) -> None:
    reader = ProgressReader(job)
    commit(job, 0, 0, seconds=1.0, load=load_of(1.0))
    commit(job, 1, 0, seconds=3.0, load=load_of(0.2))
    progress = reader.read()
    assert progress.load is not None
    assert progress.load.busy["model"] == pytest.approx(0.4)
    table = progress.to_json()
    assert (table["bottleneck"], table["busy"]["model"]) == ("model", 0.4)
    assert ProgressReader(job, now=lambda: time.time() + 65).read().load is None


def test_between_two_partitions_the_one_just_sealed_tells_the_load(job: OpenJob) -> None:
    for chunk in checkpoint.missing_chunks(job, job.partition(0)):
        commit(job, 0, chunk.number, load=load_of(0.5))
    ledger.seal_partition(job, job.partition(0))
    load = ProgressReader(job).read().load
    assert load is not None
    assert load.busy == pytest.approx(load_of(0.5).busy)


def test_who_is_needed_is_who_has_something_to_do() -> None:
    assert NEW.roles(2) == UNDER_WAY.roles(2) == ["embed", "embed", "merge"]
    assert NEW.roles(0) == ["merge"]
    assert SEALED.roles(2) == ["embed", "merge"], "the altered copies are still to be embedded"
    assert replace(SEALED, copies_done=True).roles(2) == ["merge"]


def test_a_reader_notices_what_was_removed_meanwhile(job: OpenJob) -> None:
    reader = ProgressReader(job)
    seal(job, 0, failed=1)
    assert reader.read().removed == 0
    write_change(job, job.manifest, Change(1, "delete", removed=np.array([3, 49, 70], np.int64)))
    progress = reader.read()
    assert (progress.removed, progress.to_json()["removed"]) == (3, 3)
    assert (progress.listed, progress.embedded, progress.failed, progress.pending) == (100, 45, 5, 50)
    write_change(job, job.manifest, Change(2, "delete", removed=np.array([4], np.int64)))
    assert reader.read().removed == 4
    assert reader.job.state.number == 2


def test_features_that_are_wanted_and_lacking_are_left_to_do(job: OpenJob) -> None:
    for number in (0, 1):
        seal(job, number)
    build(job)
    reader = ProgressReader(job)
    progress = reader.read()
    assert (progress.features, progress.is_whole) == (None, True)
    want_features(job)
    progress = reader.read()
    assert progress.index_is_current
    assert not progress.is_whole
    assert progress.features == FeaturesCount(True, 0, 0, 0, {}, (0, 1))
    assert progress.roles(2) == ["embed", "embed"]
    assert progress.to_json()["copies"] == {
        "wanted": True, "partitions": 0, "images": 0, "without": {}, "bytes": 0
    }  # fmt: skip
    lacking = replace(SEALED, features=progress.features, copies_done=True)
    assert lacking.roles(2) == ["embed", "embed", "merge"]
