import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.integrity.findings import Checked, Kind
from coordinator.integrity.repair import Outcome, repair
from coordinator.integrity.verify import verify
from coordinator.sources.listing import Listing
from coordinator.sources.resolve import open_source
from shared.job import altered_copies, path_list
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.answers import ANSWERS_FILE, ExactAnswer, ExactAnswers, write_answers
from shared.job.index.calibration import CALIBRATION_FILE, none_measured, write_calibration
from shared.job.index.filling import filling_of
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.index.shards import shard_file
from shared.job.opened import OpenJob, open_job
from shared.job.partition import checkpoint, ledger
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.damage import DAMAGES, age, cut, flip, snapshot
from tests.support.source_jobs import all_paths, commit, job_of_a_list
from workers.merge import build as merging
from workers.merge.shards import ShardsWanted

pytestmark = pytest.mark.slow

JobOf = Callable[..., JobDir]


@pytest.fixture
def finished(tmp_path: Path) -> OpenJob:
    return job_of_a_list(tmp_path, index=True)


@pytest.fixture
def half(tmp_path: Path) -> OpenJob:
    return job_of_a_list(tmp_path, sealed=[0], chunks={1: [0, 2]})


def mend(job: JobDir, *, dry_run: bool = False) -> list[Outcome]:
    return list(repair(job, Checked(), dry_run=dry_run))


def missing(job: JobDir) -> list[tuple[int, int]]:
    """The chunks that are to be embedded, as a worker looks for them."""
    job = open_job(job)
    return [
        (partition.number, chunk.number)
        for partition in job.partitions
        if not ledger.is_sealed(job, partition.number)
        for chunk in checkpoint.missing_chunks(job, partition)
    ]


def finish(job: JobDir) -> None:
    """Do what the workers would do: embed what is missing, seal, merge."""
    job = open_job(job)
    paths = all_paths(job)
    for number, chunk in missing(job):
        commit(job, number, chunk, paths)
    for partition in job.partitions:
        ledger.seal_partition(job, partition)
    merging.merge(job, Settings(), UNWATCHED)


def sealed_bytes(job: JobDir) -> dict[str, bytes]:
    kinds = ("paths", "img_emb", "metadata", "errors")
    return {name: data for kind in kinds for name, data in snapshot(job.path / kind).items()}


def test_a_whole_job_is_not_changed_by_a_byte(finished: OpenJob) -> None:
    before = snapshot(finished.path)
    assert mend(finished) == []
    assert snapshot(finished.path) == before


def test_a_job_under_way_is_not_changed_by_a_byte(half: OpenJob) -> None:
    before = snapshot(half.path)
    assert mend(half) == []
    assert snapshot(half.path) == before


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["img_emb", "metadata", "errors", "seal"])
def test_a_damaged_partition_is_taken_back_and_done_again_byte_for_byte(
    finished: OpenJob, kind: str, damage: str
) -> None:
    before = sealed_bytes(finished)
    path: Path = getattr(finished, kind)(1)
    if kind == "seal" and damage == "flipped":
        flip(path, position=path.read_bytes().index(b"embedded") + 11)
    else:
        DAMAGES[damage](path)
    outcomes = mend(finished)
    assert [outcome.mended for outcome in outcomes if outcome.finding.kind is Kind.DAMAGE] in ([True], [])
    assert missing(finished) == [(1, 0), (1, 1), (1, 2)]
    assert not any(path.exists() for path in finished.sealed_files(1))
    finish(finished)
    assert list(verify(finished, Checked())) == []
    assert sealed_bytes(finished) == before


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "deleted"])
def test_a_damaged_chunk_is_taken_back_alone(half: OpenJob, damage: str) -> None:
    assert missing(half) == [(1, 1), (2, 0)]
    DAMAGES[damage](half.chunk(1, 2))
    (outcome,) = mend(half)
    assert outcome.mended
    assert "It is taken back" in outcome.sentence
    assert missing(half) == [(1, 1), (1, 2), (2, 0)]
    finish(half)
    assert list(verify(half, Checked())) == []


def with_copies(job: JobDir, fingerprint: str | None = None) -> bytes:
    """Write altered copies as an embed worker does; returns the file's bytes."""
    job = open_job(job)
    digest = builds.ledger_digest(ledger.sealed(job))
    made = altered_copies.Copies(
        ids=np.arange(6, dtype=np.int64),
        alterations=("flip",) * 6,
        similarities=np.ones(6, dtype=np.float32),
        embeddings=np.eye(6, 16, dtype=np.float16),
        fingerprint=fingerprint or job.manifest.model.fingerprint,
        ledger_digest=digest,
        seed=0,
    )
    altered_copies.write_copies(job, made)
    return job.copies.read_bytes()


