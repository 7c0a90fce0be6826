"""Lists of paths as CSV and Parquet: which column it is, what is kept beside it, and what is refused."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.sources.resolve import open_source
from shared.errors import SourceError
from shared.images.location import read_bytes


def csv(folder: Path, text: str | bytes) -> str:
    path = folder / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_the_column_of_the_paths_is_known_by_its_name_or_is_the_only_one(tmp_path: Path) -> None:
    for header, row in (("a,Path ,b", "1,x.jpg,2"), ("file_name,url", "x.jpg,y.jpg"), ("photo", "x.jpg"),
                        ("url,image_path", "y.jpg,x.jpg")):  # fmt: skip
        assert list(open_source(csv(tmp_path, f"{header}\r\n{row}\r\n"))) == [str(tmp_path / "x.jpg")]


def test_fields_say_numbers_only_where_they_are_written_so(tmp_path: Path) -> None:
    source = csv(tmp_path, '\ufeffpath,a,b,c,d,e,f\n"x, y.jpg",12,-0.5,007,,1e3,12345678901234567890\n')
    ((image),) = open_source(source).images
    assert image.path == str(tmp_path / "x, y.jpg")
    assert image.known == {"a": 12, "b": -0.5, "c": "007", "d": None, "e": 1000.0, "f": "12345678901234567890"}


def test_rows_without_a_path_are_counted_and_short_ones_have_no_more_columns(tmp_path: Path) -> None:
    listing = open_source(csv(tmp_path, "path,a,b\n,1,2\nx.jpg,1\n\ny.jpg,1,2\n"))
    assert [dict(image.known) for image in listing.images] == [{"a": 1}, {"a": 1, "b": 2}]
    assert listing.left_out == {"row without a path": 2}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", r"no column of image paths; its columns are a, b: name the one that is meant image_path"),
        ("", r"no column of image paths; its columns are none"),
        ("path,a\nx.jpg,1,2\n", r"Line 2 of .*list\.csv has 3 fields, and the header 2"),
        ("path,a,a\nx.jpg,1,2\n", r"has two columns named 'a'"),
        ("path\n" + "x" * 200_000 + "\n", r"Line 2 of .*list\.csv can't be read as CSV"),
    ],
    ids=["no-column", "empty", "too-many", "twice", "endless"],
)
def test_a_csv_file_that_can_not_be_meant_says_why(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        list(open_source(csv(tmp_path, text)))


def test_a_csv_file_of_bytes_that_are_no_utf8_keeps_its_paths(tmp_path: Path) -> None:
    source = csv(tmp_path, b"path,a\ncaf\xe9.jpg,\xff\n")
    ((image),) = open_source(source).images
    assert image.path == f"file://{tmp_path}/caf%E9.jpg"
    assert image.known == {"a": "\ufffd"}


def test_a_parquet_list_keeps_plain_columns_and_counts_the_others(tmp_path: Path) -> None:
    table = pa.table(
        {
            "file": ["x.jpg", None, "/abs/y.jpg"],
            "label": pa.array(["cat", "dog", "cat"]).dictionary_encode(),
            "day": pa.array([0, 1, 2], pa.date32()),
            "boxes": [[1], [2], [3]],
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    listing = open_source(str(tmp_path / "list.parquet"))
    images = list(listing.images)
    assert (listing.kind, [image.path for image in images]) == ("list", [str(tmp_path / "x.jpg"), "/abs/y.jpg"])
    assert [image.known["label"] for image in images] == ["cat", "cat"]
    assert str(images[1].known["day"]) == "1970-01-03"
    assert listing.left_out["row without a path"] == 1
    assert sum(listing.left_out.values()) == 2


def test_a_column_of_paths_that_is_no_text_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": [[1]], "a": [1]}), tmp_path / "list.parquet")
    with pytest.raises(SourceError, match=r"The column 'path' of .* is list<.*>; expected paths"):
        list(open_source(str(tmp_path / "list.parquet")))


def test_urls_in_a_list_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("https://example.org/a.jpg\ns3://bucket/b.jpg\nc.jpg\n")
    assert list(open_source(str(tmp_path / "list.txt"))) == [
        "https://example.org/a.jpg",
        "s3://bucket/b.jpg",
        str(tmp_path / "c.jpg"),
    ]


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"esc\x1b[31m.jpg", b"line\nend.jpg", b"tab\t.jpg", b"a.tar::b.jpg"])
def test_the_path_of_a_hit_is_an_entry_of_a_list_again(tmp_path: Path, name: bytes) -> None:
    """Whatever the name of a file is, what a folder lists it as lists it again."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / os.fsdecode(name)).write_bytes(b"an image")
    (listed,) = open_source(str(tmp_path / "photos")).images
    (tmp_path / "list.txt").write_text(f"{listed.path}\n")
    (tmp_path / "list.csv").write_text(f"image_path\n{listed.path}\n")
    for source in ("list.txt", "list.csv"):
        assert [image.path for image in open_source(str(tmp_path / source)).images] == [listed.path]
    assert read_bytes(listed.path, 100) == b"an image"
