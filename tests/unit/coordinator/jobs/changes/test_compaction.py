"""A compaction takes what was removed out of a job, and nothing else: ids, paths and answers stay, to the bit."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.integrity.findings import Checked, Kind
from coordinator.integrity.repair import repair
from coordinator.integrity.verify import verify
from coordinator.jobs.changes import compaction
from coordinator.jobs.changes.compacting import leftovers
from coordinator.jobs.changes.compacting.plan import Bounds
from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.retry import failed_images, take_back
from coordinator.jobs.source.facts import Facts
from shared.errors import CorruptFile, JobBusy, JobError
from shared.job import path_list
from shared.job.altered_copies import Copies, read_copies, write_copies
from shared.job.changes.adding import NewRows, add_partitions
from shared.job.changes.lock import changing
from shared.job.changes.log import Change, read_changes, write_change
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.manifest import Partition
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger, sealing
from shared.job.source.moved import Moved, read_moved, stored_path, write_moved
from shared.settings import Settings
from shared.storage import files
from tests.support import broken_photos
from tests.support.compactions import answers, compacted, remove, traces
from tests.support.controls import UNWATCHED
from tests.support.damage import age, flip, snapshot
from tests.support.embedders import FakeEmbedder, embed
from tests.support.images.forms import FORMS
from tests.support.kills import Killed, killed_at
from tests.support.make_job import MadeJob, grow_job, make_job, unit
from tests.support.source_jobs import all_paths, job_of_a_list, sealed
from workers.merge.build import merge
from workers.search.pool import SearcherPool

GONE = (0, 3, 7, 24, 30, 31, 59)
"""Of 60 images: a failed one, the first and the last of a partition, and the last of all."""
QUERIES = unit(np.random.default_rng(5).normal(size=(6, 16)))

Rows = dict[int, tuple[Any, ...]]


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of 60 images in partitions of 25, two of which failed, with an index."""
    return job_of_a_list(tmp_path, index=True)


def rows_of(job: JobDir) -> Rows:
    """What a job has of each image that was not removed: its path, row and embedding, or how it failed."""
    job = open_job(job)
    found: Rows = {}
    for seal in ledger.sealed(job):
        paths = path_list.read_paths(job, Partition(seal.partition, seal.start, seal.stop))
        embeddings = sealing.open_embeddings(job.img_emb(seal.partition), seal.embedded, seal.dim)
        for row, embedding in zip(pq.read_table(job.metadata(seal.partition)).to_pylist(), embeddings, strict=True):
            found[row["id"]] = (paths[row["id"] - seal.start], row, embedding.tobytes())
        for row in pq.read_table(job.errors(seal.partition)).to_pylist():
            found[row["id"]] = (paths[row["id"] - seal.start], row)
    return {image: row for image, row in found.items() if not job.state.is_removed(image)}


def wrong(job: JobDir) -> list[str]:
    return [finding.sentence for finding in verify(job, Checked())]


def spans(job: JobDir) -> list[tuple[int, int, int]]:
    return [(one.number, one.start, one.stop) for one in open_job(job).partitions]


def rebuilt(job: JobDir) -> None:
    merge(open_job(job), Settings(), UNWATCHED)
    compaction.tidy(open_job(job))


def test_ids_paths_and_answers_stay_to_the_bit_with_the_former_index_and_with_the_next(job: OpenJob) -> None:
    remove(job, *GONE)
    rows, pool = rows_of(job), SearcherPool(Settings())
    before = answers(job, QUERIES, pool)
    done = compacted(job)
    assert (done.replaced, done.made, done.purged) == (3, 3, len(GONE))
    assert done.bytes > 0
    assert rows_of(job) == rows
    assert len(rows) == 60 - len(GONE)
    assert not ProgressReader(open_job(job)).read().index_is_current
    assert answers(job, QUERIES, pool) == before, "as a worker that had the job open answers"
    assert answers(job, QUERIES) == before, "as one that opens it now"
    rebuilt(job)
    assert ProgressReader(open_job(job)).read().index_is_current
    assert answers(job, QUERIES, pool) == before
    assert answers(job, QUERIES) == before
    info = builds.current_info(job)
    assert info is not None
    assert (info.ntotal, info.grown_from[:5]) == (sum(len(row) == 3 for row in rows.values()), "0001-")
    assert wrong(job) == []


