import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import CorruptFile, FingerprintMismatch, JobError, SettingsError
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.answers import ANSWERS_FILE
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.local.job_files import JobFiles
from shared.job.opened import with_manifest
from shared.job.partition import ledger
from shared.processes.control import Control, Stopped
from shared.settings import Settings
from tests.support.controls import UNWATCHED, yes
from tests.support.make_job import MadeJob, clustered, make_job, model_spec
from workers.evaluate import recall
from workers.merge import answers, build, tune
from workers.merge.build import merge
from workers.merge.progress import MergeProgress
from workers.search.candidates.width import Width, width_of
from workers.search.pool import SearcherPool
from workers.search.searcher import Searcher
from workers.vectors.ann import faiss_index, training
from workers.vectors.ann.faiss_index import IndexPlan, choose_index, plan_from_factory

pytestmark = pytest.mark.slow

PHASES = ("checking", "training", "adding", "measuring")


def merged(made: MadeJob, **values: float) -> builds.IndexInfo:
    return merge(made.job, Settings(**values), UNWATCHED)  # type: ignore[arg-type]


def poor_ivf(n: int, d: int, request: IndexRequest) -> IndexPlan:
    return replace(plan_from_factory("PCAR16,IVF32,PQ4x4fs", n, d), nprobe=1)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeJob, builds.IndexInfo, list[MergeProgress]]:
    """A job above the flat limit, with gaps in its ids, and its merge."""
    path = tmp_path_factory.mktemp("large") / "job"
    made = make_job(path, clustered(30_000, 64), failed=range(0, 30_000, 1_111), partition_size=7_000, chunk_size=7_000)
    reports: list[MergeProgress] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "QUERIES", 500)  # As everywhere but in these tests.
        info = merge(made.job, Settings(), Control(yes, yes, reports.append))
    return made, info, reports


Large = tuple[MadeJob, builds.IndexInfo, list[MergeProgress]]


def test_a_large_job_gets_an_ivf_pq_index_that_reaches_its_recall(large: Large) -> None:
    made, info, _ = large
    plan = choose_index(len(made.ids), 64)
    assert (info.type, info.factory, info.nlist, info.m, info.nbits) == ("IVF-PQ", plan.factory, 256, 32, 4)
    assert (info.ntotal, info.dim) == (30_000 - 28, 64)
    assert info.recall_at_10 is not None
    assert info.recall_at_10 >= 0.99
    assert info.recall_queries == 500
    assert 1 <= info.nprobe <= info.nlist
    assert (info.train_rows, info.peak_rss_bytes > 100e6) == (plan.train_rows, True)
    assert {"nprobe": info.nprobe, "depth": info.rerank_depth}.items() <= max(
        info.sweep, key=lambda point: (point["nprobe"], point["depth"]) == (info.nprobe, info.rerank_depth)
    ).items()
    assert info.wish == IndexRequest().to_json()
    assert (info.former, info.refused) == ("", "")
    assert 0 < info.p50_ms <= info.p99_ms
    assert set(info.seconds) == set(PHASES)
    assert info == builds.current_info(made.job)
    assert {path.name for path in made.job.build_dir(info.build).iterdir()} == {
        *info.files,
        builds.INFO_FILE,
        ANSWERS_FILE,
    }


def test_the_recorded_recall_holds_for_queries_it_was_not_tuned_on(large: Large) -> None:
    made, info, _ = large
    searcher = Searcher.open(JobFiles.of(made.job), info.build)
    measured = recall.measure(searcher, searcher.stored, queries=300, seed=77)
    assert measured.recall is not None
    assert measured.recall > 0.97
    narrow = Searcher(searcher._index, searcher.stored, searcher._images, width=Width(1, 10), nlist=info.nlist)
    worse = recall.measure(narrow, searcher.stored, queries=300, seed=77).recall
    assert worse is not None
    assert worse < measured.recall - 0.1


def test_every_image_of_a_large_job_is_found_by_itself(large: Large) -> None:
    made, info, _ = large
    searcher = Searcher.open(JobFiles.of(made.job), info.build)
    rows = np.random.default_rng(3).permutation(len(made.ids))[:300]
    hits = searcher.search_many(made.embeddings[rows].astype(np.float32), 1)
    assert np.mean([found[0].id == own for found, own in zip(hits, made.ids[rows], strict=True)]) > 0.99


