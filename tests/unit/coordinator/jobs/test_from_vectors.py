import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.display.remedies import typed
from coordinator.integrity.findings import Checked
from coordinator.integrity.repair import repair
from coordinator.integrity.verify import verify
from coordinator.jobs import create, from_vectors
from coordinator.jobs.create import make_or_open
from coordinator.jobs.from_vectors import import_vectors
from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.rollback import rollback
from coordinator.sources.vectors import vectors
from coordinator.sources.vectors.vectors import Vectors, open_vectors
from shared.errors import CorruptFile, FingerprintMismatch, JobBusy, JobError, JobMismatch, ModelError, SourceError
from shared.errors.remedy import Remedy
from shared.job import path_list
from shared.job.changes.lock import creation_lock
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.manifest import load_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.partition.sealing import open_embeddings
from shared.settings import Settings
from tests.support.compactions import compacted, remove
from tests.support.controls import UNWATCHED
from tests.support.make_job import make_job, unit
from workers.merge.build import merge
from workers.models.embedder import load_embedder
from workers.search.pool import SearcherPool

SMALL = Settings(partition_size=10)
BAD = (3, 17, 18)


def drawn(rows: int = 25, dim: int = 16) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(rows, dim)).astype(np.float32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """25 vectors in two files with metadata, three of them without a direction."""
    array = drawn()
    array[3] = 0
    array[17, 2] = np.nan
    array[18, 15] = np.inf
    folder = tmp_path / "clip"
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for number, rows in enumerate((range(0, 13), range(13, 25))):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", array[rows.start : rows.stop])
        columns = {"image_path": [f"photos/{row}.jpg" for row in rows], "label": [row % 3 for row in rows]}
        pq.write_table(
            pa.table(columns | {"width": [640] * len(rows)}), folder / "metadata" / f"metadata_{number}.parquet"
        )
    return folder


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    return JobDir.at(tmp_path / "jobs" / "job")


def imported(source: Path, job: JobDir, settings: Settings = SMALL, **options: Any) -> OpenJob:
    return import_vectors(open_vectors(str(source)), job, settings, lambda doing, count: None, **options)


def fails(*arguments: Any) -> None:
    raise OSError("The disk is full.")


def files_of(job: JobDir) -> dict[str, bytes]:
    """Every file of a job but for the clocks in its seals."""
    return {
        path.relative_to(job.path).as_posix(): b"" if path.parent == job.ledger_dir else path.read_bytes()
        for path in job.path.rglob("*")
        if path.is_file()
    }


def test_an_import_is_a_job_like_any_other_with_all_its_partitions_sealed(source: Path, job: JobDir) -> None:
    job = imported(source, job)
    assert load_manifest(job) == job.manifest
    assert (job.listed, job.partition_count, job.manifest.partition_size) == (25, 3, 10)
    assert (job.manifest.source.kind, job.manifest.source.location) == ("embeddings", str(source))
    assert (job.manifest.model.name, job.manifest.model.dim, job.manifest.model.is_imported) == ("imported", 16, True)
    seals = list(ledger.sealed(job))
    assert [(seal.start, seal.stop, seal.embedded, seal.failed, seal.dim) for seal in seals] == [
        (0, 10, 9, 1, 16),
        (10, 20, 8, 2, 16),
        (20, 25, 5, 0, 16),
    ]
    ids = np.concatenate([ledger.check_ids(job, seal) for seal in seals])
    assert ids.tolist() == [row for row in range(25) if row not in BAD]
    stored = np.concatenate([open_embeddings(job.img_emb(seal.partition), seal.embedded, 16) for seal in seals])
    assert np.abs(stored.astype(np.float32) - unit(np.delete(drawn(), BAD, axis=0))).max() < 2.0**-11
    assert list(verify(job, Checked())) == []
    progress = ProgressReader(job).read()
    assert (progress.embedded, progress.failed, progress.pending, progress.complete) == (22, 3, 0, True)
    assert not list(job.path.rglob("*.tmp"))
    assert not job.creation_lock.exists()


def test_paths_metadata_and_failed_rows_are_those_of_the_source(source: Path, job: JobDir) -> None:
    job = imported(source, job)
    paths = [path for partition in job.partitions for path in path_list.read_paths(job, partition)]
    assert paths == [f"photos/{row}.jpg" for row in range(25)]
    metadata = pq.read_table(job.metadata(1)).to_pylist()
    assert metadata[-1] == {
        "id": 19,
        "image_path": "photos/19.jpg",
        "width": 640,
        "height": None,
        "bytes": None,
        "sha256": None,
        "label": 1,
    }
    assert [row["id"] for row in metadata] == [10, 11, 12, 13, 14, 15, 16, 19]
    errors = pq.read_table(job.errors(1)).to_pylist()
    assert [(row["id"], row["image_path"], row["status"]) for row in errors] == [
        (17, "photos/17.jpg", "no-direction"),
        (18, "photos/18.jpg", "no-direction"),
    ]
    assert "zero, null or not finite" in errors[0]["error_message"]


@pytest.mark.parametrize("block", [1, 7, 1 << 22])
def test_an_index_is_built_over_it_and_finds_each_vector(
    source: Path, job: JobDir, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "BLOCK_VALUES", block * 16)
    job = imported(source, job)
    info = merge(job, SMALL, UNWATCHED)
    assert (info.ntotal, info.dim, info.recall_at_10) == (22, 16, 1.0)
    assert ProgressReader(job).read().index_is_current


def test_a_kill_anywhere_leaves_nothing_half_and_the_same_command_ends_as_if_there_had_been_none(
    source: Path, job: JobDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = JobDir.at(tmp_path / "jobs" / "whole")
    imported(source, whole)
    made = 0

    def dies(given: Vectors, start: int, stop: int) -> Iterator[Any]:
        nonlocal made
        for block in blocks(given, start, stop):
            made += 1
            if made == 3:
                raise KeyboardInterrupt
            yield block

    blocks = Vectors.blocks
    monkeypatch.setattr(vectors, "BLOCK_VALUES", 5 * 16)
    monkeypatch.setattr(Vectors, "blocks", dies)
    with pytest.raises(KeyboardInterrupt):
        imported(source, job)
    assert job.sealed_numbers() == [0]
    assert job.sealed_file_numbers() == [0]
    assert list(verify(job, Checked())) == []
    first = job.img_emb(0).stat()
    imported(source, job)
    assert job.img_emb(0).stat().st_mtime_ns == first.st_mtime_ns
    assert made == 2 + 1 + 3 + 1  # A block ends with its file, after the id 12.
    found, expected = files_of(job), files_of(whole)
    manifests = [json.loads(files.pop("job.json")) for files in (found, expected)]
    assert len({manifest.pop("identity") for manifest in manifests}) == 2, "they are two jobs"
    assert manifests[0] == manifests[1]
    # Another size of blocks cuts the Parquet pages elsewhere; the vectors and paths are the same to the bit.
    same = [name for name in expected if name.endswith(".npy") or name.startswith("paths")]
    assert {name: found[name] for name in same} == {name: expected[name] for name in same}
    assert found.keys() == expected.keys()


def test_a_kill_while_the_paths_are_listed_begins_anew(
    source: Path, job: JobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(create, "write_manifest", fails)
        with pytest.raises(OSError, match="disk"):
            imported(source, job, Settings(partition_size=5))
    assert len(job.paths_numbers()) == 5
    assert imported(source, job).manifest.partition_count == 3
    assert job.paths_numbers() == [0, 1, 2]
    assert list(verify(job, Checked())) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_source(tmp_path: Path, job: JobDir) -> None:
    rows, dim = 60_000, 1_024
    path = tmp_path / "sparse.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)})
        start = file.tell()
        for row in (0, rows - 1):
            file.seek(start + row * dim * 4)
            file.write(np.ones(dim, dtype="<f4").tobytes())
    assert path.stat().st_size > 245_000_000
    tracemalloc.start()
    try:
        job = imported(path, job, Settings())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 120_000_000
    assert [seal.embedded for seal in ledger.sealed(job)] == [1, 1]


def test_what_is_done_is_reported_and_the_request_comes_before_the_work(
    source: Path, job: JobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_vectors, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(vectors, "BLOCK_VALUES", 5 * 16)
    said: list[Any] = []
    import_vectors(
        open_vectors(str(source)),
        job,
        SMALL,
        lambda doing, count: said.append((doing, count)),
        begun=lambda: said.append(job.sealed_numbers()),
    )
    assert said[:4] == [("listing", 10), ("listing", 20), ("listing", 25), []]
    counts = [count for doing, count in said[4:] if doing == "importing"]
    assert {10, 20, 25} <= set(counts)
    assert 5 in counts


# The same job


def test_the_same_command_again_changes_nothing(source: Path, job: JobDir) -> None:
    job = imported(source, job)
    before = files_of(job)
    moved = source.rename(source.with_name("moved"))
    assert imported(moved, job).manifest == job.manifest
    assert imported(moved, job, Settings(), model_name="imported", partition_size=10).manifest == job.manifest
    assert files_of(job) == before


def test_other_vectors_another_model_and_another_size_are_refused(source: Path, job: JobDir) -> None:
    imported(source, job)
    other = source.parent / "other.npy"
    np.save(other, drawn(30))
    with pytest.raises(
        JobMismatch, match=r"25 vectors of 16 dimensions in .*clip, and those given now \(30 of 16 in .*"
    ):
        imported(other, job)
    with pytest.raises(JobMismatch, match="of the model 'imported', not of 'ViT-B/32'"):
        imported(source, job, model_name="ViT-B/32")
    with pytest.raises(JobMismatch, match="made with partitions of 10 images, not of 20"):
        imported(source, job, partition_size=20)


def test_a_job_of_images_takes_no_vectors_and_a_job_of_vectors_no_images(
    source: Path, job: JobDir, tmp_path: Path
) -> None:
    made = make_job(tmp_path / "jobs" / "images")
    with pytest.raises(JobMismatch, match="by embedding images, not by importing vectors"):
        imported(source, made.job)
    imported(source, job)
    (tmp_path / "photos").mkdir()
    for given in (str(tmp_path / "photos"), str(source), "-"):
        with pytest.raises(JobMismatch, match=r"imported from .*clip, which can't be embedded as images are: ") as said:
            make_or_open(given, job, SMALL, lambda count: None)
        assert "go on with `lookalike import`, or name another JOB for images." in typed(said.value)


def test_two_imports_of_one_job_at_once_are_one(source: Path, job: JobDir) -> None:
    with creation_lock(job), pytest.raises(JobBusy, match="or importing its vectors"):
        imported(source, job)


def test_the_name_of_a_model_and_its_dimensions_say_what_can_be_compared(source: Path, tmp_path: Path) -> None:
    def fingerprint(path: Path, name: str, model_name: str | None) -> str:
        return imported(path, JobDir.at(tmp_path / "jobs" / name), model_name=model_name).manifest.model.fingerprint

    np.save(tmp_path / "same.npy", drawn(5))
    np.save(tmp_path / "wider.npy", drawn(5, 17))
    first = fingerprint(source, "a", "ViT-B/32")
    assert first.startswith("ViT-B/32@")
    assert fingerprint(tmp_path / "same.npy", "b", "ViT-B/32") == first
    others = {
        fingerprint(tmp_path / "wider.npy", "c", "ViT-B/32"),
        fingerprint(tmp_path / "same.npy", "d", "ViT-L/14"),
        fingerprint(tmp_path / "same.npy", "e", None),
    }
    assert len(others | {first}) == 4
    for name in ("", "two words", "-x", "é", "x" * 101):
        with pytest.raises(ModelError, match="can't name a model"):
            imported(source, JobDir.at(tmp_path / "jobs" / "f"), model_name=name or " ")
    assert not (tmp_path / "jobs" / "f").exists()


def test_no_image_can_be_searched_by_a_model_that_only_has_a_name(source: Path, job: JobDir) -> None:
    model = imported(source, job, model_name="efficientnet-b0").manifest.model
    with pytest.raises(ModelError, match=r"were imported .*search by a vector of the same model"):
        load_embedder(model, job.model_dir)


# What goes wrong


def test_vectors_that_all_lack_a_direction_are_a_job_without_an_index(tmp_path: Path, job: JobDir) -> None:
    np.save(tmp_path / "zero.npy", np.zeros((12, 8), dtype=np.float16))
    job = imported(tmp_path / "zero.npy", job)
    progress = ProgressReader(job).read()
    assert (progress.embedded, progress.failed) == (0, 12)
    assert list(verify(job, Checked())) == []
    with pytest.raises(JobError, match=r"None of the 12 images .* 12 failed"):
        merge(job, SMALL, UNWATCHED)


def test_files_whose_columns_differ_are_one_job_with_all_of_them(tmp_path: Path, job: JobDir) -> None:
    folder = tmp_path / "drift"
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for shard in range(2):
        np.save(folder / "img_emb" / f"img_emb_{shard}.npy", drawn(20))
    paths = {"image_path": [f"{row}.jpg" for row in range(20)]}
    first = {"caption": pa.nulls(20), "rating": pa.array(range(20), pa.int64())}
    second = {"caption": ["cat"] * 20, "rating": [1.5] * 20, "extra": ["e"] * 20}
    for shard, columns in enumerate((first, second)):
        pq.write_table(pa.table(paths | columns), folder / "metadata" / f"metadata_{shard}.parquet")
    job = imported(folder, job)
    tables = [pq.read_table(job.metadata(partition.number)) for partition in job.partitions]
    assert len({table.schema for table in tables}) == 1
    table = pa.concat_tables(tables).to_pydict()
    assert table["caption"] == [None] * 20 + ["cat"] * 20
    assert table["rating"] == [*map(float, range(20)), *[1.5] * 20]
    assert table["extra"] == [None] * 20 + ["e"] * 20


def test_an_import_that_is_refused_leaves_nothing_behind(source: Path, job: JobDir, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    table = pq.read_table(source / "metadata" / "metadata_1.parquet")
    for columns in (table.slice(1), table.drop(["image_path"]), table.append_column("label", table["label"])):
        pq.write_table(columns, source / "metadata" / "metadata_1.parquet")
        with pytest.raises(SourceError):
            imported(source, job)
        assert sorted(tmp_path.rglob("*")) == before
    pq.write_table(table, source / "metadata" / "metadata_1.parquet")
    assert imported(source, job).manifest.listed == 25


def test_a_source_that_fails_midway_keeps_what_is_sealed_and_goes_on_when_it_is_mended(
    tmp_path: Path, job: JobDir
) -> None:
    path = tmp_path / "v.parquet"
    rows = [[1.0, 2.0]] * 22
    pq.write_table(pa.table({"emb": pa.array([*rows, [1.0]], pa.list_(pa.float32()))}), path)
    opened = open_vectors(str(path), "emb")
    with pytest.raises(SourceError, match=r"Row 22 of .* has a vector of 1 dimensions"):
        import_vectors(opened, job, SMALL, lambda doing, count: None)
    assert job.sealed_numbers() == [0, 1]
    assert job.sealed_file_numbers() == [0, 1]
    assert list(verify(job, Checked())) == []


def test_a_damaged_partition_is_taken_back_by_repair_and_read_again_by_import(source: Path, job: JobDir) -> None:
    imported(source, job)
    before = files_of(job)
    data = bytearray(job.img_emb(1).read_bytes())
    data[-5] ^= 4
    job.img_emb(1).write_bytes(data)
    job.paths(2).unlink()
    after = [finding.then for finding in verify(job, Checked()) if finding.then is not None]
    assert [(then.action, str(then)) for then in after] == [("import", "the next importing reads its 10 images again")]
    assert all(outcome.mended for outcome in repair(job, Checked()))
    assert job.sealed_numbers() == [0, 2]
    imported(source, job)
    assert files_of(job) == before
    assert list(verify(job, Checked())) == []


def test_a_path_list_that_is_lost_before_its_partition_is_sealed_is_written_anew(
    source: Path, job: JobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "seal_rows", fails)
        with pytest.raises(OSError, match="disk"):
            imported(source, job)
    listed = job.paths(1).read_bytes()
    job.paths(1).unlink()
    (outcome,) = repair(job, Checked())
    assert not outcome.mended
    assert "importing again does that where the partition is not sealed" in outcome.sentence
    imported(source, job)
    assert job.paths(1).read_bytes() == listed
    assert list(verify(job, Checked())) == []


def test_a_seal_of_another_model_is_refused_with_the_command_that_mends_it(source: Path, job: JobDir) -> None:
    job = imported(source, job)
    table = json.loads(job.seal(1).read_text())
    job.seal(1).write_text(json.dumps(table | {"fingerprint": "other@0"}))
    with pytest.raises(FingerprintMismatch, match="was embedded by the model other@0") as said:
        list(ledger.sealed(job))
    assert typed(said.value).endswith(
        f": `lookalike repair {job.path}` takes it back, and the next `lookalike import` reads it again."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="Root reads everything.")
def test_a_source_without_permission_is_a_sentence(source: Path, job: JobDir) -> None:
    (source / "img_emb" / "img_emb_0.npy").chmod(0)
    with pytest.raises(SourceError, match=r"img_emb_0\.npy can't be read \(Permission denied\)"):
        imported(source, job)
    assert not job.path.exists()


def test_a_sealed_job_can_be_imported_again_to_the_bit(tmp_path: Path, job: JobDir) -> None:
    made = make_job(tmp_path / "jobs" / "images", listed=40, failed=(3, 30))
    job = imported(made.job.path, job, model_name="made-up")
    stored = [open_embeddings(job.img_emb(seal.partition), seal.embedded, 16) for seal in ledger.sealed(job)]
    assert np.concatenate(stored).tobytes() == made.embeddings.tobytes()
    assert pq.read_table(job.metadata(0))["image_path"].to_pylist()[3] == "photos/é 0000004.jpg"
    assert pq.read_table(job.metadata(0))["width"].to_pylist() == [8] * 10


# What is wrong with an index, and which command mends it: `lookalike index` refuses a job of vectors.


def cut_short(*paths: Path) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes()[:-9])


def searched(job: JobDir) -> None:
    SearcherPool(Settings()).searcher(job)


def merged_again(job: JobDir) -> None:
    merge(open_job(job), Settings(), UNWATCHED)


def rolled_back(job: JobDir) -> None:
    rollback(job, builds.current_build(job))


def verified(job: JobDir) -> None:
    first, *others = [finding.mends for finding in verify(job, Checked()) if finding.bad if finding.mends is not None]
    raise CorruptFile("The index is not whole", remedy=reduce(Remedy.followed_by, others, first))


DAMAGE: dict[str, Callable[[JobDir, Path], object]] = {
    "index cut short": lambda job, build: cut_short(build / builds.INDEX_FILE),
    "images cut short": lambda job, build: cut_short(build / builds.IMAGES_FILE),
    "index.json cut short": lambda job, build: cut_short(build / builds.INFO_FILE),
    "CURRENT of nothing": lambda job, build: job.current.write_text("0009-gone\n"),
    "no CURRENT": lambda job, build: job.current.unlink(),
    "other seals": lambda job, build: changed(job, build, ledger_digest="0" * 64),
    "another model": lambda job, build: changed(job, build, fingerprint="other@0123456789ab"),
    "all cut short": lambda job, build: cut_short(job.img_emb(0), build / builds.INFO_FILE),
}


def changed(job: JobDir, build: Path, **fields: Any) -> None:
    builds.write_info(job, replace(builds.read_info(job, build.name), **fields))


@pytest.mark.parametrize(
    ("damage", "asked"),
    [
        ("index cut short", searched),
        ("images cut short", verified),
        ("index.json cut short", searched),
        ("index.json cut short", verified),
        ("CURRENT of nothing", searched),
        ("no CURRENT", builds.require_promoted),
        ("no CURRENT", rollback),
        ("other seals", searched),
        ("other seals", rolled_back),
        ("another model", searched),
        ("another model", verified),
        ("all cut short", merged_again),
    ],
)
def test_what_is_wrong_with_the_index_of_imported_vectors_names_the_command_that_mends_it(
    source: Path, job: JobDir, damage: str, asked: Callable[[JobDir], object]
) -> None:
    imported(source, job)
    merged_again(job)
    DAMAGE[damage](job, job.build_dir(str(builds.current_build(job))))
    with pytest.raises((JobError, FingerprintMismatch)) as said:
        asked(job)
    sentence = typed(said.value)
    assert "`lookalike import`" in sentence or "the command that made the job" in sentence
    assert "lookalike index" not in sentence
    assert "lookalike" not in str(said.value).replace(str(job.path), "")


def test_what_was_purged_does_not_come_back_with_a_partition_that_is_imported_again(tmp_path: Path) -> None:
    rows = unit(np.random.default_rng(0).normal(size=(25, 8))).astype(np.float16)
    np.save(tmp_path / "vectors.npy", rows)
    job = imported(tmp_path / "vectors.npy", JobDir(tmp_path / "purged"))
    remove(job, 0, 4, 13)
    compacted(job)
    job = open_job(job)
    number = job.partitions[0].number
    before = {path: path.read_bytes() for path in (*job.sealed_files(number), job.paths(number))}
    assert path_list.read_paths(job, job.partitions[0])[4] == ""
    job.seal(number).unlink()
    job.paths(number).unlink()
    imported(tmp_path / "vectors.npy", job)
    seals = list(ledger.sealed(job))
    assert [seal.embedded for seal in seals] == [8, 9, 5]
    assert {path: path.read_bytes() for path in before} == before
