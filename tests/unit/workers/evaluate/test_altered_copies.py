import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from shared.errors import CorruptFile, FingerprintMismatch, JobError, JobNotFound
from shared.images.location import read_bytes
from shared.job import altered_copies, path_list
from shared.job.altered_copies import Copies, read_copies, usable_copies, write_copies
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.manifest import Manifest, Source, write_manifest
from shared.job.opened import OpenJob, open_job, with_manifest
from shared.job.partition import ledger
from shared.models.preprocessing import STRICT_PREPROCESSING
from shared.processes.control import Control, Stopped
from tests.support.embedders import BATCH, DIM, FakeEmbedder, embed, no_after, yes
from tests.support.make_job import model_spec
from workers.evaluate.altered_copies import drawn, embed_copies, give_up, sealed_whole
from workers.images.alterations import MEASURED
from workers.images.decode import DecodedImage, decode

COUNT = 60


@pytest.fixture(scope="module")
def sealed_job(tmp_path_factory: pytest.TempPathFactory) -> OpenJob:
    """A job of 60 photographs of which one is none, in three sealed partitions; leave it as it is."""
    base = tmp_path_factory.mktemp("copies")
    photos = base / "photos"
    photos.mkdir()
    rng = np.random.default_rng(4)
    paths = [photos / f"{number:02d}.png" for number in range(COUNT)]
    for path in paths:
        coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (40, 30), interpolation=cv2.INTER_CUBIC))
    paths[7].write_bytes(b"")
    directory = JobDir(base / "job")
    source = Source("folder", str(photos), "0" * 64)
    manifest = Manifest(source, model_spec(dim=DIM, chunk_size=10), COUNT, 20, 10, 10**6, 10**6)
    for partition in manifest.partitions:
        path_list.write_paths(directory, partition, [str(path) for path in paths[partition.start : partition.stop]])
    write_manifest(directory, manifest)
    job = open_job(directory)
    for number in range(manifest.partition_count):
        embed(job, number)
    return job


@pytest.fixture
def job(sealed_job: OpenJob, tmp_path: Path) -> OpenJob:
    """A copy of the sealed job, its photographs where they were."""
    return open_job(JobDir(shutil.copytree(sealed_job.path, tmp_path / "job")))


def digest_of(job: OpenJob) -> str:
    return builds.ledger_digest(ledger.sealed(job))


def make(
    job: OpenJob,
    embedder: FakeEmbedder | None = None,
    keep_going: Callable[[], bool] = yes,
    may_commit: Callable[[], bool] = yes,
    report: Callable[[str], None] = lambda text: None,
) -> Copies:
    return embed_copies(
        job,
        embedder or FakeEmbedder(),
        Control(keep_going, may_commit, report),
        threads=2,
    )


def some(count: int = 2, fingerprint: str | None = None) -> Copies:
    """Made-up copies of so many images."""
    ids = np.repeat(np.arange(count), len(MEASURED))
    vectors = np.eye(DIM, dtype=np.float16)[np.arange(len(ids)) % DIM]
    spec = model_spec(dim=DIM)
    return Copies(
        ids=ids,
        alterations=tuple(MEASURED) * count,
        similarities=np.linspace(0, 1, len(ids), dtype=np.float32),
        embeddings=vectors,
        fingerprint=fingerprint or spec.fingerprint,
        ledger_digest="d" * 64,
        seed=0,
    )


def same(one: Copies, other: Copies) -> bool:
    return (
        np.array_equal(one.ids, other.ids)
        and one.alterations == other.alterations
        and np.array_equal(one.similarities, other.similarities)
        and np.array_equal(one.embeddings, other.embeddings)
        and (one.fingerprint, one.ledger_digest, one.seed, one.reason)
        == (other.fingerprint, other.ledger_digest, other.seed, other.reason)
    )


def test_each_of_the_drawn_images_has_its_copy_by_each_alteration(job: OpenJob) -> None:
    made = make(job)
    originals = drawn(job, sealed_whole(job))
    assert len(originals) == altered_copies.IMAGES
    assert made.ids.tolist() == [original.id for original in originals for _ in MEASURED]
    assert made.alterations == MEASURED * altered_copies.IMAGES
    assert (made.images, len(made), made.reason) == (48, 288, "")
    assert 7 not in made.ids
    assert np.allclose(np.linalg.norm(made.embeddings.astype(np.float32), axis=1), 1, atol=2e-3)
    assert same(made, read_copies(job) or some())


def test_a_copy_is_like_its_original_and_says_how_much(job: OpenJob) -> None:
    made = make(job)
    stored = {one.id: one.embedding.astype(np.float64) for one in drawn(job, sealed_whole(job))}
    truth = [
        vector.astype(np.float64) @ stored[image] / np.linalg.norm(vector.astype(np.float64))
        / np.linalg.norm(stored[image])
        for image, vector in zip(made.ids.tolist(), made.embeddings, strict=True)
    ]  # fmt: skip
    assert np.allclose(made.similarities, truth, atol=1e-6)
    by_name = {name: made.similarities[np.array(made.alterations) == name].mean() for name in MEASURED}
    assert by_name["half size"] > 0.999
    assert by_name["flip"] < by_name["half size"]
    assert by_name["grey"] < by_name["jpeg quality 20"]