def test_progress_is_told_phase_by_phase_from_nothing_to_all(large: Large) -> None:
    reports = large[2]
    assert list(dict.fromkeys(report.phase for report in reports)) == [*PHASES, "promoting"]
    for phase in PHASES:
        shares = [report.share for report in reports if report.phase == phase]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert 0 <= shares[0] < 1 or phase == "measuring"
    assert len([report for report in reports if report.phase == "adding"]) >= 5


def test_a_merged_job_is_not_merged_again(large: Large) -> None:
    made, info, _ = large
    reports: list[MergeProgress] = []
    again = merge(made.job, Settings(), Control(yes, yes, reports.append))
    assert again == info
    assert reports == []
    assert builds.build_names(made.job) == [info.build]


def test_the_same_job_makes_the_same_index_bytes(tmp_path: Path) -> None:
    vectors = clustered(1_500, 24)
    sums = []
    for name in ("one", "two"):
        made = make_job(tmp_path / name, vectors, partition_size=600, chunk_size=600)
        info = merge(made.job, Settings(recall_target=0), UNWATCHED, poor_ivf)
        sums.append({file: entry["sha256"] for file, entry in info.files.items()})
    assert sums[0] == sums[1]
    assert len(set(sums[0].values())) == 2


def test_a_search_is_tuned_to_the_recall_asked_for_and_the_width_is_recorded(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", clustered(1_500, 24), partition_size=600, chunk_size=600)
    found = {}
    for target in (0.2, 0.97):
        write_index_request(made.job, IndexRequest(recall=target))
        found[target] = merge(made.job, Settings(), UNWATCHED, poor_ivf)
    assert found[0.2].rerank_depth < found[0.97].rerank_depth
    assert found[0.97].recall_at_10 >= 0.97  # type: ignore[operator]
    assert found[0.2].recall_at_10 < 0.97  # type: ignore[operator]
    opened = Searcher.open(JobFiles.of(made.job), found[0.97].build)
    assert opened.width == width_of(found[0.97])


def test_another_request_is_another_build_and_the_same_is_none(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    first = merged(made)
    write_index_request(made.job, IndexRequest("hnsw"))
    second = merged(made)
    assert (first.type, second.type, second.former) == ("Flat", "HNSW", first.build)
    assert builds.current_info(made.job) == second == merged(made)
    write_index_request(made.job, IndexRequest())
    assert merged(made) == first
    assert builds.current_info(made.job) == first


def test_a_build_that_finds_less_is_kept_and_not_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "DEPTHS", (20,))
    made = make_job(tmp_path / "job", clustered(1_500, 24), partition_size=600, chunk_size=600)
    first = merged(made)
    write_index_request(made.job, IndexRequest("PCAR16,IVF32,PQ4x4fs"))
    second = merged(made)
    assert second.recall_at_10 < 0.9  # type: ignore[operator]
    assert re.search(rf"built as {second.build} and finds less: recall@10 0\.\d+, where {first.build}", second.refused)
    assert builds.current_info(made.job) == first
    assert merged(made) == second  # What was refused is not built again.
    assert builds.build_names(made.job) == [first.build, second.build]
    write_index_request(made.job, IndexRequest("PCAR16,IVF32,PQ4x4fs", recall=0.3))
    third = merged(made)
    assert third.refused == ""  # Who asks for little gets it.
    assert builds.current_info(made.job) == third


def test_a_refused_build_does_not_stand_in_for_one_that_nobody_asked_to_be_like_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "DEPTHS", (20,))
    made = make_job(tmp_path / "job", clustered(1_500, 24), partition_size=600, chunk_size=600)
    first = merged(made)
    write_index_request(made.job, IndexRequest("PCAR16,IVF32,PQ4x4fs"))
    assert merged(made).refused
    write_index_request(made.job, None)
    shutil.rmtree(made.job.build_dir(first.build))
    last = merged(made)
    assert (last.type, last.refused) == ("Flat", "")
    assert builds.current_info(made.job) == last


def test_a_request_that_faiss_can_not_fulfil_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    write_index_request(made.job, IndexRequest("IVF16,PQ7x4fs"))
    with pytest.raises(SettingsError, match="IVF16,PQ7x4fs"):
        merged(made)
    assert builds.build_names(made.job) == []


@pytest.mark.usefixtures("all_queries")
def test_a_small_job_gets_a_flat_index_that_misses_nothing(tmp_path: Path) -> None:
    info = merged(make_job(tmp_path / "job", failed={3, 59}))
    assert (info.type, info.ntotal, info.nlist, info.nprobe) == ("Flat", 58, 0, 0)
    assert (info.recall_at_10, info.recall_queries) == (1.0, 58)


