"""Bundles of jobs that were compacted, that hold images themselves, or that have several sources."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from coordinator.jobs.changes.refresh import add_source
from coordinator.jobs.progress import ProgressReader
from coordinator.sources.choosing import EVERYTHING
from shared.errors import JobError, SourceError
from shared.images.location import Location
from shared.job import path_list
from shared.job.bundle.stored_image import read_image
from shared.job.bundle.thumbnails import read_thumbnail
from shared.job.changes.adding import NewRows, add_partitions
from shared.job.changes.log import ADD, read_changes
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.manifest import write_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition.sealing import METADATA_SCHEMA
from shared.job.source.moved import Moved, read_moved, stored_path, write_moved
from shared.settings import Settings
from shared.storage import files
from tests.support.bundles import bundle_of
from tests.support.changed_jobs import embedded
from tests.support.compactions import compacted, remove, traces
from tests.support.controls import UNWATCHED
from tests.support.images.photographs import make_photos
from tests.support.make_job import MadeJob, clustered, grow_job, image_path, make_job
from tests.support.source_jobs import sealed
from workers.merge.build import merge
from workers.merge.export.bundle import Asked, export_job
from workers.search.pool import SearcherPool
from workers.search.searcher import Searcher
from workers.vectors.ann import faiss_index
from workers.vectors.ann.faiss_index import IndexPlan, plan_from_factory
from workers.vectors.codes import encode

pytestmark = pytest.mark.slow

GONE = [7, 31, 55]


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.merge.export.measure.QUERIES", 10)


def small_ivf(n: int, d: int, request: IndexRequest) -> IndexPlan:
    return replace(plan_from_factory("PCAR16,IVF4,PQ8x4fs", n, d), nprobe=4)


def grown(tmp_path: Path, *, flat: bool = True) -> MadeJob:
    """A job of 300 images with an index, and two small partitions that it does not cover."""
    made = make_job(tmp_path / "job", clustered(300, 32, clusters=40), failed={3}, partition_size=100)
    merge(made.job, Settings(), UNWATCHED, faiss_index.plan_for if flat else small_ivf)
    for seed in (1, 2):
        made = grow_job(made, clustered(4, 32, seed=seed))
    return made


def searcher_of(job: JobDir) -> Searcher:
    return SearcherPool(Settings()).searcher(job)


def held_by(job: JobDir, path: str, embedding: np.ndarray) -> list[str]:
    """The files of a job or a bundle that hold anything of an image: its path, its embedding or its codes."""
    codes = encode(embedding[None]).tobytes()
    coded = [file.relative_to(job.path).as_posix() for file, _ in job.files() if codes in file.read_bytes()]
    return sorted({*traces(job, path, embedding), *coded})


@pytest.mark.parametrize("flat", [True, False])
def test_a_compacted_job_is_exported_without_what_was_purged(tmp_path: Path, flat: bool) -> None:
    made = grown(tmp_path, flat=flat)
    removed = [*GONE, 301]
    write_moved(made.job, Moved("", "", {image_path(4): "photos/here.jpg"}))
    remove(made.job, *removed)
    compacted(made.job)
    remove(made.job, 120)  # Removed and not purged: its rows are still in the job.
    job = open_job(made.job)
    numbers = [one.number for one in job.partitions]
    assert numbers != list(range(len(numbers)))
    promoted = builds.current_info(job)
    assert promoted is not None
    assert promoted.ntotal == 299  # It holds what was purged.
    bundle = bundle_of(job, tmp_path / "bundle", thumbnails=16)
    left = np.setdiff1d(made.ids, [*removed, 120])
    assert [one.number for one in bundle.partitions] == numbers
    assert not list(verify(bundle, Checked()))
    info = builds.current_info(bundle)
    assert info is not None
    assert info.ntotal == np.count_nonzero(left < 300)
    index = faiss_index.load(bundle.build_dir(info.build) / builds.INDEX_FILE, ntotal=info.ntotal, dim=32)
    given = faiss_index.candidates(index, clustered(1, 32), 400, 4)
    assert np.setdiff1d(given, [-1]).tolist() == left[left < 300].tolist()
    searcher = searcher_of(bundle)
    assert searcher.ntotal == len(left)
    firsts = [searcher.search(vector, 1)[0] for vector in made.embeddings[np.isin(made.ids, left)].astype(np.float32)]
    assert np.mean([hit.id for hit in firsts] == left) > 0.97  # Some draws of a cluster are nearly the same.
    assert all(hit.image_path == read_moved(job).now(image_path(hit.id)) for hit in firsts)
    progress = ProgressReader(bundle).read()
    assert (progress.listed, progress.embedded, progress.failed, progress.pending) == (303, len(left), 1, 0)
    assert (progress.removed, progress.purged, progress.reclaimable, progress.beside) == (0, 0, 0, 7)
    assert progress.index_is_current
    listed = [path for one in bundle.partitions for path in path_list.read_paths(bundle, one)]
    assert [image for image, path in enumerate(listed) if not path] == sorted([*removed, 120])


@pytest.mark.parametrize("flat", [True, False])
def test_nothing_of_a_removed_image_is_found_in_the_bytes_of_a_bundle(tmp_path: Path, flat: bool) -> None:
    made = grown(tmp_path, flat=flat)
    known = {image: (image_path(image), made.embeddings[made.ids == image][0]) for image in (*GONE, 8, 120, 301)}
    remove(made.job, *GONE)
    compacted(made.job)
    remove(made.job, 120, 301)
    files.write_bytes(made.job.known(1), image_path(120).encode())
    bundle = bundle_of(open_job(made.job), tmp_path / "bundle")
    assert "known/known_0001.npy" in held_by(made.job, *known[120])
    assert "img_emb/img_emb_0005.npy" in held_by(bundle, *known[8])  # What is left is found so.
    for image in (*GONE, 120, 301):
        assert held_by(bundle, *known[image]) == []
    assert not (bundle.path / "known").exists()
    changes = read_changes(made.job)
    left_out = [made.job.removed(change.number, change.left_out_digest) for change in changes if change.left_out_digest]
    assert [path.name for path in left_out if path.is_file()]  # Keys of paths, and what their bytes are known by.
    assert [path.name for _, path in bundle.removed_files()] == [
        path.name for _, path in made.job.removed_files() if path not in left_out
    ]
    assert not list(verify(bundle, Checked()))


def test_a_graph_that_holds_purged_images_is_refused(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    write_index_request(made.job, IndexRequest(index="IDMap2,HNSW8,SQ8", recall=0.9))
    merge(made.job, Settings(), UNWATCHED)
    remove(made.job, 7)
    compacted(made.job)
    with pytest.raises(JobError, match=r"holds 1 images that were removed, and one of the type .* can't give them up"):
        bundle_of(open_job(made.job), tmp_path / "bundle")
    assert not JobDir.at(tmp_path / "bundle").spec.exists()


def test_an_export_that_a_compaction_overtakes_is_of_the_job_after_it(tmp_path: Path) -> None:
    made = grown(tmp_path)
    remove(made.job, *GONE)
    meanwhile = iter([lambda: compacted(made.job)])

    def told(what: str, done: int, of: int) -> None:
        if done:
            next(meanwhile, lambda: None)()

    result = export_job(made.job, JobDir.at(tmp_path / "bundle"), Asked(), told)
    assert next(meanwhile, None) is None
    bundle = open_job(JobDir.at(tmp_path / "bundle"))
    assert (result["change"], result["images"]) == (open_job(made.job).state.number, len(made.ids) - len(GONE))
    assert [one.number for one in bundle.partitions] == [one.number for one in open_job(made.job).partitions]
    assert not list(verify(bundle, Checked()))


def test_a_bundle_that_lost_its_current_build_compares_all_of_its_codes(tmp_path: Path) -> None:
    made = grown(tmp_path)
    bundle = bundle_of(made.job.renewed(), tmp_path / "bundle")
    bundle.current.unlink()
    searcher = searcher_of(bundle)
    for image in (0, 150, 302, 307):
        vector = made.embeddings[made.ids == image][0].astype(np.float32)
        hit = searcher.search(vector, 1)[0]
        assert (hit.id, hit.similarity) == (image, pytest.approx(1, abs=1e-3))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    make_photos(tmp_path / "photos", 8)
    return tmp_path / "photos"


@pytest.fixture
def job(tmp_path: Path, photos: Path) -> OpenJob:
    """The job of the photos in partitions of five, with its index."""
    job = sealed(str(photos), JobDir(tmp_path / "job"))
    write_manifest(job, replace(job.manifest, model=replace(job.manifest.model, dim=12)))
    merge(open_job(job), Settings(), UNWATCHED)
    return open_job(job)


def holding(job: OpenJob, photos: list[Path]) -> list[str]:
    """Add images to a job as bytes that it holds itself; their texts in the path list."""
    listed, rows = [], []
    for photo in photos:
        data = photo.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        files.write_bytes(job.added(digest, photo.name), data)
        listed.append(stored_path(digest, photo.name))
        rows.append({"width": 320, "height": 240, "bytes": len(data), "sha256": digest})
    facts = pa.Table.from_pylist(rows, pa.schema(list(METADATA_SCHEMA)[2:]))
    embeddings = clustered(len(photos), 12, seed=5).astype(np.float16)
    add_partitions(job, ADD, NewRows(listed, facts, embeddings).partitions(job))
    return listed


def longest(jpeg: bytes) -> int:
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return int(max(found.shape))


def test_images_that_the_job_holds_have_thumbnails_and_are_not_carried(job: OpenJob, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "more", 11)[8:]
    listed = holding(job, photos)
    remove(job, 10)
    job = open_job(job)
    bundle = bundle_of(job, tmp_path / "bundle", thumbnails=64)
    facts = bundle.manifest.bundle
    assert facts is not None
    assert facts.without_thumbnail == 0
    assert not bundle.added_dir.exists()
    assert not list(verify(bundle, Checked()))
    gone = [photos[2].read_bytes(), hashlib.sha256(photos[2].read_bytes()).hexdigest().encode(), b"photo_00010.jpg"]
    assert not [path for path, _ in bundle.files() if any(some in path.read_bytes() for some in gone)]
    assert path_list.read_paths(bundle, bundle.partition_of(8))[:2] == listed[:2]
    vector = clustered(3, 12, seed=5)[0]
    hit = searcher_of(bundle).search(vector, 1)[0]
    assert (hit.id, hit.image_path) == (8, str(job.path / listed[0].removeprefix("job://")))
    location = path_list.read_locations(bundle, bundle.partition_of(8))[0]
    assert read_image(bundle, 8, location) == (photos[0].read_bytes(), True)
    shutil.move(job.path, tmp_path / "away")
    data, is_photo = read_image(bundle, 8, Location(location.place))
    assert (longest(data), is_photo) == (64, False)


def test_the_photos_of_each_source_are_in_a_bundle_and_must_be_there(
    job: OpenJob, photos: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more"
    for path in make_photos(more, 11)[:8]:
        path.unlink()
    add_source(str(more), job, EVERYTHING, lambda count: None)
    embedded(job)
    job = open_job(job)
    bundle = bundle_of(job, tmp_path / "bundle", thumbnails=64)
    assert [source.location for source in bundle.sources] == [str(photos), str(more)]
    assert ProgressReader(bundle).read().sources == [("folder", str(photos)), ("folder", str(more))]
    assert not list(verify(bundle, Checked()))
    number = bundle.partition_of(10).number
    assert [longest(read_thumbnail(bundle, number, image)) for image in (8, 9, 10)] == [64, 64, 64]
    more.rename(tmp_path / "unplugged")
    with pytest.raises(SourceError, match=r"more is out of reach \(No such file"):
        bundle_of(job, tmp_path / "second", thumbnails=64)
    assert not JobDir.at(tmp_path / "second").spec.exists()
    remove(job, 8, 9, 10)  # Nothing of that source is left, so nothing of it is missed.
    third = bundle_of(open_job(job), tmp_path / "third", thumbnails=64).manifest.bundle
    assert third is not None
    assert third.without_thumbnail == 0
