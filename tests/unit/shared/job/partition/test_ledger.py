import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import CorruptFile, FingerprintMismatch
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import Chunk, Partition
from shared.job.opened import OpenJob, with_manifest
from shared.job.partition import checkpoint, ledger
from shared.job.partition.checkpoint import ImageRow
from shared.storage import files
from tests.support.make_job import image_path, make_job, model_spec, unit

DIM = 16


def row(image: int, status: str = "ok") -> ImageRow:
    if status == "ok":
        return ImageRow(image, image_path(image), 640, 480, 3_000, "ab" * 32, "ok", None)
    return ImageRow(image, image_path(image), None, None, 7, None, status, f"It is {status}.")


def vectors(count: int, seed: int = 0) -> npt.NDArray[np.float16]:
    return unit(np.random.default_rng(seed).normal(size=(count, DIM)) + 0.1).astype(np.float16)


def commit(job: OpenJob, chunk: Chunk, failed: tuple[int, ...] = (), seed: int = 0) -> None:
    rows = [row(image, "truncated" if image in failed else "ok") for image in range(chunk.start, chunk.stop)]
    good = sum(row.status == "ok" for row in rows)
    checkpoint.commit_chunk(job, chunk, rows, vectors(good, seed + chunk.start), seconds=2.0)


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of two partitions, 25 and 15 images, in chunks of 10, with nothing embedded yet."""
    empty = make_job(tmp_path / "job", listed=40, sealed=())
    return empty.job


def files_of(job: JobDir) -> list[str]:
    return sorted(str(path.relative_to(job.path)) for path in job.path.rglob("*") if path.is_file())


def sealed_bytes(job: JobDir, partition: int) -> list[bytes]:
    return [path.read_bytes() for path in job.sealed_files(partition)]


# Paths.


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20))
def test_paths_come_back_whatever_is_in_them(tmp_path_factory: pytest.TempPathFactory, paths: list[str]) -> None:
    job, partition = JobDir(tmp_path_factory.mktemp("job")), Partition(3, 100, 100 + len(paths))
    path_list.write_paths(job, partition, paths)
    assert path_list.read_paths(job, partition) == paths


def test_a_path_list_of_another_partition_is_refused(job: OpenJob) -> None:
    shutil.copy(job.paths(1), job.paths(0))
    with pytest.raises(CorruptFile, match=r"paths_0000\.parquet does not hold the ids 0 to 24 in order"):
        path_list.read_paths(job, job.partition(0))


def test_a_path_list_that_is_gone_or_damaged_is_named(job: OpenJob) -> None:
    job.paths(0).unlink()
    with pytest.raises(CorruptFile, match=r"paths_0000\.parquet can't be read .*restore it"):
        path_list.read_paths(job, job.partition(0))
    flip(job.paths(1), page_ends(job.paths(1))[1])
    with pytest.raises(CorruptFile, match=r"paths_0001\.parquet can't be read .*restore it"):
        path_list.read_paths(job, job.partition(1))


# Chunks.


@pytest.mark.parametrize("failed", [(), (0,), (3, 4, 9), tuple(range(10))])
def test_a_chunk_comes_back_as_it_was_committed(job: OpenJob, failed: tuple[int, ...]) -> None:
    chunk = job.chunks(job.partition(0))[0]
    commit(job, chunk, failed)
    table, embeddings = checkpoint.read_chunk(job, chunk)
    assert embeddings.dtype == np.float16
    assert embeddings.tobytes() == vectors(10 - len(failed)).tobytes()
    assert embeddings.shape == (10 - len(failed), DIM)
    assert table["id"].to_pylist() == list(range(10))
    assert table["status"].to_pylist() == ["truncated" if image in failed else "ok" for image in range(10)]
    assert [value is None for value in table["embedding"].to_pylist()] == [image in failed for image in range(10)]
    summary = checkpoint.chunk_summary(job, 0, 0)
    assert (summary.embedded, summary.failed, summary.dim) == (10 - len(failed), len(failed), DIM)
    assert (summary.start, summary.stop, summary.seconds) == (0, 10, 2.0)
    assert summary.fingerprint == job.manifest.model.fingerprint


def test_a_committed_chunk_is_one_file_and_no_longer_missing(job: OpenJob) -> None:
    before = files_of(job)
    chunks = job.chunks(job.partition(0))
    assert checkpoint.missing_chunks(job, job.partition(0)) == chunks
    commit(job, chunks[1])
    assert checkpoint.missing_chunks(job, job.partition(0)) == [chunks[0], chunks[2]]
    assert sorted({*files_of(job)} - {*before}) == ["chunks/0000/0001.parquet"]
    checkpoint.uncommit_chunk(job, chunks[1])
    checkpoint.uncommit_chunk(job, chunks[1])
    assert checkpoint.missing_chunks(job, job.partition(0)) == chunks


def test_a_chunk_that_a_lagging_listing_does_not_show_is_not_missing(
    job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = job.chunks(job.partition(0))
    for chunk in chunks[:2]:
        commit(job, chunk)
    monkeypatch.setattr(JobDir, "chunk_numbers", lambda job, partition: [])
    assert checkpoint.missing_chunks(job, job.partition(0)) == chunks[2:]


def test_the_first_of_two_commits_of_a_chunk_stays(job: OpenJob) -> None:
    chunk = job.chunks(job.partition(0))[0]
    commit(job, chunk, seed=1)
    first = job.chunk(0, 0).read_bytes()
    commit(job, chunk, failed=(2,), seed=2)
    assert job.chunk(0, 0).read_bytes() == first
    assert files_of(job).count("chunks/0000/0000.parquet") == 1


def test_of_two_commits_at_once_one_whole_chunk_remains(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = job.chunks(job.partition(0))[0]
    both_written, link = threading.Barrier(2, timeout=60), os.link

    def link_together(*args: Any) -> None:
        both_written.wait()
        link(*args)

    monkeypatch.setattr(os, "link", link_together)
    threads = [threading.Thread(target=commit, args=(job, chunk, (), seed)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _, embeddings = checkpoint.read_chunk(job, chunk)
    assert embeddings.tobytes() in {vectors(10, 1).tobytes(), vectors(10, 2).tobytes()}
    assert [path.name for path in job.chunk_dir(0).iterdir()] == ["0000.parquet"]


@pytest.mark.parametrize(
    ("rows", "embeddings", "sentence"),
    [
        ([row(i) for i in range(9)], vectors(9), "each of its ids once"),
        ([row(i) for i in range(1, 11)], vectors(10), "each of its ids once"),
        ([row(i) for i in (1, 0, *range(2, 10))], vectors(10), "each of its ids once"),
        ([row(i) for i in range(10)], vectors(9), r"needs float16 \[10, d\]"),
        ([row(i, "empty" if i == 3 else "ok") for i in range(10)], vectors(10), r"needs float16 \[9, d\]"),
        ([row(i) for i in range(10)], vectors(10).astype(np.float32), "given float32"),
        ([row(i) for i in range(10)], vectors(10).reshape(-1), r"needs float16 \[10, d\]"),
        ([row(i) for i in range(10)], vectors(10) * np.float16(1.01), "length is not 1"),
        ([row(i) for i in range(10)], vectors(10) * np.float16(np.nan), "length is not 1"),
        ([row(i) for i in range(10)], vectors(10) * np.float16(0), "length is not 1"),
    ],
    ids=["few", "shifted", "order", "lost", "failed", "dtype", "shape", "long", "nan", "zero"],
)
def test_what_can_not_be_a_chunk_is_not_committed(
    job: OpenJob, rows: list[ImageRow], embeddings: np.ndarray, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        checkpoint.commit_chunk(job, job.chunks(job.partition(0))[0], rows, embeddings, 1.0)
    assert job.chunk_numbers(0) == []


def flip(path: Path, position: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def page_ends(path: Path) -> list[int]:
    """For each column of a Parquet file, the position of a byte in the data of its last page."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return [(c.dictionary_page_offset or c.data_page_offset) + c.total_compressed_size - 1 for c in columns]