@pytest.mark.parametrize(("listed", "recall_at_10"), [(1, None), (2, 1.0), (4, 1.0)])
def test_a_handful_of_images_is_indexed_and_measured_honestly(
    tmp_path: Path, listed: int, recall_at_10: float | None
) -> None:
    info = merged(make_job(tmp_path / "job", listed=listed))
    assert (info.ntotal, info.recall_at_10) == (listed, recall_at_10)
    assert info.recall_queries == (0 if recall_at_10 is None else listed)


def test_a_collection_of_one_photo_many_times_is_indexed(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", np.ones((1_500, 24)), partition_size=600, chunk_size=600)
    info = merge(made.job, Settings(), UNWATCHED, poor_ivf)
    assert (info.recall_at_10, info.ntotal) == (1.0, 1_500)
    hits = Searcher.open(JobFiles.of(made.job), info.build).search(np.ones(24), 10, exact=True)
    assert [hit.id for hit in hits] == list(range(10))


def test_partitions_that_are_not_sealed_are_counted(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", sealed=[0])
    with pytest.raises(JobError, match=r"2 of the 3 partitions .* not sealed \(the first is 1\)"):
        merged(made)
    assert not made.job.index_dir.exists()


def test_a_job_whose_images_all_failed_says_where_the_reasons_are(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", failed=range(60))
    with pytest.raises(JobError, match=r"60 images .* 60 failed.*/errors"):
        merged(made)


def test_a_partition_that_failed_as_a_whole_is_no_obstacle(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", failed=range(25, 50))
    info = merged(made)
    hits = Searcher.open(JobFiles.of(made.job), info.build).search(made.embeddings[30].astype(np.float32), 35)
    assert hits[0].id == 55
    assert sorted(hit.id for hit in hits) == made.ids.tolist()


def test_a_flipped_bit_in_the_embeddings_stops_the_merge(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    path = made.job.img_emb(1)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"img_emb_0001.*another checksum.*a repair takes the partition back"):
        merged(made)
    assert builds.build_names(made.job) == []


def test_ids_that_are_neither_embedded_nor_failed_stop_the_merge(tmp_path: Path) -> None:
    made, other = make_job(tmp_path / "job", failed={30}), make_job(tmp_path / "other", failed={31})
    shutil.copy(other.job.errors(1), made.job.errors(1))
    with pytest.raises(CorruptFile, match=r"Partition 1 .*30.*31"):
        merged(made)


def test_partitions_of_another_model_are_named(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    other = replace(made.job.manifest, model=model_spec("another-model"))
    with pytest.raises(FingerprintMismatch, match="another-model"):
        merge(with_manifest(made.job, other), Settings(), UNWATCHED)


class Killed(BaseException):
    """What a kill would be, if Python saw it."""


def reseal(made: MadeJob, other: MadeJob, partition: int) -> None:
    """Give `made` a partition of `other`, as when it was embedded again."""
    for path in (JobDir.img_emb, JobDir.metadata, JobDir.errors, JobDir.seal):
        shutil.copy(path(other.job, partition), path(made.job, partition))


WHERE: dict[str, tuple[object, str]] = {
    "listing the images": (build, "write_images"),
    "training": (training, "train"),
    "adding": (faiss_index, "add"),
    "saving": (faiss_index, "save"),
    "the truth": (answers, "yardstick"),
    "measuring": (recall, "measure_against"),
    "describing": (builds, "write_info"),
    "promoting": (builds, "promote"),
}


@pytest.mark.parametrize("cleaned", [True, False], ids=["error", "kill"])
@pytest.mark.parametrize("where", WHERE)
def test_a_merge_that_ends_midway_leaves_the_promoted_index_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, cleaned: bool
) -> None:
    made, other = make_job(tmp_path / "job", seed=1), make_job(tmp_path / "other", seed=2)
    first = merged(made)
    pool = SearcherPool(Settings())
    before = pool.searcher(made.job).search(np.ones(16))
    reseal(made, other, 1)

    def fail(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(*WHERE[where], fail)
        if not cleaned:  # A kill leaves no time to clean up.
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            merged(made)
    assert builds.current_info(made.job) == first
    assert pool.searcher(made.job).search(np.ones(16)) == before

    second = merged(made)
    assert builds.build_number(second.build) > builds.build_number(first.build)
    left = {first.build, second.build} | ({"0002-" + second.ledger_digest[:8]} if where == "promoting" else set())
    assert set(builds.build_names(made.job)) == left
    after = pool.searcher(made.job).search(np.ones(16))
    assert after != before
    assert after == Searcher.open(JobFiles.of(made.job), second.build).search(np.ones(16), exact=True)


def test_a_merge_that_should_not_run_at_the_same_time_does_no_harm(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    inner: list[builds.IndexInfo] = []

    def report(progress: MergeProgress) -> None:
        if progress.phase == "adding" and not inner:
            inner.append(merged(made))

    outer = merge(made.job, Settings(), Control(yes, yes, report))
    assert outer.files == inner[0].files
    assert builds.current_build(made.job) == inner[0].build == outer.build
    assert Searcher.open(JobFiles.of(made.job), inner[0].build).ntotal == 60


def test_only_older_half_built_directories_are_removed(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    for name in ("0003-killed", "0004-killed"):
        (made.job.build_dir(name)).mkdir(parents=True)
    first = merged(made)
    assert builds.build_names(made.job) == [first.build] == ["0005-" + first.ledger_digest[:8]]
    for name in ("0004-killed", "0006-under-way"):
        (made.job.build_dir(name)).mkdir(parents=True)
    assert merged(made) == first
    assert builds.build_names(made.job) == [first.build, "0006-under-way"]


@pytest.mark.parametrize("damage", ["CURRENT", "index.json", "index.faiss", "directory"])
def test_a_broken_index_is_replaced(tmp_path: Path, damage: str) -> None:
    made = make_job(tmp_path / "job")
    first = merged(made)
    directory = made.job.build_dir(first.build)
    broken: dict[str, Callable[[], object]] = {
        "CURRENT": lambda: made.job.current.write_text("what?"),
        "index.json": lambda: (directory / builds.INFO_FILE).write_text("{"),
        "index.faiss": lambda: (directory / builds.INDEX_FILE).write_bytes(b"IxF"),
        "directory": lambda: shutil.rmtree(directory),
    }
    broken[damage]()
    second = merged(made)
    assert second == builds.current_info(made.job)
    assert Searcher.open(JobFiles.of(made.job), second.build).ntotal == 60
    assert ledger.is_sealed(made.job, 0)


def test_a_merge_that_loses_its_claim_before_the_end_promotes_nothing(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", clustered(40, 8), partition_size=40)
    reports: list[MergeProgress] = []

    def still_ours() -> bool:
        return reports[-1:] != [MergeProgress("measuring", 1.0)]

    with pytest.raises(Stopped):
        merge(made.job, Settings(), Control(yes, still_ours, reports.append))
    assert builds.current_build(made.job) is None
    info = merged(made)  # What was built is not built again.
    assert builds.build_names(made.job) == [info.build] == [builds.current_build(made.job)]
    assert {path.name for path in made.job.build_dir(info.build).iterdir()} == {
        *info.files,
        builds.INFO_FILE,
        ANSWERS_FILE,
    }


def test_seals_that_a_lagging_listing_does_not_show_are_merged_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_job(tmp_path / "job", clustered(60, 8), partition_size=20)
    monkeypatch.setattr(JobDir, "sealed_numbers", lambda job: [0])
    assert merge(made.job, Settings(), UNWATCHED).ntotal == 60


def test_chunks_that_a_worker_killed_after_its_seal_left_are_gone_after_the_merge(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", clustered(40, 8), partition_size=40)
    made.job.chunk_dir(0).mkdir(parents=True)
    made.job.chunk(0, 1).write_bytes(b"left behind")
    assert merged(made).ntotal == 40
    assert not made.job.chunk_dir(0).exists()


def test_a_build_whose_merge_was_killed_before_its_promotion_is_promoted_and_not_built_again(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", clustered(40, 8), partition_size=40)
    info = merged(made)
    made.job.current.unlink()
    (made.job.index_dir / ".CURRENT.0123.tmp").write_text("cut off")
    reports: list[MergeProgress] = []
    assert merge(made.job, Settings(), Control(yes, yes, reports.append)) == info
    assert reports == []
    assert builds.current_build(made.job) == info.build
    assert [path.name for path in made.job.index_dir.iterdir() if path.name.startswith(".")] == []


def test_a_whole_build_that_was_damaged_since_is_not_promoted(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", clustered(40, 8), partition_size=40)
    info = merged(made)
    made.job.current.unlink()
    path = made.job.build_dir(info.build) / builds.INDEX_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert merged(made).build != info.build
