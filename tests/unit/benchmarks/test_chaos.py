"""The chaos harness itself: its stories come from the seed alone, it measures as it says, and it sees what is wrong."""

import json
import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from benchmarks import chaos_check, chaos_table
from benchmarks.chaos_faults import FAULTS, cut_short, delete, draw, flip_bit
from benchmarks.chaos_scene import Planned, Scene, is_due
from benchmarks.chaos_watch import Held, Watch
from shared.broker.lease import MERGE
from shared.errors import CorruptFile, UsageError
from shared.job import builds
from shared.job.directory import JobDir
from shared.job.partition import checkpoint
from shared.settings import Settings
from tests.support.make_job import MadeJob, make_job
from workers.merge.build import merge

ROOT = Path(__file__).parents[3]


@pytest.fixture
def finished(tmp_path: Path) -> MadeJob:
    """A job of 60 images, one of them failed, in three partitions, with its index."""
    made = make_job(tmp_path / "job", failed=[7])
    merge(made.job, made.manifest, Settings(), lambda phase, share: None)
    return made


def test_a_round_is_a_function_of_its_seed_and_its_number() -> None:
    assert draw(1, 7) == draw(1, 7)
    stories = [draw(seed, number) for seed in range(5) for number in range(20)]
    assert len({tuple(story) for story in stories}) == len(stories)


def test_rounds_have_one_to_four_faults_in_their_order_and_use_the_whole_table() -> None:
    stories = [draw(3, number) for number in range(300)]
    assert {len(story) for story in stories} == {1, 2, 3, 4}
    assert all([fault.at for fault in story] == sorted(fault.at for fault in story) for story in stories)
    assert {fault.kind for story in stories for fault in story} == set(FAULTS)
    assert any(fault.at >= 1 for story in stories for fault in story)


def test_nothing_is_said_of_a_job_that_is_as_undisturbed(finished: MadeJob) -> None:
    assert chaos_check.broken_promises(finished.job, chaos_check.checksums(finished.job)) == []


@pytest.mark.parametrize("name", ["img_emb/img_emb_0001.npy", "metadata/metadata_0000.parquet", "index/*/index.faiss"])
def test_a_flipped_byte_is_noticed(finished: MadeJob, name: str) -> None:
    reference = chaos_check.checksums(finished.job)
    path = next(finished.job.path.glob(name))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert f"{name} has other bytes than undisturbed." in chaos_check.broken_promises(finished.job, reference)


def test_a_missing_file_and_one_too_many_are_noticed(finished: MadeJob) -> None:
    reference = chaos_check.checksums(finished.job)
    finished.job.errors(2).rename(finished.job.errors(9))
    said = chaos_check.broken_promises(finished.job, reference)
    assert "errors/errors_0002.parquet is missing." in said
    assert "errors/errors_0009.parquet is there, and the undisturbed run has no such file." in said


@pytest.mark.parametrize(
    ("ids", "verb"),
    [([0, 2], "lacks the image ids [1]"), ([0, 1, 1, 2], "more than once"), ([0, 1, 2, 3], "not embedded")],
    ids=["missing", "double", "strange"],
)
def test_an_image_id_that_is_missing_double_or_strange_is_noticed(ids: list[int], verb: str) -> None:
    said = chaos_check.missing_or_double(np.array(ids), np.array([0, 1, 2]), "The index")
    assert len(said) == 1
    assert verb in said[0] or "[3]" in said[0]


