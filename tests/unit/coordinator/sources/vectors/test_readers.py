import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.sources.vectors.parquet_reader import ParquetFile, ParquetRows
from coordinator.sources.vectors.readers import FvecsFile, NpyFile
from shared.errors import SourceError


def drawn(rows: int = 40, dim: int = 5, dtype: str = "f4") -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, dim)).astype(dtype)


def write_fvecs(path: Path, vectors: Any) -> Path:
    path.write_bytes(b"".join(struct.pack(f"<i{len(row)}f", len(row), *row) for row in vectors))
    return path


def write_npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


# .npy


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_rows_come_back_in_any_precision_byte_and_memory_order(tmp_path: Path, dtype: str, order: Any) -> None:
    vectors = drawn(dtype=dtype)
    file = NpyFile.open(write_npy(tmp_path / "v.npy", np.asarray(vectors, order=order)))
    assert (file.rows, file.dim, file.fortran) == (40, 5, order == "F")
    for start, stop in ((0, 40), (7, 9), (39, 40)):
        assert np.array_equal(file.read(start, stop), vectors[start:stop])


def test_npy_of_version_2_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "v.npy", "wb") as file:
        np.lib.format.write_array(file, drawn(), version=(2, 0))
    assert np.array_equal(NpyFile.open(tmp_path / "v.npy").read(3, 5), drawn()[3:5])


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.ones((4, 3), dtype=np.int64), "values of type int64; expected float16, float32 or float64"),
        (np.ones((4, 3), dtype=np.uint8), "values of type uint8; expected"),
        (np.ones((4, 3), dtype=complex), "values of type complex128; expected"),
        (np.array([[object()]]), "values of type object; expected"),
        (np.ones(12, dtype=np.float32), r"an array of the shape \[12\]; expected \[n, d\]"),
        (np.ones((2, 3, 4), dtype=np.float32), r"an array of the shape \[2, 3, 4\]; expected \[n, d\]"),
    ],
)
def test_npy_that_holds_no_vectors_is_refused(tmp_path: Path, array: np.ndarray, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        NpyFile.open(write_npy(tmp_path / "v.npy", array))


def test_npy_cut_short_and_what_is_no_npy_are_refused(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "v.npy", drawn())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(SourceError, match=r"v\.npy is cut short: it has 927 bytes, and 40 x 5 float32 take 928"):
        NpyFile.open(path)
    for data in (b"", whole[:4], whole[:60], b"not an array at all, but long enough to hold a header"):
        path.write_bytes(data)
        with pytest.raises(SourceError, match=r"v\.npy can't be read"):
            NpyFile.open(path)


def test_a_file_that_gets_shorter_while_it_is_read_is_a_sentence_and_no_signal(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "v.npy", drawn())
    file = NpyFile.open(path)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(SourceError, match="got shorter while it was read"):
        file.read(0, 40)
    path.unlink()
    with pytest.raises(SourceError, match="can't be read"):
        file.read(0, 1)


# .fvecs


def test_fvecs_rows_come_back(tmp_path: Path) -> None:
    file = FvecsFile.open(write_fvecs(tmp_path / "v.fvecs", drawn()))
    assert (file.rows, file.dim) == (40, 5)
    for start, stop in ((0, 40), (7, 9), (39, 40)):
        assert np.array_equal(file.read(start, stop), drawn()[start:stop])


def test_fvecs_cut_short_or_of_another_format_is_refused(tmp_path: Path) -> None:
    path = write_fvecs(tmp_path / "v.fvecs", drawn())
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(SourceError, match="cut short: its 957 bytes hold 39 vectors of 5 dimensions, and 21 bytes"):
        FvecsFile.open(path)
    path.write_bytes(whole[4:])
    with pytest.raises(SourceError, match=r"no \.fvecs file"):
        FvecsFile.open(path)
    path.write_bytes(b"\1")
    with pytest.raises(SourceError, match=r"no \.fvecs file"):
        FvecsFile.open(path)
    path.write_bytes(b"")
    assert (FvecsFile.open(path).rows, FvecsFile.open(path).dim) == (0, None)


def test_fvecs_whose_dimensions_change_is_refused_when_opened_or_at_the_latest_when_read(tmp_path: Path) -> None:
    rows = [[1.0] * 5] * 3 + [[1.0] * 4] * 6
    with pytest.raises(SourceError, match=r"Row 3 of .* says that it has 4 dimensions, and the first row has 5"):
        FvecsFile.open(write_fvecs(tmp_path / "v.fvecs", rows))
    path = write_fvecs(tmp_path / "long.fvecs", drawn(3_000))
    with open(path, "rb+") as file:
        file.seek(1_000 * 24)  # None of those that are looked at when it is opened.
        file.write(struct.pack("<i", 6))
    opened = FvecsFile.open(path)
    assert np.array_equal(opened.read(0, 1_000), drawn(3_000)[:1_000])
    with pytest.raises(SourceError, match=r"Row 1,000 of .* says that it has 6 dimensions"):
        opened.read(900, 1_100)


# Parquet


def write_parquet(path: Path, vectors: pa.Array, rows_in_group: int = 7) -> Path:
    table = pa.table({"name": [str(row) for row in range(len(vectors))], "emb": vectors})
    pq.write_table(table, path, row_group_size=rows_in_group)
    return path


KINDS = [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float16()), pa.list_(pa.float32(), 5)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("rows_in_group", [7, 4_000])
def test_parquet_rows_come_back_forwards_and_from_anywhere(tmp_path: Path, kind: Any, rows_in_group: int) -> None:
    vectors = drawn(3_000).astype(kind.value_type.to_pandas_dtype())
    file = ParquetFile.open(write_parquet(tmp_path / "v.parquet", pa.array(list(vectors), kind), rows_in_group), "emb")
    assert (file.rows, file.dim, file.dtype) == (3_000, 5, vectors.dtype)
    for start, stop in ((0, 10), (10, 1_500), (1_500, 1_501), (2_999, 3_000), (3, 2_000), (2_000, 3_000)):
        assert np.array_equal(file.read(start, stop), vectors[start:stop])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_null_vectors_and_values_in_parquet_are_nan(tmp_path: Path, kind: Any) -> None:
    vectors = pa.array([None, [1, 2, 3, 4, 5], None, [1, None, 3, 4, 5], [5, 4, 3, 2, 1]], kind)
    file = ParquetFile.open(write_parquet(tmp_path / "v.parquet", vectors, 2), "emb")
    found = file.read(0, 5).astype(np.float32)
    assert file.dim == 5
    assert np.isnan(found).sum(axis=1).tolist() == [5, 0, 5, 1, 0]
    assert found[[1, 4]].tolist() == [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]


def test_parquet_rows_of_another_length_are_named(tmp_path: Path) -> None:
    vectors = pa.array([[1.0, 2.0]] * 9 + [[1.0]], pa.list_(pa.float32()))
    file = ParquetFile.open(write_parquet(tmp_path / "v.parquet", vectors), "emb")
    assert file.read(0, 9).shape == (9, 2)
    with pytest.raises(SourceError, match=r"Row 9 of .*v\.parquet has a vector of 1 dimensions where the first has 2"):
        file.read(5, 10)


def test_a_parquet_column_that_is_missing_or_holds_no_lists_of_floats_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "v.parquet", pa.array([[1, 2]] * 3, pa.list_(pa.int32())))
    with pytest.raises(SourceError, match="has no column 'vector'; its columns are name, emb: name the one"):
        ParquetFile.open(path, "vector")
    with pytest.raises(SourceError, match=r"The column 'name' of .* is of type string; expected lists of floats"):
        ParquetFile.open(path, "name")
    with pytest.raises(SourceError, match=r"The column 'emb' of .* is of type list<.*int32>; expected lists of floats"):
        ParquetFile.open(path, "emb")


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(SourceError, match=r"v\.parquet can't be read"):
        ParquetRows.open(path)


def test_damaged_pages_of_parquet_are_a_sentence(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "v.parquet", pa.array(list(drawn()), pa.list_(pa.float32())), 40)
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(data)
    rows = ParquetRows.open(path)
    with pytest.raises(SourceError, match=r"v\.parquet can't be read"):
        rows.read(0, 40)