def test_images_are_embedded_or_failed_or_purged_and_no_id_is_given_again(job: OpenJob) -> None:
    remove(job, *GONE)
    compacted(job)
    progress = ProgressReader(open_job(job)).read()
    assert (progress.listed, progress.embedded, progress.failed) == (60, 52, 1)
    assert (progress.pending, progress.removed, progress.purged, progress.held) == (0, 7, 7, 53)
    state = open_job(job).state
    assert state.purged.tolist() == list(GONE)
    assert [state.is_removed(image) for image in (0, 1)] == [True, False]
    assert state.listed == 60
    remove(job, 7)
    with pytest.raises(CorruptFile, match="removed before"):
        open_job(job)


def test_nothing_is_left_on_the_disk_of_an_image_that_was_removed(job: OpenJob) -> None:
    rows, paths = rows_of(job), all_paths(job)
    write_moved(job, Moved("/a", "/a", {paths[7]: "/a/elsewhere-7.jpg", paths[8]: "/a/elsewhere-8.jpg"}))
    vectors = {image: np.frombuffer(row[2], np.float16) for image, row in rows.items() if len(row) == 3}
    digest = builds.ledger_digest(ledger.sealed(job))
    ids = np.array([7, 8, 9])
    copies = np.stack([vectors[int(image)] for image in ids])
    write_copies(
        job,
        Copies(ids, ("flip",) * 3, np.ones(3, np.float32), copies, job.manifest.model.fingerprint, digest, 0),
    )
    remove(job, *GONE)
    assert traces(job, paths[7], vectors[7]) == [
        "copies.parquet", "img_emb/img_emb_0000.npy", *(f"index/{builds.current_build(job)}/{name}" for name in
        ("images.arrow", "index.faiss")), "metadata/metadata_0000.parquet", "moved.json", "paths/paths_0000.parquet",
    ]  # fmt: skip
    compacted(job)
    assert [name for name in traces(job, paths[7], vectors[7]) if not name.startswith("index/0001-")] == []
    rebuilt(job)
    for image in GONE:
        assert traces(job, paths[image], vectors.get(image, vectors[7])) == []
    assert traces(job, paths[8], vectors[8])
    left = read_copies(job)
    assert left is not None
    assert left.ids.tolist() == [8, 9]
    assert left.ledger_digest == builds.ledger_digest(ledger.sealed(open_job(job)))
    assert read_moved(job).renamed == {paths[8]: "/a/elsewhere-8.jpg"}


def test_the_bytes_of_an_added_image_leave_the_disk_with_it_unless_another_has_them(job: OpenJob) -> None:
    data = [f"image {number}".encode() for number in range(3)]
    digests = [hashlib.sha256(some).hexdigest() for some in data]
    images = [job.added(digest, name) for digest, name in zip(digests, ("a.png", "b.png", "c.png"), strict=True)]
    twin = job.added(digests[0], "twin.png")
    for path, some in zip((*images, twin), (*data, data[0]), strict=True):
        files.write_bytes(path, some)
    with changing(job) as opened:
        paths = [
            stored_path(digests[0], "a.png"),
            stored_path(digests[1], "b.png"),
            stored_path(digests[0], "twin.png"),
        ]
        facts = {"width": pa.array([8] * 3, pa.int32()), "height": pa.array([8] * 3, pa.int32())}
        facts |= {"bytes": pa.array([7] * 3), "sha256": pa.array([digests[0], digests[1], digests[0]])}
        rows = NewRows(paths, pa.table(facts), np.eye(3, 16, dtype=np.float16))
        add_partitions(opened, "add", rows.partitions(opened))
    remove(job, 60, 61)
    assert compacted(job).purged == 2
    assert [path.exists() for path in (*images, twin)] == [False, False, False, True]  # None lists the third.
    assert not images[1].parent.exists()
    assert wrong(job) == []


def test_only_builds_that_hold_what_was_purged_go_and_not_before_another_serves(job: OpenJob) -> None:
    first = builds.current_build(job)
    remove(job, 5)
    compacted(job)
    assert compaction.tidy(open_job(job)) == []
    assert builds.build_names(job) == [first]
    merge(open_job(job), Settings(), UNWATCHED)
    (finding,) = verify(job, Checked())
    assert (finding.path, finding.kind) == (f"index/{first}", Kind.LEFTOVER)
    assert compaction.tidy(open_job(job)) == [first]
    assert len(builds.build_names(job)) == 1
    assert compaction.tidy(open_job(job)) == []


