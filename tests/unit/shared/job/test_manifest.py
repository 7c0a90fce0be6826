import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CorruptFile, JobMismatch, JobNotFound
from shared.job.directory import JobDir
from shared.job.manifest import FORMAT, Chunk, Manifest, Partition, Source, load_manifest, maker_of, write_manifest
from shared.models.imported import imported_model
from tests.support.make_job import model_spec


def manifest(listed: int = 60, partition_size: int = 25, chunk_size: int = 10) -> Manifest:
    return Manifest(
        source=Source("folder", "/photos/é", "0" * 64, {".txt": 3}),
        model=model_spec(),
        listed=listed,
        partition_size=partition_size,
        chunk_size=chunk_size,
        max_image_pixels=1_000,
        max_image_bytes=2_000,
        made_by="lookalike 9.9",
    )


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    made = manifest()
    write_manifest(job, made)
    assert load_manifest(job) == made
    assert [path.name for path in job.path.iterdir()] == ["job.json"]


def test_the_manifest_is_readable_by_people_and_names_format_and_fingerprint(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    write_manifest(job, manifest())
    table = json.loads(job.spec.read_text())
    assert (table["format"], table["fingerprint"], table["dtype"]) == (FORMAT, model_spec().fingerprint, "float16")
    assert (table["listed"], table["source"]["kind"], table["made_by"]) == (60, "folder", "lookalike 9.9")


def test_only_imported_vectors_have_a_content_and_say_which_command_reads_them_again(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    write_manifest(job, manifest())
    assert "content" not in json.loads(job.spec.read_text())["source"]
    source = Source("embeddings", "/vectors", "0" * 64, content="1" * 64)
    imported = replace(manifest(), source=source, model=imported_model("made-up", 16))
    write_manifest(job, imported)
    assert load_manifest(job) == imported
    assert load_manifest(job).source.content == "1" * 64
    assert (str(imported.again()), str(manifest().again("all"))) == (
        "the next importing reads it again",
        "the next indexing embeds all again",
    )
    assert maker_of(job) == "import"


@pytest.mark.parametrize("content", [None, "{"])
def test_a_job_that_can_not_be_read_is_taken_to_be_one_of_images(tmp_path: Path, content: str | None) -> None:
    job = JobDir(tmp_path / "job")
    write_manifest(job, manifest())
    assert maker_of(job) == "index"
    job.spec.unlink() if content is None else job.spec.write_text(content)
    assert maker_of(job) == "index"


@given(st.integers(1, 5_000), st.integers(1, 2_000), st.integers(1, 700))
def test_partitions_and_their_chunks_hold_each_image_id_once(listed: int, partition_size: int, chunk_size: int) -> None:
    made = manifest(listed, partition_size, chunk_size)
    assert [image for p in made.partitions for image in range(p.start, p.stop)] == list(range(listed))
    assert [p.number for p in made.partitions] == list(range(made.partition_count))
    assert {len(p) for p in made.partitions[:-1]} <= {partition_size}
    chunks = [chunk for partition in made.partitions for chunk in made.chunks(partition)]
    assert [image for chunk in chunks for image in range(chunk.start, chunk.stop)] == list(range(listed))
    assert all(1 <= len(chunk) <= chunk_size for chunk in chunks)


def test_boundaries_are_those_of_the_sizes() -> None:
    made = manifest(60, 25, 10)
    assert made.partitions == [Partition(0, 0, 25), Partition(1, 25, 50), Partition(2, 50, 60)]
    assert made.chunks(made.partition(1)) == [Chunk(1, 0, 25, 35), Chunk(1, 1, 35, 45), Chunk(1, 2, 45, 50)]
    assert made.partition_count == 3


@pytest.mark.parametrize("number", [-1, 3, 10**9])
def test_a_partition_that_the_job_has_not_is_an_error(number: int) -> None:
    with pytest.raises(IndexError, match=f"partitions 0 to 2, not {number}"):
        manifest().partition(number)


def test_no_manifest_means_no_job(tmp_path: Path) -> None:
    with pytest.raises(JobNotFound):
        load_manifest(JobDir(tmp_path / "job"))


def written(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> JobDir:
    job = JobDir(tmp_path / "job")
    table = manifest().to_json()
    changed = change(table)
    job.path.mkdir()
    job.spec.write_text(json.dumps(table if changed is None else changed))
    return job


def test_another_format_is_named_with_ours(tmp_path: Path) -> None:
    job = written(tmp_path, lambda table: table.update(format=7))
    with pytest.raises(
        JobMismatch, match=r"has format 7, and this version of lookalike reads the formats 1, 2 and bundle-1"
    ):
        load_manifest(job)


def test_another_fingerprint_of_the_same_model_is_named_with_ours(tmp_path: Path) -> None:
    job = written(tmp_path, lambda table: table.update(fingerprint="made-up@0123456789ab"))
    with pytest.raises(JobMismatch, match=rf"made-up@0123456789ab.*{model_spec().fingerprint}.*lookalike 9\.9"):
        load_manifest(job)


@pytest.mark.parametrize(
    "key", ["format", "source", "model", "fingerprint", "listed", "chunk_size", "dtype", "made_by"]
)
def test_a_manifest_without_a_key_is_damaged(tmp_path: Path, key: str) -> None:
    job = written(tmp_path, lambda table: {name: value for name, value in table.items() if name != key})
    with pytest.raises(CorruptFile, match=rf"job\.json is not a whole manifest \(.*{key}"):
        load_manifest(job)


@pytest.mark.parametrize("value", [0, -1, "60", 60.0, True, None])
@pytest.mark.parametrize("key", ["listed", "partition_size", "chunk_size", "max_image_pixels", "max_image_bytes"])
def test_a_size_that_is_none_is_found_when_the_manifest_is_read(tmp_path: Path, key: str, value: object) -> None:
    job = written(tmp_path, lambda table: table.update({key: value}))
    with pytest.raises(CorruptFile, match=f"{key} is {value!r}, not a whole number from 1"):
        load_manifest(job)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.update(dtype="float32"),
        lambda table: table.update(source=[]),
        lambda table: table["source"].update(more=1),
        lambda table: table.update(model=None),
        lambda table: table["model"].update(dim="16"),
        lambda table: table["model"].update(weights="elsewhere"),
        lambda table: [],
        lambda table: "text",
    ],
    ids=["dtype", "source", "source key", "no model", "model dim", "model weights", "list", "text"],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    job = written(tmp_path, change)
    with pytest.raises(CorruptFile, match=r"job\.json is not a whole manifest"):
        load_manifest(job)


def test_a_manifest_cut_short_is_damaged_at_every_length(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    write_manifest(job, manifest())
    whole = job.spec.read_bytes()
    for length in range(0, len(whole) - 2, 13):
        job.spec.write_bytes(whole[:length])
        with pytest.raises(CorruptFile):
            load_manifest(job)


def test_a_manifest_is_no_place_for_changes() -> None:
    with pytest.raises(AttributeError):
        manifest().listed = 5
    assert replace(manifest(), listed=5).partition_count == 1


def test_each_job_that_is_made_has_an_identity_of_its_own_that_goes_where_it_goes(tmp_path: Path) -> None:
    jobs = [JobDir(tmp_path / root / "job") for root in ("a", "b")]
    for job in jobs:
        write_manifest(job, manifest())
    identities = [load_manifest(job).identity for job in jobs]
    assert len(set(identities)) == 2
    jobs[0].path.rename(tmp_path / "elsewhere")
    assert load_manifest(JobDir(tmp_path / "elsewhere")).identity == identities[0]
    assert json.loads((tmp_path / "elsewhere" / "job.json").read_text())["identity"] == identities[0]


def test_a_job_that_was_made_without_an_identity_has_the_digest_of_its_manifest(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    write_manifest(job, manifest())
    table = json.loads(job.spec.read_text())
    del table["identity"]
    job.spec.write_text(json.dumps(table, indent=2) + "\n")
    assert load_manifest(job).identity == hashlib.sha256(job.spec.read_bytes()).hexdigest()[:16]


@pytest.mark.parametrize("identity", [None, "", 5, "0123456789ABCDEF", "0" * 17, "../../../../../.."])
def test_an_identity_that_is_none_is_damage(tmp_path: Path, identity: object) -> None:
    job = JobDir(tmp_path / "job")
    write_manifest(job, manifest())
    job.spec.write_text(json.dumps(json.loads(job.spec.read_text()) | {"identity": identity}) + "\n")
    with pytest.raises(CorruptFile, match="not 16 hex digits"):
        load_manifest(job)