def test_a_flipped_bit_anywhere_in_a_chunk_is_caught_or_changes_nothing(job: OpenJob) -> None:
    chunk = job.chunks(job.partition(0))[0]
    commit(job, chunk, failed=(4,))
    path = job.chunk(0, 0)
    whole = path.read_bytes()
    table, embeddings = checkpoint.read_chunk(job, chunk)
    caught = 0
    positions = range(0, len(whole), 9)
    for position in positions:
        path.write_bytes(whole)
        flip(path, position, position % 8)
        try:
            found, values = checkpoint.read_chunk(job, chunk)
        except (CorruptFile, FingerprintMismatch):
            caught += 1
            continue
        assert found.equals(table)
        assert values.tobytes() == embeddings.tobytes()
    # What is not caught is in the footer's names and statistics, which reading does not use.
    assert caught > len(positions) * 0.4


def test_a_flipped_bit_in_any_page_is_caught(job: OpenJob) -> None:
    chunk = job.chunks(job.partition(0))[0]
    commit(job, chunk)
    path = job.chunk(0, 0)
    whole = path.read_bytes()
    for position in page_ends(path):
        path.write_bytes(whole)
        flip(path, position)
        with pytest.raises(CorruptFile, match=r"0000\.parquet can't be read"):
            checkpoint.read_chunk(job, chunk)