@pytest.mark.parametrize("factory", ["IDMap2,Flat", "IVF4,Flat", "PCA8,IVF4,SQ8"])
def test_the_ids_of_an_index_are_read_out_of_it_itself(factory: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
    ids = np.arange(0, 400, 2)
    made = faiss.index_factory(16, factory)
    made.train(vectors)
    made.add_with_ids(vectors, ids)
    made.add_with_ids(vectors[:1], ids[3:4])
    assert sorted(chaos_check.ids_of(made).tolist()) == sorted([*ids.tolist(), 6])


def test_a_chunk_that_is_left_behind_is_noticed(finished: MadeJob) -> None:
    reference = chaos_check.checksums(finished.job)
    left = finished.job.chunk(1, 0)
    left.parent.mkdir(parents=True)
    left.write_bytes(b"")
    assert chaos_check.broken_promises(finished.job, reference) == ["chunks/0001/0000.parquet is left behind."]


def test_a_build_that_is_not_whole_is_noticed(finished: MadeJob) -> None:
    reference = chaos_check.checksums(finished.job)
    current = builds.current_build(finished.job)
    assert current is not None
    (finished.job.build_dir(current) / builds.INDEX_FILE).unlink()
    assert chaos_check.broken_promises(finished.job, reference)


def test_a_traceback_in_a_log_is_noticed_from_its_place_on(tmp_path: Path) -> None:
    log = tmp_path / "embed1.log"
    log.write_text("before\nTraceback (most recent call last):\nafter\n")
    (said,) = chaos_check.tracebacks({log: 0})
    assert "embed1.log holds 1 tracebacks" in said
    assert chaos_check.tracebacks({log: log.stat().st_size - 6}) == []


@pytest.fixture
def under_way(tmp_path: Path) -> tuple[Watch, MadeJob]:
    """A job of one sealed partition, and one that has two chunks and no seal; with a watch that has looked once."""
    made = make_job(tmp_path / "job", listed=50, sealed=[0])
    partition = made.manifest.partition(1)
    for chunk in made.manifest.chunks(partition)[:2]:
        commit(made, chunk.number)
    watch = Watch(made.job)
    watch.look(0.0)
    return watch, made


def commit(made: MadeJob, number: int) -> None:
    """Commit a chunk of partition 1, with zeros but for a leading one in each embedding."""
    chunk = made.manifest.chunks(made.manifest.partition(1))[number]
    rows = [
        checkpoint.ImageRow(image, f"{image}.jpg", 8, 8, 300, "0" * 64, "ok", None)
        for image in range(chunk.start, chunk.stop)
    ]
    embeddings = np.zeros((len(rows), 16), dtype=np.float16)
    embeddings[:, 0] = 1
    checkpoint.commit_chunk(made.job, made.manifest, chunk, rows, embeddings, seconds=0.1)


def test_a_watch_counts_what_is_committed(under_way: tuple[Watch, MadeJob]) -> None:
    watch, made = under_way
    assert watch.share == pytest.approx(5 / 6)
    assert set(watch.seals) == {0}
    assert len(watch.commits[1]) == 2
    commit(made, 2)
    watch.look(1.0)
    assert watch.share == 1
    assert watch.rewritten == watch.half_there == []


@pytest.mark.parametrize("damage", [flip_bit, cut_short, delete])
def test_a_damaged_chunk_that_is_written_again_counts_as_redone(under_way: tuple[Watch, MadeJob], damage: Any) -> None:
    watch, made = under_way
    path = made.job.chunk(1, 0)
    damage(path, 0.5)
    if path.exists():
        os.utime(path, ns=(1, 1))  # What is written again may get the same inode within a tick of the clock.
    watch.damaged(path)
    watch.look(1.0)
    assert watch.redone == 0
    chunk = made.manifest.chunks(made.manifest.partition(1))[0]
    with pytest.raises(CorruptFile):
        checkpoint.read_chunk(made.job, made.manifest, chunk)
    path.unlink(missing_ok=True)
    commit(made, 0)
    watch.look(2.0)
    assert (watch.redone, watch.rewritten, watch.half_there) == (1, [], [])


def test_a_committed_chunk_that_becomes_another_file_is_noticed(under_way: tuple[Watch, MadeJob]) -> None:
    watch, made = under_way
    made.job.chunk(1, 1).unlink()
    commit(made, 1)
    os.utime(made.job.chunk(1, 1), ns=(1, 1))
    watch.look(1.0)
    assert watch.rewritten == ["chunks/0001/0001.parquet"]


def test_a_chunk_that_is_half_there_when_it_is_first_seen_is_noticed(under_way: tuple[Watch, MadeJob]) -> None:
    watch, made = under_way
    made.job.chunk(1, 2).write_bytes(made.job.chunk(1, 1).read_bytes()[:500])
    watch.look(1.0)
    assert len(watch.half_there) == 1


def test_work_at_risk_is_counted_from_the_last_commit_or_from_the_lease(tmp_path: Path) -> None:
    watch = Watch(JobDir.at(tmp_path / "job"))
    watch.commits[3] = [90.0, 104.0, 130.0]
    assert watch.work_at_risk(Held("embed1@host", 3, 100.0), 110.0) == 6.0
    assert watch.work_at_risk(Held("embed1@host", 3, 106.0), 110.0) == 4.0
    assert watch.work_at_risk(Held("merge@host", MERGE, 106.0), 110.0) == 4.0


def test_who_holds_something_finished_holds_nothing(tmp_path: Path) -> None:
    watch = Watch(JobDir.at(tmp_path / "job"))
    watch.held = {3: Held("embed1@host", 3, 1.0)}
    assert watch.held_by("embed1") == Held("embed1@host", 3, 1.0)
    assert watch.held_by("embed") is None
    watch.seals[3] = 5.0
    assert watch.held_by("embed1") is None


def test_the_next_commit_is_that_of_the_partition_or_of_any_or_the_promotion(tmp_path: Path) -> None:
    watch = Watch(JobDir.at(tmp_path / "job"))
    watch.commits[0], watch.commits[1] = [10.0, 20.0], [15.0]
    watch.seals[1] = 30.0
    assert watch.next_commit(12.0, 0) == 20.0
    assert watch.next_commit(12.0) == 15.0
    assert watch.next_commit(16.0, 1) == 30.0
    assert watch.next_commit(21.0, 0) is None
    assert watch.next_commit(31.0, 1) == 31.0
    assert watch.next_commit(31.0) is None
    watch.promoted = 40.0
    assert watch.next_commit(31.0) == 40.0


def test_a_fault_comes_at_its_share_of_the_chunks_and_a_part_of_a_chunk_later(
    under_way: tuple[Watch, MadeJob],
) -> None:
    watch, made = under_way
    scene = Scene({}, None, watch, None, 20.0, 4.0, 1.0, str)  # type: ignore[arg-type]
    planned = Planned("embed: kill -9", 0.9, late=0.5, pick=0.0, stretch=0.0)
    assert not is_due(planned, scene, 100.0)
    commit(made, 2)
    assert not is_due(planned, scene, 101.0)
    assert not is_due(planned, scene, 102.9)
    assert is_due(planned, scene, 103.1)


def test_a_fault_in_the_merge_comes_that_long_after_its_beginning(under_way: tuple[Watch, MadeJob]) -> None:
    watch, _ = under_way
    scene = Scene({}, None, watch, None, 20.0, 4.0, 2.0, str)  # type: ignore[arg-type]
    planned = Planned("merge: kill -9", 1.5, late=0.0, pick=0.0, stretch=0.0)
    assert not is_due(planned, scene, 200.0)
    watch.merge_begun = 200.0
    assert not is_due(planned, scene, 200.9)
    assert is_due(planned, scene, 201.1)


def played(*faults: tuple[str, int | None, float | None, float | None], mismatches: int = 0) -> dict[str, Any]:
    return {
        "round": 1,
        "faults": [
            {
                "fault": kind,
                "held": held,
                "recovery_seconds": back,
                "work_lost_seconds": lost,
                "next_answer_seconds": None,
            }
            for kind, held, back, lost in faults
        ],
        "not_fired": ["chunk: deleted"],
        "chunks_redone": 2,
        "chunks_rewritten": 0,
        "mismatches": ["?"] * mismatches,
    }


def test_the_table_sums_up_what_was_measured() -> None:
    rounds = [
        played(("embed: kill -9", 3, 20.0, 1.0), ("embed: kill -9", None, 4.0, None)),
        played(("embed: kill -9", 5, 30.0, 3.0), ("chunk: deleted", None, 0.0, None), mismatches=2),
    ]
    made = chaos_table.summary(rounds)
    assert made["rounds"] == 2
    assert made["faults"] == 4
    assert made["chunks_redone"] == 4
    assert made["mismatches"] == 2
    assert made["recovery_seconds"] == {"count": 3, "p50": 20.0, "max": 30.0}  # The deleted chunk stopped nobody.
    assert made["work_lost_seconds"] == {"count": 2, "p50": 2.0, "max": 3.0}
    assert made["by_kind"]["embed: kill -9"]["at_work"] == 2
    assert made["found_nothing_to_hit"] == {"chunk: deleted": 2}
    text = chaos_table.chaos_table(made)
    assert [cell.strip() for cell in next(line for line in text.splitlines() if "embed" in line).split("|")[1:-1]] == [
        "embed: kill -9", "3", "2", "20.0", "30.0", "2.0", "3.0"
    ]  # fmt: skip
    assert "mismatches" in text


def test_the_page_holds_the_committed_results() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "chaos.json").read_text())
    page = (ROOT / "docs" / "chaos.md").read_text()
    assert chaos_table.fill_in(page, results) == page


def test_the_committed_results_keep_the_promise() -> None:
    """What the issue of recovery asks for, at the default settings: fifty rounds, nothing lost, within a minute."""
    made = json.loads((ROOT / "benchmarks" / "results" / "chaos.json").read_text())["summary"]
    assert made["rounds"] >= 50
    assert (made["mismatches"], made["chunks_rewritten"]) == (0, 0)
    assert made["recovery_seconds"]["p50"] < 30
    assert made["recovery_seconds"]["max"] < 60
    assert made["work_lost_seconds"]["max"] < 60


def test_a_page_without_its_block_is_refused() -> None:
    with pytest.raises(UsageError, match="no block"):
        chaos_table.fill_in("# Chaos", {})
