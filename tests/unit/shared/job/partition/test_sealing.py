import io
import uuid
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.job.partition import sealing
from shared.job.partition.checkpoint import CHUNK_SCHEMA
from shared.job.partition.sealing import HEADER_BYTES, npy_header, open_embeddings, whole_embeddings, write_sealed_files
from shared.storage import files
from tests.support.make_job import image_path, make_job


def saved(array: np.ndarray) -> bytes:
    plain = io.BytesIO()
    np.save(plain, array)
    return plain.getvalue()


@pytest.mark.parametrize(("rows", "dim"), [(0, 1280), (1, 1), (50_000, 1280), (3, 2_560), (10**9, 100_000)])
def test_the_header_is_the_one_that_numpy_writes(rows: int, dim: int) -> None:
    header = npy_header(rows, dim)
    assert len(header) == HEADER_BYTES
    assert HEADER_BYTES % 64 == 0
    stream = io.BytesIO(header)
    assert np.lib.format.read_magic(stream) == (1, 0)
    assert np.lib.format.read_array_header_1_0(stream) == ((rows, dim), False, np.dtype("<f2"))
    assert stream.tell() == HEADER_BYTES


def test_sealed_embeddings_are_the_file_that_numpy_would_save(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", failed={3, 27})
    for number in range(3):
        partition = made.job.partition(number)
        inside = (made.ids >= partition.start) & (made.ids < partition.stop)
        path = made.job.img_emb(number)
        assert path.read_bytes() == saved(made.embeddings[inside])
        assert np.array_equal(np.load(path), made.embeddings[inside])
        mapped = np.memmap(path, np.float16, "r", offset=HEADER_BYTES).reshape(-1, 16)
        assert np.array_equal(mapped, made.embeddings[inside])
        opened = open_embeddings(path, int(inside.sum()), 16)
        assert np.array_equal(opened, made.embeddings[inside])
        assert not opened.flags.writeable


def test_rows_ids_and_metadata_have_one_order(tmp_path: Path) -> None:
    failed = {0, 7, 24, 25, 59}
    made = make_job(tmp_path / "job", failed=failed)
    rows: list[dict[str, object]] = []
    for number in range(3):
        metadata = pq.read_table(made.job.metadata(number)).to_pylist()
        assert len(metadata) == len(np.load(made.job.img_emb(number)))
        rows += metadata
    assert [row["id"] for row in rows] == made.ids.tolist()
    assert [row["image_path"] for row in rows] == [image_path(image) for image in made.ids]
    assert rows[0] == {"id": 1, "image_path": image_path(1), "width": 8, "height": 8, "bytes": 300, "sha256": "0" * 64}
    errors = [row for number in range(3) for row in pq.read_table(made.job.errors(number)).to_pylist()]
    assert [row["id"] for row in errors] == sorted(failed)
    assert errors[1] == {
        "id": 7,
        "image_path": image_path(7),
        "status": "truncated",
        "error_message": "The file ends too early.",
    }


def test_the_tables_have_the_same_columns_when_nothing_or_everything_failed(tmp_path: Path) -> None:
    for name, failed in (("none", range(0)), ("all", range(25))):
        made = make_job(tmp_path / name, listed=25, failed=failed)
        assert pq.read_schema(made.job.metadata(0)).equals(sealing.METADATA_SCHEMA)
        assert pq.read_schema(made.job.errors(0)).equals(sealing.ERRORS_SCHEMA)
        assert np.load(made.job.img_emb(0)).shape == (25 - len(failed), 16)
        assert pq.read_metadata(made.job.errors(0)).num_rows == len(failed)
    empty = open_embeddings(made.job.img_emb(0), 0, 16)
    assert (empty.shape, empty.dtype) == ((0, 16), np.float16)


@pytest.mark.parametrize("failed", [(3,), range(25)])
def test_all_embeddings_of_a_partition_are_had_from_a_disk_and_from_a_store(
    tmp_path: Path, failed: Collection[int]
) -> None:
    rows = 25 - len(failed)
    for place in (str(tmp_path / "photos"), f"memory://{uuid.uuid4().hex}/photos"):
        made = make_job(place, listed=25, failed=failed)
        found = whole_embeddings(made.job.img_emb(0), rows, 16)
        assert found.dtype == np.float16
        assert np.array_equal(found, made.embeddings)
        with pytest.raises(CorruptFile, match=r"img_emb_0000\.npy have"):
            whole_embeddings(made.job.img_emb(0), rows + 1, 16)


def chunk(start: int, count: int) -> tuple[pa.Table, np.ndarray]:
    embeddings = np.full((count, 4), 0.5, np.float16)
    rows = [
        {"id": image, "image_path": f"{image}.jpg", "status": "ok", "embedding": embeddings[0].tolist()}
        for image in range(start, start + count)
    ]
    return pa.Table.from_pylist(rows, schema=CHUNK_SCHEMA), embeddings


def test_what_is_returned_is_size_and_checksum_of_each_file_by_its_name_in_the_job(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    written = write_sealed_files(job, 12, [chunk(0, 3), chunk(3, 2)], rows=5, dim=4)
    assert list(written) == ["img_emb/img_emb_0012.npy", "metadata/metadata_0012.parquet", "errors/errors_0012.parquet"]
    for name, entry in written.items():
        assert entry == {"bytes": (job.path / name).stat().st_size, "sha256": files.sha256_of(job.path / name)}
    assert written["img_emb/img_emb_0012.npy"]["bytes"] == HEADER_BYTES + 5 * 4 * 2


@pytest.mark.parametrize("rows", [4, 6])
def test_chunks_that_hold_another_number_than_they_say_leave_nothing(tmp_path: Path, rows: int) -> None:
    job = JobDir(tmp_path / "job")
    with pytest.raises(CorruptFile, match=f"partition 0 of .* hold 5 embeddings; their footers say {rows}"):
        write_sealed_files(job, 0, [chunk(0, 3), chunk(3, 2)], rows=rows, dim=4)
    assert [path for path in job.path.rglob("*") if path.is_file()] == []


def test_chunks_are_taken_one_at_a_time(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    sizes = []

    def chunks() -> object:
        for number in range(3):
            sizes.append(sum(path.stat().st_size for path in job.path.rglob("*.tmp")))
            yield chunk(number * 2_000, 2_000)

    write_sealed_files(job, 0, chunks(), rows=6_000, dim=4)  # type: ignore[arg-type]
    # What came before has gone to the disk when the next is asked for.
    assert sizes[0] < 2_000 * 4 * 2 < sizes[1] < sizes[2]


@pytest.mark.parametrize("change", [-1, 1, -HEADER_BYTES])
def test_embeddings_of_another_size_are_refused(tmp_path: Path, change: int) -> None:
    path = tmp_path / "img_emb_0000.npy"
    path.write_bytes(bytes(HEADER_BYTES + 2 * 3 * 2 + change))
    with pytest.raises(CorruptFile, match=rf"img_emb_0000\.npy have {140 + change} bytes; 2 x 3 float16 make 140"):
        open_embeddings(path, 2, 3)


def test_embeddings_that_are_gone_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match=r"img_emb_0000\.npy can't be read"):
        open_embeddings(tmp_path / "img_emb_0000.npy", 2, 3)