def test_few_images_are_all_drawn(sealed_job: OpenJob) -> None:
    seal = ledger.read_seal(sealed_job, 0)
    assert [one.id for one in drawn(sealed_job, [seal])] == [image for image in range(20) if image != 7]
    assert len(sealed_whole(sealed_job)) == 3


def test_copies_that_are_there_stay_and_those_of_other_embeddings_are_made_again(job: OpenJob) -> None:
    make(job)
    before = job.copies.read_bytes()
    embedder = FakeEmbedder()
    make(job, embedder)
    assert embedder.batches == []
    assert job.copies.read_bytes() == before
    write_copies(job, replace(some(), ledger_digest="e" * 64))
    make(job, embedder)
    assert sum(embedder.batches) == 288
    assert job.copies.read_bytes() == before


def test_copies_of_images_that_are_drawn_again_stay_and_only_others_are_made(job: OpenJob) -> None:
    whole = make(job)
    before = job.copies.read_bytes()
    left = whole.without(whole.ids[::60])
    write_copies(job, replace(left, ledger_digest="e" * 64))
    embedder = FakeEmbedder()
    make(job, embedder)
    assert sum(embedder.batches) == 288 - len(left) > 0
    assert job.copies.read_bytes() == before


@pytest.mark.parametrize("what", ["embedded anew", "without one of its copies", "of another model"])
def test_copies_of_an_image_that_is_not_what_it_was_are_made_again(job: OpenJob, what: str) -> None:
    whole = make(job)
    before = job.copies.read_bytes()
    first = whole.ids == whole.ids[0]
    match what:
        case "embedded anew":
            changed = replace(whole, similarities=np.where(first, whole.similarities - 0.001, whole.similarities))
        case "without one of its copies":
            left = np.arange(1, len(whole))
            changed = replace(
                whole,
                ids=whole.ids[left],
                alterations=whole.alterations[1:],
                similarities=whole.similarities[left],
                embeddings=whole.embeddings[left],
            )
        case _:
            changed, first = replace(whole, fingerprint="f" * 64), np.ones(len(whole), dtype=bool)
    write_copies(job, replace(changed, ledger_digest="e" * 64))
    embedder = FakeEmbedder()
    make(job, embedder)
    assert sum(embedder.batches) == first.sum()
    assert job.copies.read_bytes() == before


def test_damaged_copies_are_made_again(job: OpenJob) -> None:
    make(job)
    before = job.copies.read_bytes()
    job.copies.write_bytes(before[:-20])
    make(job)
    assert job.copies.read_bytes() == before


def test_the_model_gets_whole_batches_and_the_report_moves(job: OpenJob) -> None:
    embedder, told = FakeEmbedder(), list[str]()
    make(job, embedder, report=told.append)
    assert set(embedder.batches) == {BATCH}
    assert told == ["copies · 0 %", *(f"copies · {share} %" for share in (17, 33, 50, 67, 83, 100))]


