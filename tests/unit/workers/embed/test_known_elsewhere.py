"""Images of equal bytes in several partitions go through the model once, and none gets the vector of another one."""

import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.processes.control import Stopped
from tests.support.changed_jobs import held
from tests.support.embedders import AnyModel, embed, no_after
from tests.support.images.tiles import png
from tests.support.source_jobs import made
from workers.embed import known_elsewhere
from workers.embed.known_elsewhere import KnownElsewhere, let_others_know

pytestmark = pytest.mark.slow
COUNT, DISTINCT = 30, 20


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirty photos, a third of them copies of others, which are in other partitions of five."""
    (tmp_path / "photos").mkdir()
    for number in range(COUNT):
        (tmp_path / "photos" / f"{number:02d}.png").write_bytes(png(number % DISTINCT))
    return tmp_path / "photos"


@pytest.fixture
def job(tmp_path: Path, photos: Path) -> OpenJob:
    return made(str(photos), JobDir(tmp_path / "job"))


def embedded(job: OpenJob, number: int, **options: Any) -> int:
    """How many images of a partition go through the model."""
    model = AnyModel(job.manifest)
    embed(job, number, embedder=model, **options)
    return sum(model.batches)


def rows(job: OpenJob) -> list[tuple[Any, ...]]:
    """What the job says of each image, in order: id, path, size, SHA-256, and the embedding."""
    found: list[tuple[Any, ...]] = []
    for partition in job.partitions:
        table = pq.read_table(job.metadata(partition.number)).to_pylist()
        vectors = np.load(job.img_emb(partition.number))
        found += [(*row.values(), bytes(vector)) for row, vector in zip(table, vectors, strict=True)]
    return found


def require_right(job: OpenJob) -> None:
    """Assert that each image has its own size and embedding, as in a job in which each partition is alone."""
    alone = made(job.manifest.source.location, JobDir.at(f"memory://bucket-of-copies/{uuid.uuid4().hex}"))
    for partition in alone.partitions:
        embedded(alone, partition.number)
    copied = JobDir(job.path.parent / uuid.uuid4().hex)
    for path, _ in alone.files():
        target = copied.path / path.relative_to(alone.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert rows(job) == rows(open_job(copied))
    bad = [finding for finding in verify(job, Checked()) if finding.bad and "dimensions" not in finding.wrong]
    assert bad == []


def test_copies_in_other_partitions_are_not_embedded_again(job: OpenJob) -> None:
    assert [embedded(job, number) for number in range(6)] == [5, 5, 5, 5, 0, 0]
    require_right(job)


def test_a_partition_that_is_sealed_meanwhile_is_known_at_the_next_chunk(job: OpenJob) -> None:
    count = 0

    def others(progress: object) -> None:
        nonlocal count
        if not count:
            count = embedded(job, 0)

    # Images 20 and 21 are read before partition 0 is sealed; of two workers at once, each embeds what it does not know.
    assert embedded(job, 4, report=others, threads=1) in range(1, 5)
    assert count == 5
    for number in (1, 2, 3, 5):
        embedded(job, number)
    require_right(job)


def test_a_worker_that_is_killed_before_it_lets_others_know_costs_no_copy(
    job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(known_elsewhere, "write_known", lambda job, number: None)
        for number in range(4):
            embedded(job, number)
    assert not job.known(0).is_file()
    damaged = job.img_emb(1).read_bytes()
    job.img_emb(1).write_bytes(damaged[:-1] + bytes([damaged[-1] ^ 1]))
    assert embedded(job, 4) == 0  # Copies of partition 0 alone.
    assert embedded(job, 5) == 5  # What has another checksum than its seal says is embedded again.
    assert (job.known(0).is_file(), job.known(1).is_file()) == (True, False)
    job.img_emb(1).write_bytes(damaged)
    require_right(job)


HARMS: dict[str, Any] = {
    "table gone": lambda job: job.known(0).unlink(),
    "table cut": lambda job: job.known(0).write_bytes(job.known(0).read_bytes()[:-50]),
    "table empty": lambda job: job.known(0).write_bytes(b""),
    "table of another partition": lambda job: shutil.copy(job.known(1), job.known(0)),
    "embeddings gone": lambda job: job.img_emb(0).unlink(),
    "embeddings of another partition": lambda job: shutil.copy(job.img_emb(1), job.img_emb(0)),
    "rows in another order": lambda job: np.save(job.img_emb(0), np.load(job.img_emb(0))[::-1]),
    "fewer rows": lambda job: np.save(job.img_emb(0), np.load(job.img_emb(0))[:2]),
}


# A table that can't be read is made again from whole files.
AGAIN = {"table gone": 0, "table cut": 0, "table empty": 0, "fewer rows": 3, "rows in another order": 4}


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_not_as_it_was_written_is_embedded_again_and_gives_no_wrong_vector(job: OpenJob, harm: str) -> None:
    for number in range(4):
        embedded(job, number)
    kept = job.img_emb(0).read_bytes()
    HARMS[harm](job)
    assert embedded(job, 4) == AGAIN.get(harm, 5)
    job.img_emb(0).write_bytes(kept)
    assert embedded(job, 5) == (5 if harm == "table of another partition" else 0)
    require_right(job)


def test_each_flipped_bit_of_a_table_costs_an_embedding_at_most(job: OpenJob) -> None:
    for number in range(4):
        embedded(job, number)
    whole = job.known(0).read_bytes()
    digests = pq.read_table(job.metadata(0))["sha256"].to_pylist()
    right = dict(zip(digests, map(bytes, np.load(job.img_emb(0))), strict=True))
    sizes = {row["sha256"]: (row["width"], row["height"]) for row in pq.read_table(job.metadata(0)).to_pylist()}
    missed = 0
    for at in range(128, len(whole)):
        job.known(0).write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        known = KnownElsewhere(job, job.partition(4))
        for digest in digests:
            found = known.find(bytes.fromhex(digest))
            embedding = None if found is None else known.embedding(found, bytes.fromhex(digest))
            missed += embedding is None
            if found is not None and embedding is not None:
                assert bytes(embedding) == right[digest]
                assert (found.width, found.height) == sizes[digest]
    assert missed >= len(whole) - 128


def test_a_partition_that_is_sealed_anew_is_known_as_it_is(job: OpenJob, photos: Path) -> None:
    for number in range(4):
        embedded(job, number)
    for path in job.sealed_files(0):
        path.unlink()
    job.seal(0).unlink()
    (photos / "02.png").write_bytes(b"no image")
    embedded(job, 0)
    assert embedded(job, 4) == 1
    assert embedded(job, 5) == 0
    assert not len(pq.read_table(job.errors(4)))
    assert str(photos / "22.png") in held(job)


def test_of_a_stopped_partition_the_copies_are_known_when_it_goes_on(job: OpenJob) -> None:
    for number in range(4):
        embedded(job, number)
    with pytest.raises(Stopped):
        embed(job, 4, embedder=AnyModel(job.manifest), may_commit=no_after(1))
    assert embedded(job, 4) == 0
    assert embedded(job, 5) == 0
    require_right(job)


def test_a_full_filter_finds_the_same_and_a_job_of_one_partition_writes_a_table(
    job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_elsewhere, "MOST_BITS", 8)
    assert [embedded(job, number) for number in range(6)] == [5, 5, 5, 5, 0, 0]
    require_right(job)
    known = KnownElsewhere(job, job.partition(0))
    assert known.find(bytes(32)) is None


def test_a_job_in_a_store_embeds_each_partition_for_itself(photos: Path) -> None:
    job = made(str(photos), JobDir.at("memory://bucket-of-copies/job"))
    let_others_know(job, 0)
    assert [embedded(job, number) for number in (0, 4)] == [5, 5]
    assert not job.known(0).is_file()
    assert KnownElsewhere(open_job(job), job.partition(5)).find(bytes(32)) is None