def test_a_chunk_cut_short_is_caught_at_every_length(job: OpenJob) -> None:
    chunk = job.chunks(job.partition(0))[0]
    commit(job, chunk)
    path = job.chunk(0, 0)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFile):
            checkpoint.read_chunk(job, chunk)


def test_a_chunk_in_the_place_of_another_is_caught(job: OpenJob) -> None:
    first, second, _ = job.chunks(job.partition(0))
    commit(job, first)
    shutil.copy(job.chunk(0, 0), job.chunk(0, 1))
    with pytest.raises(CorruptFile, match="expected the ids 10 to 19"):
        checkpoint.read_chunk(job, second)


def test_a_chunk_that_is_not_there_is_named(job: OpenJob) -> None:
    with pytest.raises(CorruptFile, match=r"chunks/0000/0000\.parquet can't be read"):
        checkpoint.read_chunk(job, job.chunks(job.partition(0))[0])


def test_a_chunk_of_another_model_names_both(job: OpenJob) -> None:
    chunk = job.chunks(job.partition(0))[0]
    other = replace(job.manifest, model=model_spec("other"))
    commit(with_manifest(job, other), chunk)
    with pytest.raises(FingerprintMismatch) as refused:
        checkpoint.read_chunk(job, chunk)
    assert other.model.fingerprint in str(refused.value)
    assert job.manifest.model.fingerprint in str(refused.value)


def test_a_parquet_file_that_is_no_chunk_is_no_chunk(job: OpenJob) -> None:
    job.chunk_dir(0).mkdir(parents=True)
    pq.write_table(pa.table({"id": [1]}), job.chunk(0, 0))
    with pytest.raises(CorruptFile, match="can't be read"):
        checkpoint.chunk_summary(job, 0, 0)