def test_whole_altered_copies_stay(finished: OpenJob) -> None:
    before = with_copies(finished)
    assert mend(finished) == []
    assert finished.copies.read_bytes() == before


@pytest.mark.parametrize("damage", ["flipped", "cut", "another model"])
def test_damaged_altered_copies_are_removed_and_the_index_stays(finished: OpenJob, damage: str) -> None:
    if damage == "another model":
        with_copies(finished, "other@0123")
    else:
        with_copies(finished)
        DAMAGES[damage](finished.copies)
    current = finished.current.read_text()
    (outcome,) = mend(finished)
    assert (outcome.finding.path, outcome.finding.kind, outcome.mended) == ("copies.parquet", Kind.DAMAGE, True)
    assert "It is removed, and made anew before the next index is built" in outcome.sentence
    assert "lookalike repair" not in outcome.sentence
    assert not finished.copies.exists()
    assert finished.current.read_text() == current
    assert mend(finished) == []


def test_two_damaged_files_of_a_partition_are_taken_back_together(finished: OpenJob) -> None:
    cut(finished.img_emb(1))
    flip(finished.metadata(1))
    flip(finished.metadata(2))
    assert [outcome.mended for outcome in mend(finished)] == [True] * 3
    assert missing(finished) == [(1, 0), (1, 1), (1, 2), (2, 0)]


def test_a_dry_run_says_the_same_and_changes_nothing(finished: OpenJob) -> None:
    cut(finished.img_emb(1))
    cut(finished.paths(0))
    finished.current.write_bytes(b"0009-gone\n")
    before = snapshot(finished.path)
    would = mend(finished, dry_run=True)
    assert snapshot(finished.path) == before
    assert all("It would be" in outcome.sentence for outcome in would)
    did = mend(finished)
    assert [outcome.sentence.replace("would be", "is") for outcome in would] == [o.sentence for o in did]
    assert [path for path in before if path not in snapshot(finished.path)] != []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_path_list_comes_back_from_the_sealed_files(finished: OpenJob, tmp_path: Path, damage: str) -> None:
    before = snapshot(finished.path)
    (tmp_path / "photos.txt").unlink()
    DAMAGES[damage](finished.paths(1))
    (outcome,) = mend(finished)
    assert outcome.mended
    assert "from the metadata and errors" in outcome.sentence
    assert snapshot(finished.path) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_path_list_comes_back_from_the_source(half: OpenJob, damage: str) -> None:
    before = snapshot(half.path)
    DAMAGES[damage](half.paths(1))
    cut(half.paths(2))
    outcomes = mend(half)
    assert [outcome.mended for outcome in outcomes] == [True, True]
    assert "photos.txt" in outcomes[0].sentence
    assert snapshot(half.path) == before


