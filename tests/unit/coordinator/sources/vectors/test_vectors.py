from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.sources.vectors.vectors import Vectors, open_vectors
from shared.errors import SourceError, UsageError
from shared.job.partition.sealing import METADATA_SCHEMA


def drawn(rows: int, dim: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def clip_folder(folder: Path, rows: tuple[int, ...] = (3, 2, 4), **columns: Any) -> np.ndarray:
    """A folder as clip-retrieval writes it, numbers without leading zeros; returns all vectors in order."""
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    parts = []
    for place, count in enumerate(rows):
        number = place + 8  # 8, 9, 10: by text, 10 would come first.
        parts.append(drawn(count, seed=number))
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", parts[-1])
        table = {"image_path": [f"{number}/{row}.jpg" for row in range(count)]}
        table |= {name: [make(number, row) for row in range(count)] for name, make in columns.items()}
        pq.write_table(pa.table(table), folder / "metadata" / f"metadata_{number}.parquet")
    return np.concatenate(parts)


def all_of(vectors: Vectors) -> np.ndarray:
    return np.concatenate([block for _, block in vectors.blocks(0, vectors.rows)])


def parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def lists(array: np.ndarray) -> pa.Array:
    return pa.array(list(array), pa.list_(pa.float32()))


# Layouts


def test_a_clip_retrieval_folder_is_read_in_the_order_of_its_numbers_with_its_paths(tmp_path: Path) -> None:
    expected = clip_folder(tmp_path / "clip")
    vectors = open_vectors(str(tmp_path / "clip"))
    assert (vectors.rows, vectors.dim, vectors.location) == (9, 4, str(tmp_path / "clip"))
    assert np.array_equal(all_of(vectors), expected)
    assert vectors.paths(0, 9) == [f"{n}/{row}.jpg" for n, rows in ((8, 3), (9, 2), (10, 4)) for row in range(rows)]
    assert vectors.paths(2, 6) == ["8/2.jpg", "9/0.jpg", "9/1.jpg", "10/0.jpg"]
    assert [(start, len(block)) for start, block in vectors.blocks(2, 6)] == [(2, 1), (3, 2), (5, 1)]


def test_a_folder_of_npy_files_names_its_rows_by_file(tmp_path: Path) -> None:
    for name, rows in (("part10", 1), ("part9", 2), (".hidden", 5)):
        np.save(tmp_path / f"{name}.npy", drawn(rows))
    (tmp_path / "readme.txt").touch()
    vectors = open_vectors(str(tmp_path))
    assert vectors.paths(0, 3) == ["part9.npy#0", "part9.npy#1", "part10.npy#0"]
    assert vectors.schema.equals(METADATA_SCHEMA)


@pytest.mark.parametrize("suffix", [".npy", ".fvecs", ".parquet", ".NPY"])
def test_one_file_is_enough(tmp_path: Path, suffix: str) -> None:
    path, array = tmp_path / f"v{suffix}", drawn(5)
    if suffix == ".parquet":
        parquet(path, emb=lists(array))
    elif suffix == ".fvecs":
        path.write_bytes(b"".join(np.int32(4).tobytes() + row.tobytes() for row in array))
    else:
        with open(path, "wb") as file:
            np.save(file, array)
    vectors = open_vectors(str(path), "emb" if suffix == ".parquet" else None)
    assert np.array_equal(all_of(vectors), array)
    assert vectors.paths(1, 3) == [f"v{suffix}#1", f"v{suffix}#2"]


def test_a_folder_of_parquet_files_brings_its_own_metadata(tmp_path: Path) -> None:
    array = drawn(5)
    parquet(tmp_path / "a2.parquet", emb=lists(array[:3]), image_path=["x", None, ""], label=[1, 2, 3])
    parquet(tmp_path / "a10.parquet", emb=lists(array[3:]), image_path=["y", "z"], label=[4, None])
    vectors = open_vectors(str(tmp_path), "emb")
    assert np.array_equal(all_of(vectors), array)
    assert vectors.paths(0, 5) == ["x", "a2.parquet#1", "a2.parquet#2", "y", "z"]
    assert vectors.known(0, 5)["label"].to_pylist() == [1, 2, 3, 4, None]


def test_blocks_are_small_whatever_a_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "v.npy", drawn(10))
    monkeypatch.setattr("coordinator.sources.vectors.vectors.BLOCK_VALUES", 13)
    blocks = list(open_vectors(str(tmp_path / "v.npy")).blocks(1, 9))
    assert [(start, len(block)) for start, block in blocks] == [(1, 3), (4, 3), (7, 2)]