def test_a_disk_that_does_not_answer_is_no_damaged_chunk(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = job.chunks(job.partition(0))[0]
    commit(job, chunk)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    for function in ("ParquetFile", "read_schema"):
        with monkeypatch.context() as patch:
            patch.setattr(pq, function, fail)
            with pytest.raises(OSError, match="not connected"):
                checkpoint.read_chunk(job, chunk)


# Seals.


def embed(job: OpenJob, number: int, failed: tuple[int, ...] = ()) -> None:
    for chunk in checkpoint.missing_chunks(job, job.partition(number)):
        commit(job, chunk, failed)


def seal(job: OpenJob, number: int, failed: tuple[int, ...] = ()) -> ledger.Seal:
    embed(job, number, failed)
    return ledger.seal_partition(job, job.partition(number))


def test_a_seal_says_what_was_sealed_and_the_chunks_go(job: OpenJob) -> None:
    marker = seal(job, 0, failed=(0, 12, 24))
    assert ledger.is_sealed(job, 0)
    assert not ledger.is_sealed(job, 1)
    assert marker == ledger.read_seal(job, 0)
    assert (marker.partition, marker.start, marker.stop, marker.listed) == (0, 0, 25, 25)
    assert (marker.embedded, marker.failed, marker.dim, marker.seconds) == (22, 3, DIM, 6.0)
    assert marker.fingerprint == job.manifest.model.fingerprint
    assert not job.chunk_dir(0).exists()
    assert list(marker.files) == [str(path.relative_to(job.path)) for path in job.sealed_files(0)]
    for path in job.sealed_files(0):
        written = marker.files[str(path.relative_to(job.path))]
        assert (written["bytes"], written["sha256"]) == (path.stat().st_size, files.sha256_of(path))
    assert list(ledger.sealed(job)) == [marker]


def test_a_partition_that_lacks_chunks_is_not_sealed(job: OpenJob) -> None:
    embed(job, 0)
    for number in (0, 2):
        job.chunk(0, number).unlink()
    with pytest.raises(CorruptFile, match=r"lacks the chunks \[0, 2\]"):
        ledger.seal_partition(job, job.partition(0))
    assert not ledger.is_sealed(job, 0)
    assert job.chunk_numbers(0) == [1]


def test_a_partition_with_a_damaged_chunk_is_not_sealed(job: OpenJob) -> None:
    embed(job, 0)
    flip(job.chunk(0, 1), page_ends(job.chunk(0, 1))[-1])
    with pytest.raises(CorruptFile, match=r"0001\.parquet"):
        ledger.seal_partition(job, job.partition(0))
    assert not ledger.is_sealed(job, 0)
    assert job.chunk_numbers(0) == [0, 1, 2]
    assert not any(path.exists() for path in job.sealed_files(0))


def test_a_partition_with_a_chunk_of_another_model_is_not_sealed(job: OpenJob) -> None:
    other = with_manifest(job, replace(job.manifest, model=model_spec("other")))
    commit(other, job.chunks(job.partition(0))[1])
    embed(job, 0)
    with pytest.raises(FingerprintMismatch):
        ledger.seal_partition(job, job.partition(0))
    assert not ledger.is_sealed(job, 0)


def test_what_is_sealed_stays_whoever_seals_again(job: OpenJob) -> None:
    marker = seal(job, 0)
    before = sealed_bytes(job, 0)
    for chunk in job.chunks(job.partition(0)):
        commit(job, chunk, seed=7)  # A worker that woke up late, on another processor.
    assert ledger.seal_partition(job, job.partition(0)) == marker
    assert sealed_bytes(job, 0) == before
    assert not job.chunk_dir(0).exists()


def test_the_sealed_bytes_depend_on_the_chunks_alone(tmp_path: Path) -> None:
    contents = []
    for name, order in (("a", [0, 1, 2]), ("b", [2, 0, 1])):
        empty = make_job(tmp_path / name, listed=25, sealed=())
        chunks = empty.job.chunks(empty.job.partition(0))
        for number in order:
            commit(empty.job, chunks[number], failed=(3,))
        ledger.seal_partition(empty.job, empty.job.partition(0))
        contents.append(sealed_bytes(empty.job, 0))
    assert contents[0] == contents[1]


def test_a_seal_that_can_not_be_read_is_named(job: OpenJob) -> None:
    seal(job, 0)
    for content in (b"", b"[]", b"{}", b'{"partition": 0}', b"\xff", job.seal(0).read_bytes()[:-10]):
        job.seal(0).write_bytes(content)
        with pytest.raises(CorruptFile, match=r"seal marker .*0000\.json can't be read"):
            ledger.read_seal(job, 0)


def test_a_seal_of_another_model_names_both(job: OpenJob) -> None:
    seal(job, 0)
    other = replace(job.manifest, model=model_spec("other"))
    with pytest.raises(FingerprintMismatch) as refused:
        list(ledger.sealed(with_manifest(job, other)))
    assert other.model.fingerprint in str(refused.value)
    assert job.manifest.model.fingerprint in str(refused.value)


@pytest.mark.parametrize("number", [1, 2, 10_000])
def test_a_seal_in_the_place_of_another_is_caught(job: OpenJob, number: int) -> None:
    seal(job, 0)
    shutil.copy(job.seal(0), job.seal(number))
    with pytest.raises(CorruptFile, match=f"which is not partition {number}"):
        list(ledger.sealed(job))


def test_a_seal_with_other_boundaries_is_caught(job: OpenJob) -> None:
    seal(job, 1)
    job.seal(1).write_text(job.seal(1).read_text().replace('"stop": 40', '"stop": 41'))
    with pytest.raises(CorruptFile, match="seals the ids 25 to 40"):
        list(ledger.sealed(job))


# Ids.


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)