def test_a_path_list_of_a_partition_that_is_taken_back_comes_from_its_metadata(
    finished: OpenJob, tmp_path: Path
) -> None:
    (tmp_path / "photos.txt").unlink()
    before = all_paths(finished)
    cut(finished.paths(1))
    flip(finished.img_emb(1))
    assert [outcome.mended for outcome in mend(finished)] == [True, True]
    assert all_paths(finished) == before
    assert missing(finished) == [(1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize("change", ["gone", "longer", "other", "stdin"])
def test_a_path_list_that_nothing_can_give_again_is_to_be_restored(
    half: OpenJob, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos.txt"
    if change == "gone":
        photos.unlink()
    elif change == "stdin":
        half.spec.write_text(half.spec.read_text().replace('"kind": "list"', '"kind": "stdin"'))
    else:
        photos.write_text(photos.read_text() + "more.jpg\n" if change == "longer" else "a.jpg\n" * 60)
    cut(half.paths(2))
    before = snapshot(half.path)
    (outcome,) = mend(half)
    assert not outcome.mended
    assert "restore it from a copy" in outcome.sentence
    assert snapshot(half.path) == before


def test_a_source_that_changes_while_it_is_listed_gives_no_path_list(
    half: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos.txt"
    listed: list[Path] = []

    def then_changed(*arguments: Any, **options: Any) -> Listing:
        if listed:  # It was found to be the one that the job was made of.
            photos.write_text("a.jpg\n" * 60)
        listed.append(photos)
        return open_source(*arguments, **options)

    monkeypatch.setattr("coordinator.integrity.repair.open_source", then_changed)
    cut(half.paths(2))
    (outcome,) = mend(half)
    assert len(listed) == 2
    assert not outcome.mended
    assert "changed while it was listed" in outcome.sentence
    assert not half.paths(2).exists()


def test_a_damaged_job_json_is_left_and_with_it_all_else(finished: OpenJob) -> None:
    cut(finished.spec)
    cut(finished.img_emb(1))
    before = snapshot(finished.path)
    (outcome,) = mend(finished)
    assert not outcome.mended
    assert "Repair can't make it anew" in outcome.sentence
    assert snapshot(finished.path) == before


def second_build(job: JobDir) -> tuple[str, str]:
    """Give a job another whole build of the same embeddings; the names of the first, which is promoted, and of it."""
    (first,) = builds.build_names(job)
    second = first.replace("0001", "0002")
    shutil.copytree(job.build_dir(first), job.build_dir(second))
    info = (job.build_dir(second) / builds.INFO_FILE).read_text().replace(first, second)
    (job.build_dir(second) / builds.INFO_FILE).write_text(info)
    (job.build_dir(second) / ANSWERS_FILE).unlink()
    return first, second


def test_current_falls_back_to_another_whole_build(finished: OpenJob) -> None:
    first, second = second_build(finished)
    flip(finished.build_dir(first) / builds.INDEX_FILE)
    assert [outcome.mended for outcome in mend(finished)] == [True, True]
    assert builds.current_build(finished) == second
    assert builds.build_names(finished) == [second]
    assert list(verify(finished, Checked())) == []


@pytest.mark.parametrize("content", [b"", b"0007-gone\n", None])
def test_a_damaged_current_names_a_whole_build_again(finished: OpenJob, content: bytes | None) -> None:
    before = snapshot(finished.path)
    finished.current.unlink() if content is None else finished.current.write_bytes(content)
    assert [outcome.mended for outcome in mend(finished)] == [True]
    assert snapshot(finished.path) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_and_another_whole_build_serves(finished: OpenJob, damage: str) -> None:
    one = builds.current_build(finished)
    write_index_request(finished, IndexRequest(shards=3))
    finish(finished)
    build = builds.current_build(finished)
    assert build is not None
    assert build != one
    assert list(verify(finished, Checked())) == []
    DAMAGES[damage](finished.build_dir(build) / shard_file(1))
    assert any(shard_file(1) in finding.wrong for finding in verify(finished, Checked()))
    mend(finished)
    assert builds.current_build(finished) == one
    assert builds.build_names(finished) == [one]
    finish(finished)
    assert len(builds.read_info(finished, builds.current_build(finished) or "").shards) == 3
    assert list(verify(finished, Checked())) == []


def test_shards_that_are_being_filled_are_left_until_they_are_old(finished: OpenJob) -> None:
    serving = builds.current_build(finished)
    write_index_request(finished, IndexRequest(shards=3))
    with pytest.raises(ShardsWanted):
        merging.merge(finished, Settings(), UNWATCHED, elsewhere=True)
    (name,) = set(builds.build_names(finished)) - {serving}
    mend(finished)
    assert filling_of(finished, name) is not None
    for path in (*finished.build_dir(name).iterdir(), finished.build_dir(name)):
        age(path)
    mend(finished)
    assert builds.build_names(finished) == [serving]


@pytest.mark.parametrize("name", [builds.INDEX_FILE, builds.IMAGES_FILE, builds.INFO_FILE])
def test_without_another_build_the_next_index_builds_one(finished: OpenJob, name: str) -> None:
    (first,) = builds.build_names(finished)
    cut(finished.build_dir(first) / name)
    assert all(outcome.mended for outcome in mend(finished))
    assert builds.current_build(finished) is None
    assert builds.build_names(finished) == []
    finish(finished)
    assert builds.current_build(finished) is not None
    assert list(verify(finished, Checked())) == []


def test_leftovers_go_and_what_is_not_ours_stays(finished: OpenJob, half_of_it: JobOf) -> None:
    before = snapshot(finished.path)
    mine = finished.path / "index" / "notes.txt"
    mine.write_text("mine")
    hidden = finished.chunk_dir(0) / "mine.txt"
    shutil.copytree(half_of_it().chunk_dir(1), finished.chunk_dir(0))
    hidden.write_text("mine")
    aside = finished.path / "ledger" / f".0001.json.{'a' * 32}.tmp"
    aside.write_text("half")
    unfinished = finished.build_dir("0003-ab12cd34")
    unfinished.mkdir()
    (unfinished / builds.IMAGES_FILE).write_text("half")
    shutil.copy(finished.seal(0), finished.seal(8))
    for one in (aside, unfinished, finished.seal(8)):
        age(one)
    outcomes = mend(finished)
    assert [outcome.finding.kind for outcome in outcomes if not outcome.mended] == [Kind.FOREIGN]
    assert snapshot(finished.path) == before | {str(mine): b"mine", str(hidden): b"mine"}


@pytest.fixture
def half_of_it(tmp_path: Path) -> JobOf:
    def make() -> JobDir:
        (tmp_path / "other").mkdir()
        return job_of_a_list(tmp_path / "other", sealed=[], chunks={1: [0]})

    return make


def test_nothing_behind_a_link_out_of_the_job_is_removed(finished: OpenJob, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (finished.path / "img_emb").rename(elsewhere)
    (finished.path / "img_emb").symlink_to(elsewhere)
    cut(finished.img_emb(1))
    before = snapshot(elsewhere)
    (outcome,) = mend(finished)
    assert not outcome.mended
    assert "out of the job" in outcome.sentence
    assert snapshot(elsewhere) == before
    assert finished.seal(1).exists()


def test_what_can_not_be_removed_is_said_and_the_rest_goes_on(
    finished: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(finished.img_emb(0))
    flip(finished.img_emb(1))
    stubborn, real = finished.seal(0), Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path == stubborn:
            raise OSError(30, "Read-only file system", str(path))
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    outcomes = mend(finished)
    assert [outcome.mended for outcome in outcomes] == [False, True]
    assert "Read-only file system" in outcomes[0].sentence
    assert finished.img_emb(0).exists()


class Killed(BaseException):
    """Stands in for a kill."""


@pytest.mark.parametrize("after", range(9))
def test_a_repair_that_is_killed_leaves_a_job_that_the_next_one_mends(
    finished: OpenJob, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    before = sealed_bytes(finished)
    (first,) = builds.build_names(finished)
    flip(finished.img_emb(1))
    flip(finished.build_dir(first) / builds.INDEX_FILE)
    real, removed = Path.unlink, []

    def killed(path: Path, missing_ok: bool = False) -> None:
        if len(removed) == after:
            raise Killed
        removed.append(path)
        real(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        try:
            mend(finished)
        except Killed:
            pass
        else:
            assert after == 8
    if removed[3:]:  # The marker is gone, so nothing looks sealed whose files are not all there.
        assert not finished.seal(1).exists()
    if not finished.current.exists():
        assert removed.index(finished.current) < len(removed)
    elif removed:
        assert builds.is_whole(finished, builds.current_build(finished) or "")
    for build in builds.build_names(finished):
        age(finished.build_dir(build))
    mend(finished)
    finish(finished)
    assert list(verify(finished, Checked())) == []
    assert sealed_bytes(finished) == before


def test_a_partition_that_is_sealed_anew_meanwhile_is_not_taken_back_twice(finished: OpenJob) -> None:
    before = sealed_bytes(finished)
    cut(finished.img_emb(1))
    cut(finished.metadata(1))
    stream = repair(finished, Checked())
    next(stream)
    assert missing(finished) == [(1, 0), (1, 1), (1, 2)]
    finish(finished)
    assert all(outcome.mended for outcome in stream)
    assert sealed_bytes(finished) == before
    assert ledger.is_sealed(finished, 1)


def test_the_rows_of_a_rebuilt_path_list_are_read_as_before(half: OpenJob) -> None:
    before = all_paths(half)
    os.remove(half.paths(0))
    mend(half)
    assert path_list.read_paths(half, half.partition(0)) == before[:25]


@pytest.mark.parametrize(("name", "without"), [(CALIBRATION_FILE, "tells no chances"), (ANSWERS_FILE, "takes longer")])
def test_what_lies_beside_a_build_is_removed_where_it_is_damaged_and_the_build_stays(
    finished: OpenJob, name: str, without: str
) -> None:
    info = builds.current_info(finished)
    assert info is not None
    write_calibration(finished, none_measured(info.build, info.fingerprint, "Nothing."))
    write_answers(finished, ExactAnswers.of(info, [ExactAnswer(1, [2], [0.5])]))
    assert mend(finished) == []
    path = finished.build_dir(info.build) / name
    cut(path)
    (outcome,) = mend(finished)
    assert outcome.finding.kind is Kind.DAMAGE
    assert without in outcome.finding.wrong
    assert not path.exists()
    assert list(verify(finished, Checked())) == []
    assert builds.current_info(finished) == info