def test_a_failed_image_that_stays_is_tried_again_and_no_other_is_read(tmp_path: Path) -> None:
    photos = broken_photos.broken_photos(tmp_path)
    job = broken_photos.made(tmp_path / "job", photos)
    broken_photos.embedded(job)
    remove(job, 0, 20, 21, 29, 35)
    rows = rows_of(job)
    compacted(job)
    job = open_job(job)
    assert rows_of(job) == rows
    assert failed_images(job) == {"truncated": 1, "empty": 1, "vanished": 1}
    broken_photos.mend(photos, 3, 33)
    photos[1].unlink()  # It is embedded, so nothing reads it.
    assert take_back(job).total() == 3
    progress = ProgressReader(job).read()
    assert (progress.embedded, progress.failed, progress.pending) == (42, 0, 3)
    embedder = FakeEmbedder()
    for partition in job.partitions:
        embed(job, partition.number, embedder=embedder)
    assert sum(embedder.batches) == 2
    after = rows_of(job)
    assert {image: row for image, row in after.items() if image not in (3, 30, 33)} == {
        image: row for image, row in rows.items() if image not in (3, 30, 33)
    }
    assert [len(after[image]) for image in (3, 30, 33)] == [3, 2, 3]
    assert ProgressReader(job).read().pending == 0


@pytest.mark.parametrize("damaged", ["img_emb", "paths"])
def test_a_damaged_partition_is_embedded_again_without_what_was_purged(tmp_path: Path, damaged: str) -> None:
    photos = broken_photos.broken_photos(tmp_path)
    job = broken_photos.made(tmp_path / "job", photos)
    broken_photos.embedded(job)
    remove(job, *range(10, 20), 1, 33)  # One chunk of the first partition is all gone.
    compacted(job)
    job = open_job(job)
    rows, number = rows_of(job), job.partitions[0].number
    flip(job.paths(number) if damaged == "paths" else job.img_emb(number))
    named = [finding for finding in verify(job, Checked()) if finding.kind is Kind.DAMAGE]
    assert {finding.path for finding in named} >= {f"img_emb/img_emb_{number:04d}.npy"} or damaged == "paths"
    outcomes = [*repair(job, Checked())]
    assert any(outcome.mended for outcome in outcomes)
    for photo in (1, 12, 33):
        photos[photo].write_bytes(b"another file: nothing may read it")
    for partition in job.partitions:
        embed(job, partition.number)
    assert rows_of(job) == rows
    assert ProgressReader(job).read().pending == 0