def test_the_ids_of_a_sealed_partition_are_those_of_its_embeddings(job: OpenJob) -> None:
    marker = seal(job, 1, failed=(25, 31))
    ids = ledger.check_ids(job, marker)
    assert ids.dtype == np.int64
    assert ids.tolist() == [image for image in range(25, 40) if image not in (25, 31)]


def test_missing_double_strange_and_disordered_ids_are_named(job: OpenJob) -> None:
    marker = seal(job, 0, failed=(3, 4))
    metadata, errors = job.metadata(0).read_bytes(), job.errors(0).read_bytes()
    changes: list[tuple[Path, Callable[[pa.Table], pa.Table], str]] = [
        (job.metadata(0), lambda table: table.slice(1), r"22 embedded and 2 failed ids.*missing: 0:"),
        (job.errors(0), lambda table: table.slice(1), "missing: 3:"),
        (job.errors(0), lambda table: table.slice(0, 0), "missing: 3, 4:"),
        (job.metadata(0), lambda table: pa.concat_tables([table.slice(0, 1), table]), "double: 0:"),
        (job.errors(0), lambda table: pa.concat_tables([table, table]), "double: 3, 4:"),
        (job.metadata(0), lambda table: table.take(list(reversed(range(23)))), "out of order: 23, .* and 17 more"),
        (job.metadata(0), lambda table: table.set_column(0, "id", pa.array(range(100, 123))), "strange: 100, 101, 102"),
    ]
    for path, change, sentence in changes:
        rewrite(path, change)
        with pytest.raises(CorruptFile, match=sentence):
            ledger.check_ids(job, marker)
        job.metadata(0).write_bytes(metadata)
        job.errors(0).write_bytes(errors)
    assert len(ledger.check_ids(job, marker)) == 23


def test_a_seal_with_other_counts_than_its_files_is_caught(job: OpenJob) -> None:
    marker = seal(job, 0, failed=(3,))
    with pytest.raises(
        CorruptFile, match=r"25 images, 25 of them embedded, and its files hold 24 embedded and 1 failed"
    ):
        ledger.check_ids(job, replace(marker, embedded=25, failed=0))


def test_a_job_may_lie_under_directories_that_look_like_partitioning(tmp_path: Path) -> None:
    made = make_job(tmp_path / "id=5" / "status=bad" / "job", listed=25, failed={4})
    (marker,) = ledger.sealed(made.job)
    assert ledger.check_ids(made.job, marker).tolist() == made.ids.tolist()
    assert len(path_list.read_paths(made.job, made.job.partition(0))) == 25


# Crashes. Every call that touches the disk fails once, before or after it has done its work.


class Crash(BaseException):
    """A kill: nothing that runs afterwards in this process touches the disk any more."""