# Columns


def test_plain_columns_are_kept_and_the_others_are_named(tmp_path: Path) -> None:
    clip_folder(
        tmp_path,
        caption=lambda number, row: f"{number} {row}",
        Caption=lambda number, row: "of the same name in SQL",
        width=lambda number, row: 640,
        height=lambda number, row: "tall",
        score=lambda number, row: 0.5 if row else None,
        exif=lambda number, row: {"iso": 100},
        id=lambda number, row: "mine",
    )
    vectors = open_vectors(str(tmp_path))
    assert vectors.schema.equals(
        pa.schema([*METADATA_SCHEMA, pa.field("caption", pa.string()), pa.field("score", pa.float64())])
    )
    assert vectors.left_out == {
        "Caption": "but for capitals, it is called as caption",
        "height": "string in metadata_8.parquet, not int32",
        "exif": "struct<iso: int64> in metadata_8.parquet, no plain value",
        "id": "lookalike has a column of that name itself",
    }
    known = vectors.known(2, 5).to_pylist()
    absent = {"height": None, "bytes": None, "sha256": None}
    assert known == [
        {"width": 640, "caption": "8 2", "score": 0.5} | absent,
        {"width": 640, "caption": "9 0", "score": None} | absent,
        {"width": 640, "caption": "9 1", "score": 0.5} | absent,
    ]


def test_the_path_column_can_be_named(tmp_path: Path) -> None:
    clip_folder(tmp_path, url=lambda number, row: f"https://{number}/{row}", key=lambda number, row: number * 10 + row)
    vectors = open_vectors(str(tmp_path), path_column="url")
    assert vectors.paths(2, 4) == ["https://8/2", "https://9/0"]
    assert "url" not in vectors.schema.names
    assert vectors.left_out == {"image_path": "lookalike has a column of that name itself"}
    assert open_vectors(str(tmp_path), path_column="key").paths(2, 4) == ["82", "90"]


def test_metadata_without_paths_leaves_the_rows_named_by_their_file(tmp_path: Path) -> None:
    path = parquet(tmp_path / "v.parquet", emb=lists(drawn(2)), label=["a", "b"])
    vectors = open_vectors(str(path), "emb")
    assert vectors.paths(0, 2) == ["v.parquet#0", "v.parquet#1"]
    assert vectors.known(0, 2)["label"].to_pylist() == ["a", "b"]


BIG = (1 << 53) + 1
INT64, DOUBLE, TEXT = pa.int64(), pa.float64(), pa.string()
JOINS: list[tuple[list[pa.Array | None], pa.DataType | None, list[Any]]] = [
    ([pa.array([1]), pa.array(["one"])], TEXT, ["1", "one"]),
    ([pa.nulls(1), pa.array(["cat"])], TEXT, [None, "cat"]),
    ([None, pa.array(["cat"])], TEXT, [None, "cat"]),
    ([pa.array(["cat"]), None, pa.nulls(1)], TEXT, ["cat", None, None]),
    ([pa.array([1]), pa.array([1.5])], DOUBLE, [1.0, 1.5]),
    ([pa.array([1.5]), pa.array([-(1 << 53)])], DOUBLE, [1.5, -(2.0**53)]),
    ([pa.array([BIG]), pa.array([1.5])], TEXT, [str(BIG), "1.5"]),
    ([pa.array([1.5]), pa.array([-BIG])], TEXT, ["1.5", str(-BIG)]),
    ([pa.array([(1 << 64) - 1], pa.uint64()), pa.array([1.5])], TEXT, [str((1 << 64) - 1), "1.5"]),
    ([pa.array([(1 << 64) - 1], pa.uint64()), pa.array([-1])], TEXT, [str((1 << 64) - 1), "-1"]),
    ([pa.array([255], pa.uint8()), pa.array([-1], pa.int8())], pa.int16(), [255, -1]),
    ([pa.array([1], pa.int8()), pa.array([BIG])], INT64, [1, BIG]),
    ([pa.array([0.1], pa.float32()), pa.array([0.1])], DOUBLE, [float(np.float32(0.1)), 0.1]),
    ([pa.array([0.5], pa.float16()), pa.array([7], pa.int32())], DOUBLE, [0.5, 7.0]),
    ([pa.array([True]), pa.array([1])], TEXT, ["true", "1"]),
    ([pa.array([0], pa.date32()), pa.array(["soon"])], TEXT, ["1970-01-01", "soon"]),
    ([pa.array([1], pa.timestamp("ns")), pa.array([1], pa.timestamp("us"))], TEXT,
     ["1970-01-01T00:00:00.000000001", "1970-01-01T00:00:00.000001"]),
    ([pa.array(["a"]).dictionary_encode(), pa.array(["b"], pa.large_string())], TEXT, ["a", "b"]),
    ([pa.nulls(1), pa.nulls(1)], None, []),
    ([pa.array([1]), pa.array([[1]])], None, []),
]  # fmt: skip