def test_images_that_changed_or_went_are_left_out(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    originals = drawn(job, sealed_whole(job))
    gone, changed = originals[3], originals[11]

    def read(path: str, most: int, member: object) -> bytes:
        if path == gone.path:
            return read_bytes(path + ".gone", most)
        return read_bytes(path, most) + (b"\0" if path == changed.path else b"")

    monkeypatch.setattr("workers.evaluate.altered_copies.read_bytes", read)
    made = make(job)
    assert made.images == 46
    assert {gone.id, changed.id}.isdisjoint(made.ids.tolist())


def test_where_all_images_are_gone_the_file_says_why_and_nobody_waits(
    job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "workers.evaluate.altered_copies.read_bytes", lambda path, most, member: read_bytes(path + ".gone", most)
    )
    made = make(job)
    assert len(made) == 0
    assert made.reason.startswith("None of 48 images can be read as it was embedded. The first is ")
    assert made.reason.endswith("no longer there.")
    there = usable_copies(job, digest_of(job))
    assert there is not None
    assert there.reason == made.reason


class Blind(FakeEmbedder):
    def embed(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.full((len(images), DIM), np.nan, dtype=np.float32)


def test_a_copy_without_an_embedding_is_left_out(job: OpenJob) -> None:
    made = make(job, Blind())
    assert len(made) == 0
    assert "gives none of the copies of 48 images an embedding" in made.reason


def test_a_stop_is_heard_before_each_batch_and_writes_nothing(job: OpenJob) -> None:
    embedder = FakeEmbedder()
    with pytest.raises(Stopped):
        make(job, embedder, keep_going=no_after(3))
    assert embedder.batches == [BATCH] * 3
    assert not job.copies.exists()


def test_a_lease_that_was_lost_writes_nothing(job: OpenJob) -> None:
    with pytest.raises(Stopped):
        make(job, may_commit=lambda: False)
    assert not job.copies.exists()


def test_a_job_that_went_away_meanwhile_is_not_begun_anew(job: OpenJob) -> None:
    def gone() -> bool:
        job.spec.unlink(missing_ok=True)
        return True

    with pytest.raises(JobNotFound):
        make(job, may_commit=gone)
    assert not job.copies.exists()


def test_no_copies_are_made_before_all_is_sealed(job: OpenJob) -> None:
    job.seal(1).unlink()
    with pytest.raises(JobError, match="2 of the 3 partitions"):
        make(job)


def test_metadata_of_another_length_than_its_seal_says_is_damage(job: OpenJob) -> None:
    shutil.copy(job.metadata(0), job.metadata(1))
    with pytest.raises(CorruptFile, match="takes the partition back"):
        make(job)


def test_giving_up_leaves_a_file_with_the_reason(job: OpenJob) -> None:
    give_up(job, "No model.")
    there = usable_copies(job, digest_of(job))
    assert there is not None
    assert (len(there), there.images, there.reason) == (0, 0, "No model.")


def test_the_file_is_the_same_for_the_same_job(job: OpenJob, tmp_path: Path) -> None:
    other = open_job(JobDir(shutil.copytree(job.path, tmp_path / "other")))
    make(job)
    make(other)
    sums = {hashlib.sha256(one.copies.read_bytes()).hexdigest() for one in (job, other)}
    assert len(sums) == 1


def test_what_is_written_is_read(job: OpenJob) -> None:
    assert read_copies(job) is None
    for written in (some(), some(1), altered_copies.none_of(model_spec(dim=DIM).fingerprint, "d" * 64, 0, "Gone.")):
        write_copies(job, written)
        read = read_copies(job)
        assert read is not None
        assert same(read, written)
    assert [path.name for path in job.path.iterdir() if path.name.startswith(".")] == []


def test_copies_of_another_model_are_refused_with_both_names(job: OpenJob) -> None:
    write_copies(job, some(fingerprint="other@0123"))
    with pytest.raises(FingerprintMismatch, match=r"other@0123.*made-up@"):
        read_copies(job)
    assert usable_copies(job, "d" * 64) is None


def test_copies_of_other_embeddings_are_not_usable(job: OpenJob) -> None:
    write_copies(job, some())
    assert usable_copies(job, "d" * 64) is not None
    assert usable_copies(job, "e" * 64) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-100],
        lambda data: data[:60] + bytes([data[60] ^ 255]) + data[61:],
    ],
    ids=["empty", "cut short", "a flipped byte"],
)
def test_a_damaged_file_is_a_sentence(job: OpenJob, damage: Callable[[bytes], bytes]) -> None:
    write_copies(job, some())
    data = job.copies.read_bytes()
    assert damage(data) != data
    job.copies.write_bytes(damage(data))
    with pytest.raises(CorruptFile, match="does not hold the altered copies that were written"):
        read_copies(job)


@pytest.mark.parametrize(
    "changed", [{"copies": 11}, {"dim": 13}, {"dim": "12"}, {"reason": "Gone."}, {"seed": None}], ids=str
)
def test_a_file_that_contradicts_itself_is_damaged(job: OpenJob, changed: dict[str, object]) -> None:
    write_copies(job, some())
    table = pq.read_table(job.copies)
    about = json.loads(table.schema.metadata[b"lookalike.copies"]) | changed
    pq.write_table(table.replace_schema_metadata({b"lookalike.copies": json.dumps(about)}), job.copies)
    with pytest.raises(CorruptFile, match="does not hold the altered copies that were written"):
        read_copies(job)
    pq.write_table(table.replace_schema_metadata({}), job.copies)
    with pytest.raises(CorruptFile, match="does not hold the altered copies that were written"):
        read_copies(job)


def test_copies_and_a_reason_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="none at all"):
        replace(some(), reason="Gone.")
    with pytest.raises(ValueError, match="none at all"):
        altered_copies.none_of("x", "d", 0, "")
    with pytest.raises(ValueError, match="as many"):
        replace(some(), alterations=("flip",))


def test_copies_of_a_strict_job_are_decoded_strictly(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[str] = []

    def noting(data: bytes, image_size: int, max_pixels: int, how: str) -> DecodedImage:
        ways.append(how)
        return decode(data, image_size, max_pixels, how)

    monkeypatch.setattr("workers.evaluate.altered_copies.decode", noting)
    make(job)
    assert set(ways) == {"reduced"}
    ways.clear()
    strict = replace(job.manifest, model=replace(job.manifest.model, preprocessing=STRICT_PREPROCESSING))
    job.copies.unlink()
    monkeypatch.setattr("workers.evaluate.altered_copies.sealed_whole", lambda *_: sealed_whole(job))
    embed_copies(
        with_manifest(job, strict),
        FakeEmbedder(),
        Control(yes, yes, lambda text: None),
        threads=2,
    )
    assert ways == ["strict"] * 288