class Disk:
    """Counts the calls that touch the disk, and lets the `fatal`-th of them fail."""

    def __init__(self, fatal: int, error: BaseException, *, after: bool) -> None:
        self.calls = 0
        self._fatal, self._error, self._after = fatal, error, after

    def watched(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.calls += 1
            dead = self.calls > self._fatal and isinstance(self._error, Crash)
            if dead or (self.calls == self._fatal and not self._after):
                raise self._error
            result = real(*args, **options)
            if self.calls == self._fatal:
                raise self._error
            return result

        return call


@contextmanager
def disk(fatal: int, error: BaseException, *, after: bool) -> Iterator[Disk]:
    watching = Disk(fatal, error, after=after)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (os, "replace"),
            (os, "link"),
            (os, "fsync"),
            (pq, "write_table"),
            (pq.ParquetWriter, "write_table"),
            (pq.ParquetWriter, "close"),
            (Path, "write_bytes"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (shutil, "rmtree"),
        ):
            patch.setattr(owner, name, watching.watched(getattr(owner, name)))
        yield watching


ERRORS = [OSError(errno.ENOSPC, "No space left on device"), Crash()]


@pytest.mark.parametrize("error", ERRORS, ids=["error", "kill"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whatever_fails_during_a_commit_the_chunk_is_whole_or_absent(
    tmp_path: Path, error: BaseException, after: bool
) -> None:
    outcomes = set()
    for fatal in range(1, 100):
        made = make_job(tmp_path / str(fatal), listed=10, sealed=())
        job = made.job
        (chunk,) = job.chunks(job.partition(0))
        with disk(fatal, error, after=after) as watching, suppress(OSError, Crash):
            commit(job, chunk, failed=(2,))
        outcomes.add(tuple(job.chunk_numbers(0)))
        if job.chunk_numbers(0):
            checkpoint.read_chunk(job, chunk)
        commit(job, chunk, failed=(2,))
        _, embeddings = checkpoint.read_chunk(job, chunk)
        assert embeddings.tobytes() == vectors(9).tobytes()
        if watching.calls < fatal:
            break
    assert fatal > 5
    assert outcomes == {(), (0,)}


@pytest.mark.parametrize("error", ERRORS, ids=["error", "kill"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whatever_fails_during_a_seal_the_partition_is_sealed_whole_or_not_sealed(
    tmp_path: Path, error: BaseException, after: bool
) -> None:
    undisturbed = make_job(tmp_path / "undisturbed", listed=15, sealed=())
    embed(undisturbed.job, 0, failed=(2, 11))
    chunks = shutil.copytree(undisturbed.job.chunk_dir(0), tmp_path / "chunks")
    ledger.seal_partition(undisturbed.job, undisturbed.job.partition(0))
    expected, outcomes = sealed_bytes(undisturbed.job, 0), set()
    for fatal in range(1, 100):
        made = make_job(tmp_path / str(fatal), listed=15, sealed=())
        job, partition = made.job, made.job.partition(0)
        shutil.copytree(chunks, job.chunk_dir(0))
        with disk(fatal, error, after=after) as watching, suppress(OSError, Crash):
            ledger.seal_partition(job, partition)
        outcomes.add(ledger.is_sealed(job, 0))
        if ledger.is_sealed(job, 0):
            marker = ledger.read_seal(job, 0)
            assert {name: entry["sha256"] for name, entry in marker.files.items()} == {
                str(path.relative_to(job.path)): files.sha256_of(path) for path in job.sealed_files(0)
            }
        else:
            assert job.chunk_numbers(0) == [0, 1]
        marker = ledger.seal_partition(job, partition)
        assert sealed_bytes(job, 0) == expected
        assert (marker.embedded, marker.failed) == (13, 2)
        assert ledger.check_ids(job, marker).tolist() == [image for image in range(15) if image not in (2, 11)]
        assert files_of(job) == files_of(undisturbed.job)
        if watching.calls < fatal:
            break
    assert fatal > 20
    assert outcomes == {False, True}


# Rows that never were chunks.


def rows_of(start: int, stop: int, failed: tuple[int, ...] = ()) -> tuple[pa.Table, npt.NDArray[np.float16]]:
    rows = [row(image, "no-direction" if image in failed else "ok") for image in range(start, stop)]
    columns = {name: [getattr(one, name) for one in rows] for name in checkpoint.CHUNK_SCHEMA.names[:-1]}
    table = pa.table(columns, schema=pa.schema(list(checkpoint.CHUNK_SCHEMA)[:-1]))
    return table, vectors(stop - start - len(failed), seed=start)


def test_rows_are_sealed_as_chunks_are(job: OpenJob, tmp_path: Path) -> None:
    partition = job.partition(0)
    spans = [(chunk.start, chunk.stop) for chunk in job.chunks(partition)]
    seal = ledger.seal_rows(job, partition, (rows_of(*span) for span in spans))
    other = make_job(tmp_path / "other", listed=40, sealed=())
    for chunk in job.chunks(partition):
        rows = [row(image) for image in range(chunk.start, chunk.stop)]
        checkpoint.commit_chunk(other.job, chunk, rows, vectors(len(chunk), seed=chunk.start), seconds=1.0)
    by_chunks = ledger.seal_partition(other.job, partition)
    assert sealed_bytes(job, 0) == sealed_bytes(other.job, 0)
    assert seal.files == by_chunks.files
    assert (seal.embedded, seal.failed, seal.start, seal.stop, seal.dim) == (25, 0, 0, 25, DIM)
    assert ledger.check_ids(job, seal).tolist() == list(range(25))


def test_rows_that_failed_shorten_the_embeddings_and_their_checksum_is_that_of_the_file(
    job: OpenJob,
) -> None:
    blocks = [rows_of(25, 30, (25, 28)), rows_of(30, 31, (30,)), rows_of(31, 40)]
    seal = ledger.seal_rows(job, job.partition(1), iter(blocks))
    assert (seal.embedded, seal.failed) == (12, 3)
    assert ledger.check_ids(job, seal).tolist() == [26, 27, 29, *range(31, 40)]
    stored = np.load(job.img_emb(1))
    assert stored.tobytes() == np.concatenate([embeddings for _, embeddings in blocks]).tobytes()
    for path in job.sealed_files(1):
        entry = seal.files[str(path.relative_to(job.path))]
        assert entry == {"bytes": path.stat().st_size, "sha256": files.sha256_of(path)}


def test_a_partition_that_is_sealed_is_not_read_again(job: OpenJob) -> None:
    seal = ledger.seal_rows(job, job.partition(1), [rows_of(25, 40)])

    def unread() -> Iterator[Any]:
        raise AssertionError
        yield

    assert ledger.seal_rows(job, job.partition(1), unread()) == seal


@pytest.mark.parametrize(
    ("blocks", "sentence"),
    [
        ([rows_of(25, 39)], "has 15 rows, and was given 14"),
        ([rows_of(25, 30), rows_of(31, 40)], "each of its ids once, in order"),
        ([rows_of(25, 41)], "each of its ids once, in order"),
        ([(rows_of(25, 40)[0], vectors(14))], r"needs float16 \[15, 16\], and was given float16 \[14, 16\]"),
        ([(rows_of(25, 40)[0], vectors(15)[:, :8])], r"needs float16 \[15, 16\], and was given float16 \[15, 8\]"),
        ([(rows_of(25, 40)[0], vectors(15).astype(np.float32))], "was given float32"),
    ],
)
def test_rows_that_are_no_partition_leave_nothing(job: OpenJob, blocks: list[Any], sentence: str) -> None:
    before = files_of(job)
    with pytest.raises(ValueError, match=sentence):
        ledger.seal_rows(job, job.partition(1), iter(blocks))
    assert files_of(job) == before