@pytest.mark.parametrize(("shards", "kind", "values"), JOINS)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_column_has_the_type_that_holds_it_in_every_file(
    tmp_path: Path, shards: list[pa.Array | None], kind: pa.DataType | None, values: list[Any], backwards: bool
) -> None:
    order = shards[::-1] if backwards else shards
    for number, array in enumerate(order):
        parquet(tmp_path / f"a{number}.parquet", emb=lists(drawn(1)), **({} if array is None else {"label": array}))
    vectors = open_vectors(str(tmp_path), "emb")
    if kind is None:
        assert "label" not in vectors.schema.names
        assert list(vectors.left_out) == ["label"]
        return
    assert vectors.schema.field("label").type == kind
    assert vectors.known(0, len(order))["label"].to_pylist() == (values[::-1] if backwards else values)


def test_numbers_that_our_own_column_does_not_hold_leave_it_out_before_the_job_is_made(tmp_path: Path) -> None:
    for number, width in enumerate((640, 1 << 40)):
        parquet(tmp_path / f"a{number}.parquet", emb=lists(drawn(1)), width=[width], height=[1])
    vectors = open_vectors(str(tmp_path), "emb")
    assert vectors.left_out == {"width": "numbers in a1.parquet are beyond int32"}
    assert vectors.known(0, 2).select(["width", "height"]).to_pylist() == [{"width": None, "height": 1}] * 2


def test_a_file_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    columns = [lists(drawn(1)), pa.array(["a"]), pa.array(["b"])]
    for names in (["emb", "x", "x"], ["emb", "image_path", "image_path"]):
        pq.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "v.parquet")
        with pytest.raises(SourceError, match=f"has two columns named '{names[1]}'"):
            open_vectors(str(tmp_path / "v.parquet"), "emb")


# Refusals


def test_nothing_there_and_no_vectors_in_it_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"There is nothing at .*nowhere: expected a folder"):
        open_vectors(str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match="holds no vectors: expected a folder with img_emb"):
        open_vectors(str(tmp_path))
    (tmp_path / "v.txt").touch()
    with pytest.raises(SourceError, match=r"v\.txt can't hold vectors: expected"):
        open_vectors(str(tmp_path / "v.txt"))
    (tmp_path / "img_emb").mkdir()
    with pytest.raises(SourceError, match="holds no vectors"):
        open_vectors(str(tmp_path))


def test_files_without_rows_are_no_vectors_but_do_no_harm_beside_others(tmp_path: Path) -> None:
    np.save(tmp_path / "v1.npy", np.empty((0, 9), dtype=np.float32))
    with pytest.raises(SourceError, match="holds no vectors: its 1 files have no rows"):
        open_vectors(str(tmp_path))
    np.save(tmp_path / "v2.npy", drawn(2))
    assert open_vectors(str(tmp_path)).paths(0, 2) == ["v2.npy#0", "v2.npy#1"]
    path = parquet(tmp_path / "null" / "v.parquet", emb=pa.nulls(3, pa.list_(pa.float32())))
    with pytest.raises(SourceError, match="or none but null ones"):
        open_vectors(str(path), "emb")


