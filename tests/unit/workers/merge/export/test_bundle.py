"""A bundle holds what is searched of a job, and nothing else; there is none until it is whole."""

import errno
import json
import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from shared.errors import CorruptFile, ImageError, JobError, JobMismatch, JobNotFound, NoIndexYet
from shared.job.bundle.thumbnails import read_thumbnail
from shared.job.changes.log import Change, write_change
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.local.job_files import JobFiles
from shared.job.manifest import load_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.path_list import read_paths
from shared.job.source.moved import Moved, read_moved, write_moved
from shared.messages.filter import Filter
from shared.settings import Settings
from shared.storage import files
from shared.storage.parquet import read_table
from tests.support.compactions import compacted
from tests.support.controls import UNWATCHED
from tests.support.damage import flip
from tests.support.make_job import MadeJob, clustered, grow_job, image_path, make_job
from tests.support.once import made_once
from workers.merge.build import merge
from workers.merge.export import beginning
from workers.merge.export.bundle import Asked, export, main
from workers.search.pool import SearcherPool
from workers.search.searcher import Searcher
from workers.vectors.ann import faiss_index
from workers.vectors.ann.faiss_index import IndexPlan, plan_from_factory
from workers.vectors.embeddings import StoredEmbeddings

pytestmark = pytest.mark.slow