def test_small_neighbours_become_one_partition_that_later_additions_join(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", listed=45, partition_size=40)
    rng = np.random.default_rng(3)
    for _ in range(4):
        made = grow_job(made, rng.normal(size=(3, 16)))
    rows = rows_of(made.job)
    assert [one[0] for one in spans(made.job)] == [0, 1, 2, 3, 4, 5]
    done = compacted(made.job)
    assert (done.replaced, done.made, done.purged) == (5, 1, 0)
    assert spans(made.job) == [(0, 0, 40), (6, 40, 57)]
    made = grow_job(MadeJob(open_job(made.job), made.ids, made.embeddings), rng.normal(size=(2, 16)))
    assert spans(made.job) == [(0, 0, 40), (6, 40, 57), (7, 57, 59)]
    assert {image: row for image, row in rows_of(made.job).items() if image < 57} == rows
    assert not compacted(made.job, Bounds(small=3))
    compacted(made.job)
    assert spans(made.job) == [(0, 0, 40), (8, 40, 59)]
    assert {image: row for image, row in rows_of(made.job).items() if image < 57} == rows


def test_a_build_from_before_several_compactions_covers_what_it_covered(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", listed=60, failed={3})
    info = merge(made.job, Settings(), UNWATCHED)
    made = grow_job(made, np.random.default_rng(3).normal(size=(6, 16)))
    made = grow_job(made, np.random.default_rng(4).normal(size=(6, 16)))
    remove(made.job, 1, 30, 62)
    pool = SearcherPool(Settings())
    before = answers(made.job, QUERIES, pool)
    compacted(made.job)
    assert [one[1:] for one in spans(made.job)] == [(0, 25), (25, 50), (50, 60), (60, 72)], "none across the coverage"
    assert answers(made.job, QUERIES, pool) == answers(made.job, QUERIES) == before
    remove(made.job, 2, 61)
    later = answers(made.job, QUERIES, pool)
    compacted(made.job)
    job = open_job(made.job)
    seals = list(ledger.sealed(job))
    covered = builds.covered(info, seals, job)
    assert covered is not None
    assert [seal.stop for seal in covered] == [25, 50, 60]
    assert answers(job, QUERIES, pool) == answers(job, QUERIES) == later
    assert not {row[1] for row in later} & {1, 2, 30, 61, 62}


def test_a_build_covers_no_partition_that_was_sealed_otherwise_after_the_compaction(job: OpenJob) -> None:
    info = builds.current_info(job)
    assert info is not None
    remove(job, 5)
    compacted(job)
    job = open_job(job)
    seals = list(ledger.sealed(job))
    assert builds.covered(info, seals, job) == seals
    table = json.loads(job.seal(seals[0].partition).read_text())
    table["files"][f"img_emb/img_emb_{seals[0].partition:04d}.npy"]["sha256"] = "0" * 64
    job.seal(seals[0].partition).write_text(json.dumps(table))
    assert builds.covered(info, list(ledger.sealed(job)), job) is None


def test_what_is_not_worth_it_stays(job: OpenJob) -> None:
    remove(job, 0, 1, 2, 3, 4, 26, 27)
    done = compacted(job, Bounds(share=0.1, small=9))
    assert (done.replaced, done.purged) == (1, 5)
    assert [one[0] for one in spans(job)] == [3, 1, 2]
    assert open_job(job).state.purged.tolist() == [0, 1, 2, 3, 4]
    before = snapshot(job.path)
    assert not compacted(job, Bounds(share=0.1, small=9))
    assert snapshot(job.path) == before
    assert compaction.foreseen(open_job(job), Bounds()).purged == 2
    assert snapshot(job.path) == before


def test_a_partition_that_is_not_sealed_stays_as_it_is(tmp_path: Path) -> None:
    job = job_of_a_list(tmp_path, sealed=[0, 2], chunks={1: [0]})
    remove(job, 1, 26, 51)
    compacted(job)
    assert [one[0] for one in spans(job)] == [3, 1, 4]
    assert open_job(job).state.purged.tolist() == [1, 51]
    progress = ProgressReader(open_job(job)).read()
    assert (progress.embedded, progress.failed, progress.pending) == (23 + 10 + 9, 1, 15)
    assert wrong(job) == []


def test_a_partition_of_removed_images_alone_has_no_rows_and_the_job_goes_on(job: OpenJob) -> None:
    remove(job, *range(25, 50))
    before = answers(job, QUERIES)
    compacted(job)
    assert [one[1:] for one in spans(job)] == [(0, 25), (25, 60)], "it joins what is small beside it"
    assert answers(job, QUERIES) == before
    rebuilt(job)
    assert answers(job, QUERIES) == before
    remove(job, *range(25))
    compacted(job)
    rebuilt(job)
    assert {row[1] for row in answers(job, QUERIES)} <= set(range(50, 60))
    assert wrong(job) == []


def test_a_job_of_which_all_was_removed_is_left_alone(job: OpenJob) -> None:
    remove(job, *range(60))
    before = snapshot(job.path)
    with pytest.raises(JobError, match=r"All 60 images of .* were removed: .* Remove its folder instead"):
        compacted(job)
    assert snapshot(job.path) == before


@pytest.mark.parametrize("what", ["img_emb", "metadata", "errors", "paths"])
def test_a_damaged_file_is_no_source_of_rows_and_nothing_is_changed(job: OpenJob, what: str) -> None:
    remove(job, 5, 30)
    path = {one.parent.name: one for one in (*job.sealed_files(1), job.paths(1))}[what]
    flip(path, 60 if what != "img_emb" else None)
    before = snapshot(job.path)
    with pytest.raises(CorruptFile, match=path.name):
        compacted(job)
    assert snapshot(job.path) == before


def test_two_do_not_change_a_job_at_once(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    remove(job, 5)
    before = snapshot(job.path)
    with changing(job), pytest.raises(JobBusy, match="is changing"):
        compacted(job)

    # A retry takes no lock: a seal that it took back meanwhile is not replaced.
    def taken_back(*arguments: Any) -> None:
        if job.seal(1).is_file():
            job.seal(1).rename(job.ledger_dir / "aside")

    remove(job, 30)
    monkeypatch.setattr(leftovers, "forget_renamed", taken_back)
    with pytest.raises(JobBusy, match="nothing was changed"):
        compacted(job)
    (job.ledger_dir / "aside").rename(job.seal(1))
    assert {path for path in snapshot(job.path) if "changes" not in path} == {
        path for path in before if "changes" not in path
    }


def test_a_change_that_replaces_has_a_format_that_earlier_versions_refuse(job: OpenJob) -> None:
    remove(job, 5)
    compacted(job)
    formats = [json.loads(job.change(number).read_text())["format"] for number in (1, 2)]
    assert formats == [1, 2]
    change = read_changes(job)[1]
    assert (change.action, change.partitions, change.removed.tolist()) == ("compact", (), [])
    assert [one.partition for one in change.replaced] == [Partition(3, 0, 25)]


def test_what_was_read_when_is_known_as_before(job: OpenJob) -> None:
    os.utime(job.paths(0), (1_000.0, 1_000.0))
    before = [Facts(job, partition) for partition in job.partitions]
    assert before[0].began_ns == (1_000.0 - 5) * 1e9
    remove(job, 5, 30, 55)
    compacted(job)
    job = open_job(job)
    after = [Facts(job, partition) for partition in job.partitions]
    assert [one.began_ns for one in after] == [one.began_ns for one in before]
    firsts = [partition.start for partition in job.partitions]
    assert [one.failed_until_ns(first) for one, first in zip(after, firsts, strict=True)] == [
        one.failed_until_ns(first) for one, first in zip(before, firsts, strict=True)
    ]


def test_each_image_keeps_the_time_up_to_which_it_had_failed(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", listed=30, partition_size=80)
    os.utime(made.job.paths(0), (1_000.0, 1_000.0))
    rng = np.random.default_rng(3)
    for joined in ([3], [2, 1]):
        for count in joined:
            made = grow_job(made, rng.normal(size=(count, 16)))
        for place, partition in enumerate(open_job(made.job).partitions[-len(joined) :]):
            os.utime(made.job.paths(partition.number), (2_000.0 + 100 * len(joined) + place,) * 2)
        compacted(made.job)
        made = MadeJob(open_job(made.job), made.ids, made.embeddings)
    (partition,) = open_job(made.job).partitions
    facts = Facts(open_job(made.job), partition)
    until = [facts.failed_until_ns(image) / 1e9 for image in (0, 29, 30, 32, 33, 34, 35)]
    assert until == [1_000.0, 1_000.0, 2_100.0, 2_100.0, 2_200.0, 2_200.0, 2_201.0]


def test_what_is_added_after_a_killed_compaction_takes_none_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_job(tmp_path / "job")
    remove(made.job, 5)
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "write_change", dying)
        patch.setattr(leftovers, "remove_partition", dying)
        with pytest.raises(Killed):
            compacted(made.job)
    assert made.job.seal(3).is_file(), "a kill takes nothing back"
    before = rows_of(made.job)
    made = grow_job(made, np.random.default_rng(3).normal(size=(6, 16)))
    assert spans(made.job)[-1] == (4, 60, 66)
    assert {image: row for image, row in rows_of(made.job).items() if image < 60} == before
    compacted(made.job)
    assert not made.job.seal(3).is_file()
    assert {image: row for image, row in rows_of(made.job).items() if image < 60} == before


def test_repair_leaves_a_compaction_at_work_and_takes_what_one_left_long_ago(
    job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(job, 5)
    at_work: list[list[bool]] = []

    def looked(*arguments: Any) -> None:
        at_work.append([outcome.mended for outcome in repair(job, Checked())])
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(compaction, "write_change", looked)
        patch.setattr(leftovers, "remove_partition", dying)
        with pytest.raises(Killed):
            compacted(job)
    assert at_work == [[False, False]]
    for path in (job.seal(3), job.paths(3), *job.sealed_files(3)):
        assert path.is_file()
        age(path)
    assert all(outcome.mended for outcome in repair(job, Checked()))
    assert wrong(job) == []
    assert not any(path.exists() for path in (job.seal(3), job.paths(3), *job.sealed_files(3)))


def dying(*arguments: Any, **options: Any) -> None:
    raise Killed


@pytest.mark.slow
def test_a_compaction_that_is_killed_at_any_step_leaves_the_state_before_or_after(
    job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(job, *GONE)
    rows, path = rows_of(job), all_paths(job)[7]
    before = answers(job, QUERIES)
    vector = np.load(job.img_emb(0))[6]
    seen: set[int] = set()
    for kill in range(200):
        again = open_job(JobDir(shutil.copytree(job.path, tmp_path / f"again-{kill}")))
        ended = False
        with killed_at(kill, monkeypatch):
            try:
                compacted(again)
                ended = True
            except Killed:
                pass
        number = open_job(again).state.number
        seen.add(number)
        assert number in (1, 2)
        assert rows_of(again) == rows
        assert answers(again, QUERIES) == before
        assert not [finding for finding in verify(again, Checked()) if finding.kind is Kind.DAMAGE]
        assert ProgressReader(open_job(again)).read().pending == 0
        compacted(again)
        assert open_job(again).state.number == 2
        assert rows_of(again) == rows
        assert not [name for name in traces(again, path, vector) if not name.startswith("index/")]
        assert [name for name in wrong(again) if "belongs" in name or "compaction" in name] == []
        if ended:
            break
    assert seen == {1, 2}
    assert kill > 20


@pytest.mark.parametrize("form", ["webdataset", "folder"])
def test_places_in_archives_and_metadata_of_the_source_stay_and_those_of_purged_images_go(
    tmp_path: Path, form: str
) -> None:
    job = sealed(FORMS[form](tmp_path).source, JobDir(tmp_path / "job"))

    def known_of(job: OpenJob) -> dict[int, Any]:
        found: dict[int, Any] = {}
        for partition in job.partitions:
            rows = path_list.read_known(job, partition).to_pylist() or [{}] * len(partition)
            places = path_list.read_locations(job, partition)
            found |= dict(enumerate(zip(places, rows, strict=True), partition.start))
        return found

    gone = (1, 2, 3, 6, 7, 8, 10)
    before = known_of(job)
    remove(job, *gone)
    rows = rows_of(job)
    assert compacted(job).made == 1
    job = open_job(job)
    after = known_of(job)
    assert {image: after[image] for image in after if image not in gone} == {
        image: before[image] for image in before if image not in gone
    }
    assert rows_of(job) == rows
    for image in gone:
        place, row = after[image]
        assert (place.path, place.member, [*filter(None, row.values())]) == ("", None, [])


def test_places_that_an_earlier_version_wrote_can_be_joined_with_those_of_today(tmp_path: Path) -> None:
    job = sealed(FORMS["webdataset"](tmp_path).source, JobDir(tmp_path / "job"))
    table = pq.read_table(job.paths(1))
    member = table["member"].combine_chunks()
    earlier = pa.StructArray.from_arrays(
        [member.field(place) for place in range(5)], fields=list(member.type)[:5], mask=member.is_null()
    )
    table = table.set_column(table.schema.get_field_index("member"), "member", earlier)
    pq.write_table(table, job.paths(1), write_page_checksum=True)
    before = path_list.read_locations(job, job.partition(1))
    remove(job, 0, 1, 2, 5, 6, 7)
    compacted(job)
    job = open_job(job)
    partition = job.partition_of(8)
    assert partition.start < 5
    after = path_list.read_locations(job, partition)
    assert [after[image - partition.start] for image in (8, 9)] == before[3:5]


def test_a_full_disk_leaves_the_job_as_it_was(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    remove(job, 5, 30, 55)
    before, times = snapshot(job.path), iter((None, None, OSError(28, "No space left on device")))
    real = files.written_aside

    @contextmanager
    def full(path: Path, **options: Any) -> Iterator[Path]:
        if path.parent.name == "img_emb" and (error := next(times)):
            raise error
        with real(path, **options) as aside:
            yield aside

    monkeypatch.setattr(files, "written_aside", full)
    with pytest.raises(OSError, match="No space left"):
        compacted(job)
    assert snapshot(job.path) == before


def test_a_change_that_does_not_fit_what_it_replaces_is_refused(job: OpenJob) -> None:
    remove(job, 5)
    compacted(job)
    (change,) = read_changes(job)[1:]
    write_change(job, job.manifest, Change(3, "compact", replaced=change.replaced))
    with pytest.raises(CorruptFile, match=r"000003\.json does not fit .*it puts Partition"):
        open_job(job)