def test_files_that_disagree_in_their_dimensions_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "v1.npy", drawn(2, 4))
    np.save(tmp_path / "v2.npy", drawn(2, 5))
    with pytest.raises(SourceError, match=r"v1\.npy holds vectors of 4 dimensions, and .*v2\.npy of 5"):
        open_vectors(str(tmp_path))


@pytest.mark.parametrize("dim", [0, 65_537])
def test_more_dimensions_than_an_index_takes_and_none_are_refused(tmp_path: Path, dim: int) -> None:
    np.save(tmp_path / "v.npy", np.ones((2, dim), dtype=np.float16))
    with pytest.raises(SourceError, match=rf"have {dim:,} dimensions; 1 to 65,536 can be imported"):
        open_vectors(str(tmp_path))


@pytest.mark.parametrize("dim", [1, 65_536])
def test_one_dimension_and_the_most_are_taken(tmp_path: Path, dim: int) -> None:
    np.save(tmp_path / "v.npy", np.ones((2, dim), dtype=np.float16))
    assert open_vectors(str(tmp_path)).dim == dim


def test_metadata_that_does_not_go_with_its_vectors_is_named(tmp_path: Path) -> None:
    clip_folder(tmp_path)
    listing = tmp_path / "metadata" / "metadata_9.parquet"
    parquet(listing, image_path=["only one"])
    with pytest.raises(SourceError, match=r"img_emb_9\.npy holds 2 vectors, and .*metadata_9\.parquet has 1 rows"):
        open_vectors(str(tmp_path))
    listing.rename(tmp_path / "metadata" / "metadata_008.parquet")
    with pytest.raises(
        SourceError, match=r"img_emb_9\.npy has no metadata of its number .*restore metadata_9\.parquet"
    ):
        open_vectors(str(tmp_path))
    parquet(listing, image_path=["one", "two"])
    with pytest.raises(SourceError, match="have the same number in their names"):
        open_vectors(str(tmp_path))
    assert open_vectors(str(tmp_path / "img_emb")).rows == 9


def test_columns_that_are_asked_for_and_not_there_are_named_with_those_that_are(tmp_path: Path) -> None:
    clip_folder(tmp_path / "clip", caption=lambda number, row: [1])
    path = parquet(tmp_path / "v.parquet", emb=lists(drawn(2)), label=["a", "b"])
    with pytest.raises(UsageError, match="has the columns emb, label: name the one that holds the vectors"):
        open_vectors(str(path))
    with pytest.raises(SourceError, match="has no column 'vector'; its columns are emb, label"):
        open_vectors(str(path), "vector")
    with pytest.raises(SourceError, match="has no column 'url'; its columns are emb, label"):
        open_vectors(str(path), "emb", "url")
    with pytest.raises(SourceError, match=r"The column 'caption' of .* is of type list.*expected text"):
        open_vectors(str(tmp_path / "clip"), None, "caption")
    with pytest.raises(UsageError, match="A column is chosen in Parquet"):
        open_vectors(str(tmp_path / "clip"), "emb")
    with pytest.raises(UsageError, match="The paths are a column of metadata"):
        open_vectors(str(tmp_path / "clip" / "img_emb"), None, "url")


# Content


def test_the_same_vectors_have_the_same_content_wherever_they_lie(tmp_path: Path) -> None:
    clip_folder(tmp_path / "here")
    clip_folder(tmp_path / "there")
    assert open_vectors(str(tmp_path / "here")).content == open_vectors(str(tmp_path / "there")).content


def test_other_vectors_names_metadata_or_columns_have_another_content(tmp_path: Path) -> None:
    clip_folder(tmp_path / "a", url=lambda number, row: "u")
    found = {open_vectors(str(tmp_path / "a")).content, open_vectors(str(tmp_path / "a"), path_column="url").content}
    first = tmp_path / "a" / "img_emb" / "img_emb_8.npy"
    np.save(first, drawn(3, seed=99))
    found.add(open_vectors(str(tmp_path / "a")).content)
    parquet(tmp_path / "a" / "metadata" / "metadata_8.parquet", image_path=["p", "q", "r"], url=["", "", ""])
    found.add(open_vectors(str(tmp_path / "a")).content)
    first.rename(first.with_name("img_emb_008.npy"))
    found.add(open_vectors(str(tmp_path / "a")).content)
    assert len(found) == 5