FAILED = {0, 3, 599}
REMOVED = [1, 3, 250, 251, 598]


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured is tested with `measure`."""
    monkeypatch.setattr("workers.merge.export.measure.QUERIES", 10)


def small_ivf(n: int, d: int, request: IndexRequest) -> IndexPlan:
    return replace(plan_from_factory("PCAR16,IVF16,PQ8x4fs", n, d), nprobe=8)


def made_job(path: Path, *, flat: bool = True, listed: int = 600) -> MadeJob:
    """A job with an index; a copy of the one that was made first, as building an index takes longer than an export."""

    def make(folder: Path) -> None:
        failed = {image for image in FAILED if image < listed}
        made = make_job(folder / "job", clustered(listed, 32, clusters=40), failed=failed, partition_size=250)
        merge(made.job, Settings(recall_target=0.95), UNWATCHED, faiss_index.plan_for if flat else small_ivf)

    shutil.copytree(made_once(f"exported {flat} {listed}", make) / "job", path)
    job = open_job(JobDir.at(path))
    stored = StoredEmbeddings.open(JobFiles.of(job), list(ledger.sealed(job)))
    return MadeJob(job, stored.ids, stored.rows(np.arange(len(stored))))


def removed(job: OpenJob, ids: list[int]) -> OpenJob:
    change = Change(job.state.number + 1, "delete", removed=np.array(ids, np.int64))
    write_change(job, job.manifest, change)
    return open_job(job)


def exported(job: OpenJob, place: Path, thumbnails: int = 0) -> dict[str, Any]:
    return export(job, JobDir.at(place), Asked(thumbnails), lambda what, done, of: None)


def searcher_of(path: Path) -> Searcher:
    job = JobDir.at(path)
    build = builds.current_build(job)
    assert build is not None
    return Searcher.open(JobFiles.of(job), build)


@pytest.mark.usefixtures("all_queries")
def test_a_bundle_finds_nearly_what_its_job_finds(tmp_path: Path) -> None:
    for flat in (True, False):
        made = made_job(tmp_path / f"job {flat}", flat=flat)
        result = exported(made.job, tmp_path / f"bundle {flat}")
        of_job, of_bundle = searcher_of(made.job.path), searcher_of(tmp_path / f"bundle {flat}")
        assert result["images"] == len(made.ids) == of_bundle.ntotal
        same, queries, worst = 0, clustered(40, 32, clusters=40), 0.0
        for query in queries:
            true = {hit.id: hit.similarity for hit in of_job.search(query, 10, exact=True)}
            found = of_bundle.search(query, 10)
            same += len(true.keys() & {hit.id for hit in found})
            assert [hit.image_path for hit in found] == [image_path(hit.id) for hit in found]
            worst = max(worst, *(abs(hit.similarity - true.get(hit.id, hit.similarity)) for hit in found))
        assert same > 0.93 * 400
        assert 0 < worst < 0.01
        assert result["recall_at_10"] > 0.85
        assert 0 < result["error_p99"] <= result["error_most"] < 0.01
        info = builds.current_info(JobDir.at(tmp_path / f"bundle {flat}"))
        assert info is not None
        assert info.recall_at_10 == result["recall_at_10"]
        assert not list(verify(JobDir.at(tmp_path / f"bundle {flat}"), Checked()))


@pytest.mark.parametrize("flat", [True, False])
def test_removed_images_are_nowhere_in_a_bundle(tmp_path: Path, flat: bool) -> None:
    made = made_job(tmp_path / "job", flat=flat)
    renamed = {image_path(250): "photos/gone.jpg", image_path(4): "photos/here.jpg"}
    write_moved(made.job, Moved("", "", renamed))
    job = removed(made.job, REMOVED)
    result = exported(job, tmp_path / "bundle")
    bundle = open_job(JobDir.at(tmp_path / "bundle"))
    left = np.setdiff1d(made.ids, REMOVED)
    assert (result["images"], result["removed"]) == (len(left), len(REMOVED))
    held = np.concatenate([read_table(bundle.metadata(seal.partition))["id"] for seal in ledger.sealed(bundle)])
    assert held.tolist() == left.tolist()
    failed = [image for one in bundle.partitions for image in read_table(bundle.errors(one.number))["id"].to_pylist()]
    assert failed == [0, 599]
    listed = [path for one in bundle.partitions for path in read_paths(bundle, one)]
    assert [image for image, path in enumerate(listed) if not path] == REMOVED
    assert dict(read_moved(bundle).renamed) == {image_path(4): "photos/here.jpg"}
    info = builds.current_info(bundle)
    assert info is not None
    index = faiss_index.load(bundle.build_dir(info.build) / builds.INDEX_FILE, ntotal=len(left), dim=32)
    everything = faiss_index.candidates(index, clustered(1, 32), 600, 16)
    assert np.setdiff1d(everything, [-1]).tolist() == left.tolist()
    searcher = searcher_of(bundle.path)
    for query in made.embeddings[np.isin(made.ids, REMOVED)].astype(np.float32):
        assert not {hit.id for hit in searcher.search(query, 100)} & set(REMOVED)
        assert not {hit.id for hit in searcher.search(query, 600, exact=True)} & set(REMOVED)
    chosen = searcher.search(clustered(1, 32)[0], 10, filter=Filter(where="id > 245 and id < 254"))
    assert sorted(hit.id for hit in chosen) == [246, 247, 248, 249, 252, 253]
    assert b"gone.jpg" not in b"".join(path.read_bytes() for path, _ in bundle.files())


def test_a_graph_that_holds_removed_images_is_refused(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    write_index_request(made.job, IndexRequest(index="IDMap2,HNSW8,SQ8", recall=0.9))
    merge(made.job, Settings(), UNWATCHED)
    assert exported(made.job, tmp_path / "whole")["images"] == 60
    with pytest.raises(JobError, match=r"holds 1 images that were removed, and one of the type .* can't give them up"):
        exported(removed(made.job, [7]), tmp_path / "bundle")
    assert not JobDir.at(tmp_path / "bundle").spec.exists()


def test_an_index_of_files_that_a_bundle_does_not_carry_is_refused(tmp_path: Path) -> None:
    made = made_job(tmp_path / "job", listed=60)
    info = builds.current_info(made.job)
    assert info is not None
    more = {**info.files, "index_0001.faiss": info.files[builds.INDEX_FILE]}
    builds.write_info(made.job, replace(info, files=more))
    with pytest.raises(JobError, match=r"is of the files images.arrow, index.faiss, index_0001.faiss, and a bundle"):
        exported(made.job, tmp_path / "bundle")
    assert not JobDir.at(tmp_path / "bundle").spec.exists()


@pytest.mark.parametrize(
    ("family", "is_compacted"), [("flat", False), ("flat", True), ("ivf-pq", False), ("ivf-pq", True), ("hnsw", False)]
)
def test_an_index_of_shards_is_carried_as_shards_without_what_was_removed(
    tmp_path: Path, family: str, is_compacted: bool
) -> None:
    made = make_job(tmp_path / "job", clustered(900, 32), partition_size=250, chunk_size=250)
    write_index_request(made.job, IndexRequest(index=family, recall=0.9, shards=3))
    merge(made.job, Settings(), UNWATCHED)
    gone = [5, *range(300, 600), 700]  # All of the second shard is among them.
    if family == "hnsw":
        assert exported(made.job, tmp_path / "whole")["images"] == 900
        assert len(searcher_of(tmp_path / "whole").search(made.embeddings[0], 900)) == 900
        with pytest.raises(JobError, match="can't give them up"):
            exported(removed(made.job, gone), tmp_path / "bundle")
        return
    job = removed(made.job, gone)
    if is_compacted:
        compacted(job)
    assert exported(open_job(made.job), tmp_path / "bundle")["images"] == 598
    bundle = open_job(JobDir.at(tmp_path / "bundle"))
    info = builds.current_info(bundle)
    assert info is not None
    if family == "flat":  # In half a byte a value it is one file.
        assert (info.type, info.index_files, info.format) == ("SQ4", [builds.INDEX_FILE], builds.FORMAT)
    else:
        assert (info.shards, info.format) == ([[0, 299], [299, 598]], builds.FORMAT_OF_SHARDS)
    assert {path.name for path in bundle.build_dir(info.build).iterdir()} == {*info.files, builds.INFO_FILE}
    left = np.setdiff1d(np.arange(900), gone)
    searcher = searcher_of(tmp_path / "bundle")
    assert [hit.id for hit in sorted(searcher.search(made.embeddings[0], 900), key=lambda hit: hit.id)] == left.tolist()
    found = searcher.search_many(made.embeddings[left].astype(np.float32)[::13], 1)
    assert [hits[0].id for hits in found] == left[::13].tolist()
    assert not list(verify(bundle, Checked()))


@pytest.mark.parametrize("flat", [True, False])
def test_images_that_no_build_covers_are_in_the_bundle_and_found(tmp_path: Path, flat: bool) -> None:
    more = clustered(30, 32, seed=9)
    made = grow_job(made_job(tmp_path / "job", flat=flat), more)
    job = removed(made.job, [603])
    result = exported(job, tmp_path / "bundle")
    assert (result["images"], result["additions"]) == (len(made.ids) - 1, 29)
    searcher = searcher_of(tmp_path / "bundle")
    firsts = [searcher.search(vector, 1)[0] for vector in more]
    assert [hit.id for hit in firsts] == [*range(600, 603), firsts[3].id, *range(604, 630)]
    assert firsts[3].id != 603
    assert all(hit.similarity > 0.99 for place, hit in enumerate(firsts) if place != 3)


def test_a_job_that_is_not_done_is_refused_with_what_to_do(tmp_path: Path) -> None:
    half = make_job(tmp_path / "half", sealed=[0])
    with pytest.raises(JobError, match=r"35 of the 60 images of .*half are not sealed yet: indexing does them"):
        exported(half.job, tmp_path / "bundle")
    unbuilt = make_job(tmp_path / "unbuilt")
    with pytest.raises(NoIndexYet, match=r"unbuilt has no index yet: indexing builds it"):
        exported(unbuilt.job, tmp_path / "bundle")
    made = made_job(tmp_path / "job", listed=60)
    with pytest.raises(JobError, match="not sealed yet"):
        exported(grow_job(made, clustered(5, 32), sealed=False).job, tmp_path / "bundle")
    gone = made_job(tmp_path / "gone", listed=60)
    with pytest.raises(JobError, match=r"All embedded images of .*gone were removed"):
        exported(removed(gone.job, list(range(60))), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_embeddings_that_are_not_what_was_sealed_are_refused(tmp_path: Path) -> None:
    made = made_job(tmp_path / "job")
    flip(made.job.img_emb(1))
    with pytest.raises(CorruptFile, match=r"img_emb_0001.npy is not what its seal says"):
        exported(made.job, tmp_path / "bundle")
    assert not JobDir.at(tmp_path / "bundle").spec.exists()


def test_a_disk_that_is_too_small_is_known_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = made_job(tmp_path / "job")
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage(free=10_000))
    with pytest.raises(JobError, match=r"would take about .* more, and the disk of .* has 10.0 kB left: make room"):
        exported(made.job, tmp_path / "bundle")
    assert not JobDir.at(tmp_path / "bundle").seal(0).exists()


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


class _Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


def test_a_kill_at_any_write_leaves_no_bundle_and_the_next_run_finishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = grow_job(made_job(tmp_path / "job", listed=30), clustered(5, 32))
    job = removed(made.job, [7])
    exported(job, tmp_path / "whole", 32)  # None of the photos is there, so the thumbnails are empty.
    expected = load_manifest(JobDir.at(tmp_path / "whole")).bundle
    assert expected is not None
    replace_, left = os.replace, 0

    def replacing(source: Any, target: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            aside = Path(target).parent / f".{Path(target).name}.{'0' * 32}.tmp"  # What SIGKILL would leave.
            aside.write_bytes(b"half")
            raise _Killed
        replace_(source, target)

    monkeypatch.setattr(os, "replace", replacing)
    for step in range(1, 100):
        place = JobDir.at(tmp_path / f"bundle {step}")
        left = step
        try:
            exported(job, place.path, 32)
        except _Killed:
            assert not place.spec.exists()
            with pytest.raises(JobNotFound, match="is a bundle that is not whole" if step > 1 else "no job"):
                load_manifest(place)
            left = 0
            exported(job, place.path, 32)
        bundle = load_manifest(place).bundle
        assert bundle is not None
        assert not list(verify(place, Checked()))
        same = {name for name, entry in expected.files.items() if bundle.files.get(name) == entry}
        # Only the measured milliseconds differ.
        assert {*expected.files, *bundle.files} - same <= {name for name in expected.files if "index.json" in name}
        assert (bundle.recall_at_10, bundle.error_most) == (expected.recall_at_10, expected.error_most)
        if left > 0:
            break  # It ran to its end.
    assert step > 20


def test_what_was_begun_of_another_state_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_job(tmp_path / "job")
    place = JobDir.at(tmp_path / "bundle")
    monkeypatch.setattr("workers.merge.export.bundle.write_manifest", _killed)
    with pytest.raises(_Killed):
        exported(made.job, place.path)
    kept = place.img_emb(2).stat().st_mtime_ns  # The number of a removed file may be given to the next one.
    with pytest.raises(_Killed):
        exported(made.job, place.path)
    assert place.img_emb(2).stat().st_mtime_ns == kept  # Done partitions are not done again.
    monkeypatch.undo()
    result = exported(removed(made.job, REMOVED), place.path)
    assert result["removed"] == len(REMOVED)
    assert place.img_emb(2).stat().st_mtime_ns != kept
    assert searcher_of(place.path).ntotal == result["images"] == len(np.setdiff1d(made.ids, REMOVED))


def _killed(*arguments: Any) -> None:
    raise _Killed


def test_one_that_was_killed_when_it_was_whole_is_not_taken_for_another(tmp_path: Path) -> None:
    made, other = made_job(tmp_path / "job", listed=60), made_job(tmp_path / "other", listed=80)
    place = JobDir.at(tmp_path / "bundle")
    exported(made.job, place.path)
    marker = JobDir.at(tmp_path / "marker")
    beginning.begin(made.job, marker, list(ledger.sealed(made.job)), 0)
    place.exporting.write_bytes(marker.exporting.read_bytes())
    before = {path: path.read_bytes() for path, _ in place.files()}
    with pytest.raises(JobError, match="is a bundle already, and not of this"):
        exported(other.job, place.path)
    assert {path: path.read_bytes() for path, _ in place.files()} == before
    exported(made.job, place.path)
    assert not place.exporting.exists()
    assert not list(verify(place, Checked()))


def test_a_change_of_the_job_meanwhile_is_said(tmp_path: Path) -> None:
    made = made_job(tmp_path / "job", listed=60)
    told: list[str] = []

    def changing(what: str, done: int, of: int) -> None:
        if what == "measuring":
            removed(made.job, [7])
        told.append(what)

    result = export(made.job, JobDir.at(tmp_path / "bundle"), Asked(), changing)
    assert result["renewed"]
    assert (result["change"], result["images"]) == (0, 58)
    assert list(dict.fromkeys(told)) == ["images", "index", "measuring", "checksums"]


def test_an_older_version_and_a_newer_bundle_say_what_to_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_job(tmp_path / "job", listed=60)
    exported(made.job, tmp_path / "bundle")
    spec = JobDir.at(tmp_path / "bundle").spec
    table = json.loads(spec.read_text())
    assert table["format"] == "bundle-1"  # Earlier versions read the formats 1 and 2, and name any other.
    spec.write_text(json.dumps(table | {"format": "bundle-2", "bundle": {"new": 1}}, indent=2) + "\n")
    with pytest.raises(JobMismatch, match=r"has format bundle-2, and this version of lookalike reads the formats 1, 2"):
        load_manifest(JobDir.at(tmp_path / "bundle"))
    for wrong in ({"format": 1}, {"dtype": "float16"}, {"bundle": {**table["bundle"], "at": "now"}}):
        spec.write_text(json.dumps(table | wrong, indent=2) + "\n")
        with pytest.raises(CorruptFile, match="is not a whole manifest"):
            load_manifest(JobDir.at(tmp_path / "bundle"))
    spec.write_text(json.dumps(table, indent=2)[:-300])
    with pytest.raises(CorruptFile, match="is not a whole manifest"):
        load_manifest(JobDir.at(tmp_path / "bundle"))


def test_job_and_bundle_may_be_in_a_store(tmp_path: Path) -> None:
    made = make_job(f"memory://{uuid.uuid4().hex}/photos")
    merge(made.job, Settings(recall_target=0.5), UNWATCHED)
    exported(made.job, tmp_path / "bundle")
    local = JobDir.at(tmp_path / "bundle")
    np.save(_folder(local.thumbnail_offsets(1)), np.array([0, 3, *[7] * 24]))
    local.thumbnails(1).write_bytes(b"onetwo!")
    copy = JobDir.at(f"memory://{uuid.uuid4().hex}/bundle")
    for path, _ in local.files():
        files.write_bytes(copy.path / path.relative_to(local.path).as_posix(), path.read_bytes())
    pool = SearcherPool(Settings())
    for job in (local, copy):
        hits = pool.searcher(job).search(made.embeddings[7].astype(np.float32), 3)
        assert (hits[0].id, hits[0].similarity) == (7, pytest.approx(1, abs=1e-3))
        assert [read_thumbnail(job, 1, image) for image in (25, 26)] == [b"one", b"two!"]
        with pytest.raises(ImageError, match="could not be read"):
            read_thumbnail(job, 1, 27)


def _folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize(("number", "todo"), [(errno.ENOSPC, "make room"), (errno.EIO, "see to its disk or mount")])
def test_a_disk_that_gives_up_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, todo: str
) -> None:
    made = made_job(tmp_path / "job")
    replace_ = os.replace

    def replacing(source: Any, target: Any) -> None:
        if "img_emb_0001" in str(target):
            raise OSError(number, os.strerror(number))
        replace_(source, target)

    monkeypatch.setattr(os, "replace", replacing)
    assert main([str(made.job.path), str(tmp_path / "bundle")]) == 1
    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert error["kind"] == "JobError"
    assert error["message"].startswith(
        f"{tmp_path / 'bundle'} does not take the bundle ({os.strerror(number)}): {todo}"
    )
    assert not JobDir.at(tmp_path / "bundle").spec.exists()
    monkeypatch.undo()
    assert main([str(made.job.path), str(tmp_path / "bundle")]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["result"]["images"] == len(made.ids)
    assert not list(verify(JobDir.at(tmp_path / "bundle"), Checked()))
