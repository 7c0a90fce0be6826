import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from shared.errors import CorruptFile, FingerprintMismatch, JobNotFound, ModelError, SourceError
from shared.images.location import Location
from shared.images.paths import to_text
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import Chunk, Manifest, Source, write_manifest
from shared.job.opened import OpenJob, open_job, with_manifest
from shared.job.partition import checkpoint, ledger
from shared.models.preprocessing import STRICT_PREPROCESSING
from shared.processes.control import Stopped
from shared.processes.load import StageLoad
from tests.support.embedders import BATCH, DIM, SIZE, FakeEmbedder, embed, no_after, sealed_bytes
from tests.support.make_job import model_spec
from workers.embed.dedup import KnownImages
from workers.embed.partition import PartitionProgress
from workers.images.isolated import IsolatedReaders
from workers.images.read import ReadImage, read_image


class FakeOnDevice(FakeEmbedder):
    """The same on a device of its own, which notes what was handed over to it."""

    def __init__(self) -> None:
        super().__init__()
        self.handed: list[int] = []

    def hand_over(self, images: npt.NDArray[np.uint8]) -> Callable[[], npt.NDArray[np.float32]]:
        self.handed.append(len(images))
        return lambda: self.embed(images)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Fifty images of which five are none, at 3, 20, 21, 30 and 49."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(1)
    paths = [folder / f"{number:02d}.{('png', 'jpg')[number % 2]}" for number in range(50)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    paths[3].write_bytes(b"")
    paths[20].write_bytes(b"this is no image")
    paths[21].write_bytes(paths[23].read_bytes()[:-200])
    paths[30].unlink()
    paths[49].unlink()
    paths[49].mkdir()
    return paths


FAILED = {3: "empty", 20: "not-an-image", 21: "truncated", 30: "vanished", 49: "unreadable"}
Make = Callable[..., OpenJob]


@pytest.fixture
def make(tmp_path: Path, photos: list[Path]) -> Make:
    """Makes a job of 50 images in two partitions of 30 and 20, in chunks of 10."""

    def made(name: str = "job", chosen: list[Path] | None = None) -> OpenJob:
        paths = chosen or photos
        job = JobDir(tmp_path / name)
        manifest = Manifest(
            Source("list", "made up", "0" * 64), model_spec(dim=DIM, chunk_size=10), len(paths), 30, 10, 10**6, 10**6
        )
        for partition in manifest.partitions:
            path_list.write_paths(job, partition, [to_text(str(p)) for p in paths[partition.start : partition.stop]])
        write_manifest(job, manifest)
        return open_job(job)

    return made


def stopped(job: OpenJob, **options: Callable[[], bool]) -> FakeEmbedder:
    embedder = FakeEmbedder()
    with pytest.raises(Stopped):
        embed(job, embedder=embedder, **options)  # type: ignore[arg-type]
    return embedder


def test_a_partition_is_embedded_and_sealed_with_a_row_for_each_image(make: Make, photos: list[Path]) -> None:
    job = make("job")
    seals = [embed(job, number) for number in (0, 1)]
    assert [(seal.embedded, seal.failed) for seal in seals] == [(27, 3), (18, 2)]
    vectors = np.concatenate([np.load(job.img_emb(number)) for number in (0, 1)])
    ids = np.concatenate([ledger.check_ids(job, seal) for seal in seals])
    assert ids.tolist() == [image for image in range(50) if image not in FAILED]
    for vector, image in zip(vectors, ids, strict=True):
        bgr = cv2.imread(str(photos[image]))
        assert bgr is not None
        rgb = cv2.cvtColor(cv2.resize(bgr, (SIZE, SIZE), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
        assert np.allclose(vector, FakeEmbedder().embed(rgb[None].astype(np.uint8))[0], atol=2e-3), image


def test_images_that_fail_become_error_rows_with_path_and_reason(make: Make, photos: list[Path]) -> None:
    job = make("job")
    for chunk in job.chunks(job.partition(0)):
        stopped(job, may_commit=no_after(1))
        table, _ = checkpoint.read_chunk(job, chunk)
        for row in table.to_pylist():
            assert row["image_path"] == str(photos[row["id"]])
            assert row["status"] == FAILED.get(row["id"], "ok")
            assert (row["embedding"] is None) == bool(row["error_message"]) == (row["id"] in FAILED)
            size = None if row["id"] in (30, 49) else photos[row["id"]].stat().st_size
            assert row["bytes"] == size
            assert (row["width"], row["height"]) == ((None, None) if row["id"] in FAILED else (30, 20))


def test_a_partition_in_which_everything_fails_is_sealed_too(make: Make, tmp_path: Path) -> None:
    job = make("job", [tmp_path / f"{number}.jpg" for number in range(25)])
    embedder = FakeEmbedder()
    seal = embed(job, embedder=embedder)
    assert (seal.embedded, seal.failed, seal.dim) == (0, 25, DIM)
    assert np.load(job.img_emb(0)).shape == (0, DIM)
    assert embedder.batches == []


def test_the_model_gets_full_batches(make: Make) -> None:
    job = make("job")
    embedder = FakeEmbedder()
    embed(job, embedder=embedder)
    assert embedder.batches == [4, 4, 1, 4, 4, 2, 4, 4]


def test_it_goes_on_at_the_last_committed_chunk(make: Make) -> None:
    job = make("job")
    first = stopped(job, may_commit=no_after(2))
    assert job.chunk_numbers(0) == [0, 1]
    assert sum(first.batches) == 27
    written = [job.chunk(0, number).stat().st_mtime_ns for number in (0, 1)]
    second = stopped(job, may_commit=no_after(1))  # It commits the last chunk, and may not seal.
    assert [job.chunk(0, number).stat().st_mtime_ns for number in (0, 1)] == written
    assert sum(second.batches) == 8
    assert not job.seal(0).exists()
    third = FakeEmbedder()
    assert embed(job, embedder=third).embedded == 27
    assert third.batches == []


def test_a_hole_in_the_middle_is_filled(make: Make) -> None:
    job = make("job")
    stopped(job, may_commit=no_after(3))
    job.chunk(0, 1).unlink()
    embedder = FakeEmbedder()
    embed(job, embedder=embedder)
    assert sum(embedder.batches) == 10


@pytest.mark.parametrize("times", range(8))
def test_it_stops_within_a_batch_and_keeps_what_is_committed(make: Make, times: int) -> None:
    job = make("job")
    embedder, answer = FakeEmbedder(), no_after(times)
    embedded: list[int] = []

    def keep_going() -> bool:
        embedded.append(sum(embedder.batches))
        return answer()

    with pytest.raises(Stopped):
        embed(job, embedder=embedder, keep_going=keep_going)
    assert len(embedded) == times + 1
    assert all(after - before <= BATCH for before, after in itertools.pairwise(embedded))
    assert sum(embedder.batches) == embedded[-1]
    assert len(embedder.batches) >= times - 2
    assert job.chunk_numbers(0) == [number for number, good in enumerate((9, 19)) if embedded[-1] >= good]


def test_it_stops_soon_also_while_no_image_can_be_read(make: Make, tmp_path: Path) -> None:
    job = make("job", [tmp_path / f"{number}.jpg" for number in range(30)])
    seen: list[int] = []

    def keep_going() -> bool:
        seen.append(len(job.chunk_numbers(0)))
        return True

    embed(job, keep_going=keep_going)
    assert len(seen) == 9  # After each four images, and at the end of each chunk of ten.
    job = make("other", [tmp_path / f"{number}.jpg" for number in range(30)])
    stopped(job, keep_going=no_after(1))
    assert job.chunk_numbers(0) == []


@pytest.mark.parametrize("commits", range(3))
def test_nothing_is_committed_once_it_may_not(make: Make, commits: int) -> None:
    job = make("job")
    stopped(job, may_commit=no_after(commits))
    assert job.chunk_numbers(0) == list(range(commits))
    assert not job.seal(0).exists()
    stopped(job, may_commit=lambda: False)
    assert job.chunk_numbers(0) == list(range(commits))


def test_the_bytes_are_the_same_however_it_was_interrupted(make: Make) -> None:
    job = make("undisturbed")
    for number in (0, 1):
        embed(job, number)
    expected = sealed_bytes(job)
    assert len(expected) == 6
    for batches in range(1, 6):
        job = make(f"disturbed-{batches}")
        interruptions = 0
        for number in (1, 0):
            for _ in range(4):
                try:
                    embed(job, number, keep_going=no_after(3 + batches), threads=1 + batches % 3)
                except Stopped:
                    interruptions += 1
        assert interruptions >= 1
        assert sealed_bytes(job) == expected


def test_a_chunk_that_is_damaged_is_embedded_again(make: Make) -> None:
    job = make("undisturbed")
    embed(job)
    expected = sealed_bytes(job)
    for damage in (lambda content: content[:-9], lambda content: content[:600], lambda content: b"", bytes.swapcase):
        job = make(f"damaged-{len(list(job.jobs_root.iterdir()))}")
        stopped(job, may_commit=no_after(3))
        job.chunk(0, 1).write_bytes(damage(job.chunk(0, 1).read_bytes()))
        embedder = FakeEmbedder()
        embed(job, embedder=embedder)
        assert sum(embedder.batches) == 10
        assert sealed_bytes(job) == expected


def test_a_chunk_of_another_model_stops_it(make: Make) -> None:
    job = make("job")
    stopped(job, may_commit=no_after(2))
    other = Manifest(job.manifest.source, model_spec("other", DIM, 10), job.listed, 30, 10, 10**6, 10**6)
    with pytest.raises(FingerprintMismatch):
        embed(with_manifest(job, other))
    assert job.chunk_numbers(0) == [0, 1, 2]
    assert not job.seal(0).exists()


def test_a_disk_that_does_not_answer_at_the_seal_costs_no_chunk(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make("job")

    def fail(*_: object, **__: object) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "read_chunk", fail)
        with pytest.raises(OSError, match="not connected"):
            embed(job)
    assert job.chunk_numbers(0) == [0, 1, 2]
    assert embed(job).embedded == 27


def test_a_full_disk_stops_it_and_loses_one_chunk(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make("job")
    commit, commits = checkpoint.commit_chunk, no_after(2)

    def full(*arguments: object) -> None:
        if not commits():
            raise OSError(28, "No space left on device")
        commit(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "commit_chunk", full)
        with pytest.raises(OSError, match="No space left"):
            embed(job)
    assert job.chunk_numbers(0) == [0, 1]
    assert embed(job).embedded == 27


def test_a_sealed_partition_is_left_as_it_is(make: Make) -> None:
    job = make("job")
    seal = embed(job)
    before = sealed_bytes(job)
    job.chunk_dir(0).mkdir(parents=True)  # A kill between the marker and the removal of the chunks.
    job.chunk(0, 0).write_bytes(b"left behind")
    embedder = FakeEmbedder()
    assert embed(job, embedder=embedder, may_commit=lambda: False) == seal
    assert embedder.batches == []
    assert sealed_bytes(job) == before
    assert not job.chunk_dir(0).exists()


def test_a_partition_that_another_worker_seals_meanwhile_is_not_embedded_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make("job")
    stopped(job, may_commit=no_after(3))
    read, others = checkpoint.read_chunk, iter([True])

    def sealed_first(*arguments: object) -> object:
        if next(others, False):
            ledger.seal_partition(job, job.partition(0))
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "read_chunk", sealed_first)
    embedder = FakeEmbedder()
    assert embed(job, embedder=embedder) == ledger.read_seal(job, 0)
    assert embedder.batches == []
    assert not job.chunk_dir(0).exists()


def test_a_path_list_that_is_damaged_stops_it(make: Make) -> None:
    job = make("job")
    job.paths(0).write_bytes(b"damaged")
    with pytest.raises(CorruptFile, match=r"paths_0000\.parquet"):
        embed(job)


def test_progress_counts_from_what_was_committed_before(make: Make) -> None:
    job = make("job")
    stopped(job, may_commit=no_after(1))
    reports: list[PartitionProgress] = []
    embed(job, report=reports.append)
    done = [progress.done for progress in reports]
    assert done[0] > 10
    assert done == sorted(set(done))
    assert done[-1] == 30
    assert {progress.listed for progress in reports} == {30}
    assert all(progress.images_per_second for progress in reports)


def test_progress_is_said_as_flower_shows_it() -> None:
    assert str(PartitionProgress(17_500, 50_000, 454.4)) == "35% · 17,500/50,000 · 454 img/s · 1 min 12 s left"
    assert str(PartitionProgress(0, 50_000, None)) == "0% · 0/50,000"
    load = StageLoad(
        {"read": 0.02, "decode": 0.41, "model": 0.97, "write": 0.01},
        {"read": 0.0, "decode": 0.02, "model": 0.97, "write": 0.0},
    )
    assert str(PartitionProgress(50, 100, 10.0, load)).endswith(
        " · 5 s left · bottleneck: model 97% (read 2%, decode 41%, write 1%)"
    )
    assert str(PartitionProgress(50_000, 50_000, 10.0)) == "100% · 50,000/50,000 · 10 img/s · 0 s left"


def test_a_chunk_whose_folder_has_gone_is_not_committed_and_the_job_goes_on_when_it_is_back(
    make: Make, photos: list[Path], tmp_path: Path
) -> None:
    mount, elsewhere = tmp_path / "mount", tmp_path / "elsewhere"
    mount.mkdir()
    chosen = [mount / path.name for path in photos[:30]]
    for copy, path in zip(chosen, photos, strict=False):
        if path.is_file():
            copy.write_bytes(path.read_bytes())
    job = make(chosen=chosen)
    with pytest.raises(Stopped):
        embed(job, may_commit=no_after(1))
    mount.rename(elsewhere)
    with pytest.raises(SourceError, match=f"{mount}.*mount it again"):
        embed(job)
    assert job.chunk_numbers(0) == [0], "images that only seemed gone were written down as failed"
    mount.mkdir()  # An empty mount point is what is left of some mounts.
    with pytest.raises(SourceError, match="it is empty now"):
        embed(job)
    mount.rmdir()
    elsewhere.rename(mount)
    seal = embed(job)
    assert (seal.embedded, seal.failed) == (27, 3)


def test_images_that_are_back_before_the_chunk_ends_are_not_committed_as_lost(
    make: Make, photos: list[Path], tmp_path: Path
) -> None:
    mount, elsewhere = tmp_path / "mount", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in photos[4:14]:
        (elsewhere / path.name).write_bytes(path.read_bytes())
    job = make(chosen=[mount / path.name for path in photos[4:14]])
    asked = iter(range(100))

    def mount_at_the_end() -> bool:
        if next(asked) == 2:  # After the last image was looked for: ten images, asked every four and at the end.
            elsewhere.rename(mount)
        return True

    with pytest.raises(SourceError, match="is back"):
        embed(job, keep_going=mount_at_the_end)
    assert job.chunk_numbers(0) == []
    assert embed(job).embedded == 10


def test_a_job_whose_disk_went_away_is_not_begun_anew_in_its_place(make: Make, tmp_path: Path) -> None:
    job = make()
    embedder = FakeEmbedder()

    def unmounted() -> bool:
        if job.path.exists() and job.chunk_numbers(0):
            job.path.rename(tmp_path / "elsewhere")
        return True

    with pytest.raises(JobNotFound, match="mount the disk"):
        embed(job, embedder=embedder, may_commit=unmounted)
    assert not job.path.exists()
    (tmp_path / "elsewhere").rename(job.path)
    assert job.chunk_numbers(0) == [0]
    assert embed(job).embedded + embed(job, 1).embedded == 45


def test_images_that_are_gone_one_by_one_are_failed_rows(make: Make, photos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "still-here.jpg").write_bytes(photos[1].read_bytes())
    job = make(chosen=[folder / f"gone{number}.jpg" for number in range(10)])
    assert embed(job).failed == 10


def left_in_hand(job: JobDir, *images: int) -> None:
    """What a worker whose process was ended leaves behind."""
    path = job.attempt(0, "0" * 32)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{image:<19}\n" for image in images))


@pytest.mark.slow
def test_images_that_were_in_hand_when_a_worker_died_are_read_alone_and_nothing_is_lost(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make("undisturbed")
    embed(job)
    expected = sealed_bytes(job)
    job = make("suspected")
    left_in_hand(job, 4, 17)
    alone: list[str] = []
    read = IsolatedReaders.read

    def noted(readers: IsolatedReaders, location: Location) -> ReadImage:
        alone.append(location.path)
        return read(readers, location)

    monkeypatch.setattr(IsolatedReaders, "read", noted)
    embed(job)
    paths = path_list.read_paths(job, job.partition(0))
    assert sorted(alone) == [paths[4], paths[17]]
    assert sealed_bytes(job) == expected
    assert job.attempts(0) == []


def test_an_image_that_ends_processes_is_a_quarantined_row_and_the_others_are_embedded(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make("job")
    left_in_hand(job, 5)
    bad = ("quarantined", "It ends processes.")
    monkeypatch.setattr(
        IsolatedReaders, "read", lambda readers, place: ReadImage(place.path, None, None, None, None, None, *bad)
    )
    seal = embed(job)
    assert (seal.embedded, seal.failed) == (26, 4)
    rows = pq.read_table(job.errors(0)).to_pylist()
    assert [(row["id"], row["status"]) for row in rows] == [
        (image, FAILED.get(image, "quarantined")) for image in (3, 5, 20, 21)
    ]


def test_while_a_partition_is_embedded_its_images_in_hand_can_be_seen(make: Make) -> None:
    job = make("job")
    seen: list[int] = []

    def look() -> bool:
        seen.append(len(job.attempts(0)))
        return True

    embed(job, keep_going=look)
    assert set(seen) == {1}
    assert job.attempts(0) == []


class Directionless(FakeEmbedder):
    """Finds no direction in the second image of each batch."""

    def embed(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        embeddings = super().embed(images)
        embeddings[1:2] = np.nan
        return embeddings


def test_an_image_without_a_direction_is_a_failed_row_and_no_obstacle(make: Make) -> None:
    job = make("job")
    seal = embed(job, embedder=Directionless())
    # Of the seven batches with a second image, each loses that one.
    assert (seal.embedded, seal.failed) == (20, 10)
    rows = pq.read_table(job.errors(0)).to_pylist()
    lost = [row["id"] for row in rows if row["status"] == "no-direction"]
    assert lost == [1, 6, 11, 15, 19, 23, 27]
    assert all("direction" in row["error_message"] for row in rows if row["id"] in lost)
    assert len(ledger.check_ids(job, seal)) == 20


class Counting(FakeEmbedder):
    """Also remembers how many images there were."""

    @property
    def images(self) -> int:
        return sum(self.batches)


@pytest.fixture
def with_copies(make: Make, photos: list[Path]) -> OpenJob:
    """Thirty images in one partition, of which 12 are copies: within a batch, a chunk, and from earlier chunks."""
    good = [path for number, path in enumerate(photos) if number not in FAILED]
    chosen = [*good[:10], good[0], good[10], good[10], *good[11:18], *good[:10]]
    return make("copies", chosen)


def test_images_of_the_same_bytes_go_through_the_model_once(with_copies: OpenJob) -> None:
    job = with_copies
    embedder = Counting()
    seal = embed(job, embedder=embedder)
    assert (seal.embedded, seal.failed) == (30, 0)
    assert embedder.images == 18
    vectors = np.load(job.img_emb(0))
    assert np.array_equal(vectors[20:], vectors[:10])
    assert np.array_equal(vectors[10], vectors[0])
    assert np.array_equal(vectors[12], vectors[11])
    assert len(np.unique(vectors, axis=0)) == 18
    rows = pq.read_table(job.metadata(0), partitioning=None).to_pylist()
    assert [row["id"] for row in rows] == list(range(30))
    assert [(row["sha256"], row["width"], row["height"]) for row in rows[20:]] == [
        (row["sha256"], row["width"], row["height"]) for row in rows[:10]
    ]
    assert {(row["width"], row["height"]) for row in rows} == {(30, 20)}


def test_copies_are_known_across_a_kill(with_copies: OpenJob) -> None:
    job = with_copies
    stopped(job, may_commit=no_after(2))
    assert job.chunk_numbers(0) == [0, 1]
    embedder = Counting()
    embed(job, embedder=embedder)
    assert embedder.images == 0
    assert np.array_equal(np.load(job.img_emb(0))[20:], np.load(job.img_emb(0))[:10])


@pytest.mark.parametrize("harm", ["damaged", "gone", "of other bytes"])
def test_a_copy_whose_original_is_lost_is_embedded_itself(
    harm: str, with_copies: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = with_copies
    stopped(job, may_commit=no_after(2))
    read_committed = KnownImages.read_committed
    harmed: list[Chunk] = []

    def lost_after(known: KnownImages, chunk: Chunk) -> None:
        read_committed(known, chunk)
        path = job.chunk(0, chunk.number)
        if chunk.number == 1 or harmed:
            return
        harmed.append(chunk)
        if harm == "damaged":
            path.write_bytes(path.read_bytes()[:-100])
        elif harm == "gone":
            path.unlink()
        else:
            table, embeddings = checkpoint.read_chunk(job, chunk)
            names = [field.name for field in dataclasses.fields(checkpoint.ImageRow)]
            rows = [checkpoint.ImageRow(**row) for row in table.select(names).to_pylist()]
            path.unlink()
            changed = [dataclasses.replace(row, sha256="ab" * 32) for row in rows]
            checkpoint.commit_chunk(job, chunk, changed, embeddings, 1.0)

    monkeypatch.setattr(KnownImages, "read_committed", lost_after)
    embedder = Counting()
    seal = embed(job, embedder=embedder)
    assert (seal.embedded, seal.failed) == (30, 0)
    assert embedder.images >= 10
    vectors = np.load(job.img_emb(0))
    assert np.array_equal(vectors[20:], vectors[:10])


def test_the_bytes_with_copies_are_the_same_however_it_was_interrupted(make: Make, with_copies: OpenJob) -> None:
    job = with_copies
    embed(job)
    paths = path_list.read_paths(job, job.partition(0))
    again = make("again", [Path(path) for path in paths])
    for commits in (1, 1, 1):
        with contextlib.suppress(Stopped):
            embed(again, may_commit=no_after(commits))
    embed(again)
    assert sealed_bytes(again) == sealed_bytes(job)


def test_copies_of_an_image_without_a_direction_fail_like_it(make: Make, photos: list[Path]) -> None:
    job = make("dark", [photos[1], photos[0], photos[0], photos[2], photos[0]])
    seal = embed(job, embedder=Directionless())
    assert (seal.embedded, seal.failed) == (2, 3)
    errors = pq.read_table(job.errors(0), partitioning=None).to_pylist()
    assert {row["id"]: row["status"] for row in errors} == dict.fromkeys((1, 2, 4), "no-direction")


def test_the_next_chunk_is_embedded_while_one_is_committed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make("job")
    embedded_more = threading.Event()
    commit = checkpoint.commit_chunk

    class Watched(FakeEmbedder):
        def embed(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            if sum(self.batches) >= 9:
                embedded_more.set()
            return super().embed(images)

    def waits(*arguments: object) -> None:
        assert embedded_more.wait(30)
        commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "commit_chunk", waits)
    assert embed(job, embedder=Watched()).embedded == 27


def test_chunks_and_seals_say_what_held_them_up(make: Make) -> None:
    job = make("job")
    reports: list[PartitionProgress] = []
    stopped(job, may_commit=no_after(1))
    told = checkpoint.chunk_summary(job, 0, 0).load
    assert told is not None
    assert StageLoad.from_json(told) is not None
    seal = embed(job, report=reports.append)
    load = StageLoad.from_json(seal.load)
    assert load is not None
    assert load.busy["decode"] > 0
    assert load.busy["read"] > 0
    assert str(reports[-1]).endswith(str(reports[-1].load))
    assert "bottleneck: " in str(reports[-1])


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.slow
def test_a_strict_job_is_embedded_from_strictly_decoded_images(
    make: Make, photos: list[Path], alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reduced = make("job", photos[4:14])
    model = dataclasses.replace(reduced.manifest.model, preprocessing=STRICT_PREPROCESSING)
    job = with_manifest(reduced, dataclasses.replace(reduced.manifest, model=model))
    # As if a worker had come to its end over each of them.
    monkeypatch.setattr("workers.embed.attempts.Attempt.suspects", lambda self, image_id: alone)
    embed(job)
    vectors = np.load(job.img_emb(0)).astype(np.float32)
    ways = {
        how: np.stack([read_image(Location(str(path)), SIZE, 10**6, 10**6, how).pixels for path in photos[4:14]])
        for how in ("reduced", "strict")
    }
    expected = np.concatenate([FakeEmbedder().embed(image[None]) for image in ways["strict"]])
    np.testing.assert_allclose(vectors, expected, atol=1e-3)
    others = np.concatenate([FakeEmbedder().embed(image[None]) for image in ways["reduced"]])
    assert np.abs(vectors - others).max() > 1e-2


def test_on_a_device_of_its_own_the_model_gives_the_same_bytes(make: Make) -> None:
    job = make("in-turn")
    for number in (0, 1):
        embed(job, number)
    other = make("overlapped")
    device = FakeOnDevice()
    for number in (0, 1):
        embed(other, number, embedder=device)
    assert sealed_bytes(other) == sealed_bytes(job)
    assert device.handed == device.batches
    assert sum(device.handed) == 45


@pytest.mark.parametrize("times", [2, 5])
def test_on_a_device_of_its_own_a_stop_keeps_what_is_committed(make: Make, times: int) -> None:
    job = make("job")
    device = FakeOnDevice()
    with pytest.raises(Stopped):
        embed(job, embedder=device, keep_going=no_after(times))
    kept = job.chunk_numbers(0)
    assert kept == list(range(times // 3))
    again = FakeOnDevice()
    assert embed(job, embedder=again).embedded == 27
    assert sum(again.handed) == 27 - (9 if kept else 0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("model")]


def test_on_a_device_of_its_own_an_image_without_a_direction_is_its_own_row(make: Make) -> None:
    class Blind(FakeOnDevice):
        """Sees nothing in the second image of each batch."""

        def embed(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            found = super().embed(images)
            found[1:2] = np.nan
            return found

    tables = []
    for name, embedder in (("in-turn", Blind), ("overlapped", Blind)):
        job = make(name)
        model = embedder()
        if name == "in-turn":
            model.hand_over = None  # type: ignore[assignment]
        embed(job, embedder=model)
        tables.append(pq.read_table(job.errors(0)).to_pylist())
        assert len([row for row in tables[-1] if row["status"] == "no-direction"]) == 7
    assert tables[0] == tables[1]


def test_on_a_device_of_its_own_a_model_that_fails_loses_one_chunk(make: Make) -> None:
    class Failing(FakeOnDevice):
        def embed(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            if len(self.batches) == 4:
                raise ModelError("The GPU has no memory left.")
            return super().embed(images)

    job = make("job")
    with pytest.raises(ModelError, match="no memory left"):
        embed(job, embedder=Failing())
    assert job.chunk_numbers(0) == [0]
    assert embed(job, embedder=FakeOnDevice()).embedded == 27
