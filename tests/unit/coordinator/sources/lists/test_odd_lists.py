"""Lists and archives as people have them: other separators, encodings and ends; read whole, or refused at once."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.sources.listing import ListedImage
from coordinator.sources.resolve import open_source
from shared.errors import SourceError
from shared.images.location import read_bytes
from shared.images.paths import to_os_path
from tests.support.images.forms import write_tar

NAMES = [f"img{number}.jpg" for number in range(3)]


def listed(folder: Path, name: str, content: str | bytes) -> list[ListedImage]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(open_source(str(path)).images)


def names(folder: Path, images: list[ListedImage]) -> list[str]:
    return [image.path.removeprefix(f"{folder}/") for image in images]


# Separators and headers


@pytest.mark.parametrize("between", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["list.csv", "list.tsv"])
def test_the_separator_of_the_columns_is_found_in_the_header(tmp_path: Path, between: str, name: str) -> None:
    rows = [["label", "image_path", "share"], *(["cat", image, "1,5" if between != "," else "1.5"] for image in NAMES)]
    images = listed(tmp_path, name, "".join(between.join(row) + "\r\n" for row in rows))
    assert names(tmp_path, images) == NAMES
    assert dict(images[0].known) == {"label": "cat", "share": 1.5 if between == "," else "1,5"}


def test_of_several_separators_the_one_that_makes_a_column_of_paths_is_meant(tmp_path: Path) -> None:
    (image,) = listed(tmp_path, "list.csv", "image_path;first, last|\na.jpg;x\n")
    assert (names(tmp_path, [image]), dict(image.known)) == (["a.jpg"], {"first, last|": "x"})
    (image,) = listed(tmp_path, "list.csv", 'path,"a;b"\na.jpg,x\n')
    assert dict(image.known) == {"a;b": "x"}
    for header in ("photo;x,y", "path,url;image"):
        with pytest.raises(
            SourceError, match=r"list\.csv has commas and semicolons, and which of them separate its col"
        ):
            listed(tmp_path, "list.csv", f"{header}\na.jpg;b\n")


@pytest.mark.parametrize("first", ["img0.jpg", "/p/a.PNG", "https://example.org/a", "x.tar::a.jpg", "there"])
def test_one_column_of_paths_without_a_header_loses_no_row(tmp_path: Path, first: str) -> None:
    (tmp_path / "there").touch()
    images = listed(tmp_path, "list.csv", f"{first}\nimg1.jpg\n\nimg2.jpg\n")
    assert len(images) == 3
    assert images[0].path.endswith(first)
    assert names(tmp_path, images[1:]) == NAMES[1:]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a.jpg,cat\nb.jpg,dog\n", r"holds the path 'a\.jpg', so it has no header: put a line above it"),
        ("label\ncat\ndog\n", r"Line 2 of .* holds 'cat', which is no path of an image; its one column is label"),
        ("label;breed\ncat;x\n", r"has no column of image paths; its columns are label, breed"),
        ('path,a\nx.jpg,"open\ny.jpg,1\nz.jpg,2\n', r"Line 2 of .* can't be read as CSV \(unexpected end of data\)"),
        ("path\na\0b.jpg\n", r"Line 2 of .* holds 'a\\x00b\.jpg', which no path can be"),
        ("x" * 70_000, r"The first line of .* is longer than any header"),
    ],
    ids=["no-header", "no-path", "no-column", "open-quote", "nul", "endless"],
)  # fmt: skip
def test_a_list_that_can_not_be_read_whole_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        listed(tmp_path, "list.csv", text)


# Encodings


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-16-be"])
def test_a_list_is_read_in_the_encoding_that_its_mark_says(tmp_path: Path, encoding: str) -> None:
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    paths = [
        "é.jpg",
        "\N{CAT FACE}.jpg",
        "\u010a.jpg",
        "c" * 300 + ".jpg",
    ] * 50  # In UTF-16, Ċ holds the byte of a line's end.
    contents = {
        "list.txt": "\n".join(paths),
        "list.csv": "path;ü\r\n" + "".join(f"{path};ß\r\n" for path in paths),
        "list.tsv": "path\n" + "\n".join(paths),
        "list.jsonl": "".join(json.dumps({"file": path, "ü": "ß"}, ensure_ascii=False) + "\n" for path in paths),
    }
    for name, text in contents.items():
        images = listed(tmp_path, name, mark + text.encode(encoding))
        assert names(tmp_path, images) == paths
        assert all(dict(image.known) in ({}, {"ü": "ß"}) for image in images)


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.jsonl"])
def test_what_is_not_the_encoding_of_its_mark_is_a_sentence(tmp_path: Path, name: str) -> None:
    for odd in (b"\xff\xfea\0.\0j\0p\0g\0\n\0\x00\xd8", b"\xff\xfea", b"\xff\xfe" + b"\x00\xdc" * 9):
        with pytest.raises(SourceError, match=r"utf-16|can't be read as CSV|no JSON object|NUL"):
            listed(tmp_path, name, odd)


# NUL behind each path


def stdin(data: bytes) -> list[str]:
    return list(open_source("-", io.BytesIO(data)))


def test_paths_with_a_nul_behind_each_are_read_as_find_writes_them(tmp_path: Path) -> None:
    paths = [b"/p/a.jpg", b"/p/new\nline.jpg", b" b.jpg", b"/p/" + b"x" * 200 + b".jpg"] * 700
    expected = stdin(b"/p/a.jpg\n")
    for data in (b"\0".join(paths) + b"\0", b"\0".join(paths)):
        found = stdin(data)
        assert len(found) == len(paths)
        assert found[:2] == [expected[0], "file:///p/new%0Aline.jpg"]
        assert found[3].endswith("x.jpg")
    assert len(listed(tmp_path, "list.txt", b"a.jpg\0b\nc.jpg\0")) == 2


@given(st.lists(st.text(st.characters(exclude_characters="\0/", codec="utf-8"), min_size=2, max_size=9), min_size=2))
def test_any_names_come_back_from_a_list_with_nuls(some: list[str]) -> None:
    found = stdin(b"/p/first.jpg\0" + b"".join(b"/p/" + name.encode() + b".jpg\0" for name in some))
    assert len(found) == 1 + len(some)
    paths = [to_os_path(path) for path in found[1:]]
    assert [path for path in paths if "/." not in path and "//" not in path] == [
        f"/p/{name}.jpg" for name in some if "/." not in f"/{name}." and "//" not in f"/{name}."
    ]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("a.jpg\nb.jpg\n".encode("utf-16-le"), "Line 1 .* it is UTF-16 without the mark"),
        ("/p/a.jpg\n".encode("utf-16-be"), "Line 1 .* it is UTF-16 without the mark"),
        (b"a.jpg\0b.jpg\n", "a NUL byte in its first line and ends with a line"),
        (b"a.jpg\nb\0.jpg\n", "Line 2 of the list holds a NUL byte"),
        (b"a\0" + b"x" * 70_000 + b"\0", "longer than any path"),
    ],
)
def test_nuls_that_end_no_paths_are_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        stdin(data)


# JSON lines


def test_each_line_of_json_is_an_image_with_what_else_it_says(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"caption": "one", "file_name": "a.jpg", "id": 1790000000000000001, "box": [1.5]},
        {"file_name": None, "caption": "none"},
        {"file_name": "https://example.org/b.jpg"},
    ]
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
    listing = open_source(str(path))
    images = list(listing.images)
    assert (listing.kind, [image.path for image in images]) == (
        "list", [f"{tmp_path}/a.jpg", "https://example.org/b.jpg"]
    )  # fmt: skip
    assert dict(images[0].known) == {"caption": "one", "id": 1790000000000000001, "box": "[1.5]"}
    assert listing.left_out == {"row without a path": 1, "blank line": 1}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"a": 1, "b": 2}\n', r"no column of image paths; its columns are a, b"),
        ('{"path": "a.jpg"}\n[1]\n', r"Line 2 of .* is no JSON object"),
        ('{"path": "a.jpg", "path": "b.jpg"}\n', r"Line 1 of .* names each key once"),
        ('{"path": 5}\n', r"Line 1 of .* has 5 as 'path'; expected a path"),
        ('{"path": "\\ud800.jpg"}\n', r"Line 1 of .* which no path can be"),
        ('{"path": "a\\u0000.jpg"}\n', r"Line 1 of .* which no path can be"),
        ('{"path": "' + "x" * (1 << 20) + '"}\n', r"Line 1 of .* at most 1,048,576 characters"),
    ],
)
def test_lines_of_json_that_name_no_path_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        listed(tmp_path, "list.jsonl", text)


# Tars end to end


@pytest.mark.parametrize("zeros", [0, 512, 1024, 70_144])
def test_tars_that_were_put_end_to_end_give_all_their_images(tmp_path: Path, zeros: int) -> None:
    whole, expected = b"", {}
    for letter in "abc":
        files = {f"{letter}{number}.jpg": f"{letter}{number}".encode() * 300 for number in range(4)}
        files |= {f"{letter}0.json": b'{"from": "%b"}' % letter.encode()}
        files = dict(sorted(files.items()))
        whole += write_tar(tmp_path / f"{letter}.tar", files).read_bytes() + bytes(zeros)
        expected |= {name: data for name, data in files.items() if name.endswith(".jpg")}
    images = listed(tmp_path, "all.tar", whole)
    found = {image.path.partition("::")[2]: read_bytes(image.path, 1 << 20, image.member) for image in images}
    assert found == expected
    assert [image.known.get("from") for image in images] == [
        letter if number == 0 else None for letter in "abc" for number in range(4)
    ]
    assert read_bytes(f"{tmp_path}/all.tar::c3.jpg", 1 << 20) == expected["c3.jpg"]  # Looked for from the beginning.


@pytest.mark.parametrize("junk", [b"x", b"junk" * 300, bytes(1000) + b"x", bytes(70_000) + b"x" * 600])
def test_what_lies_behind_a_tar_and_is_none_is_refused_with_its_place(tmp_path: Path, junk: bytes) -> None:
    data = write_tar(tmp_path / "a.tar", {"a.jpg": b"a"}).read_bytes()
    place = (len(data) + len(junk) - len(junk.lstrip(b"\0"))) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
    with pytest.raises(SourceError, match=f"at byte {place:,}, behind its end, lies what is no tar"):
        listed(tmp_path, "b.tar", data + junk)


def test_a_second_tar_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    data = write_tar(tmp_path / "a.tar", {"a.jpg": b"a" * 3_000}).read_bytes()
    with pytest.raises(SourceError, match=r"b\.tar can't be read to its end"):
        listed(tmp_path, "b.tar", data + data[:2_000])


# Hugging Face rows that keep a path


def hugging_face(
    path: Path, rows: list[dict[str, Any] | None], kind: pa.DataType | None = None, **columns: Any
) -> Path:
    kept = pa.array(rows, pa.struct([("bytes", kind or pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": kept, **columns}), path, row_group_size=2)
    return path


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.null()])
def test_images_that_are_kept_by_their_path_alone_are_read_there(tmp_path: Path, kind: pa.DataType) -> None:
    (tmp_path / "deep").mkdir()
    rows = [{"bytes": None, "path": path} for path in ("a.jpg", "/p/b.jpg", "deep/../c.jpg", "s3://bucket/d.jpg")]
    path = hugging_face(tmp_path / "x.parquet", [*rows, rows[0]], kind, label=[1, 2, 3, 4, 5])
    images = list(open_source(str(path)).images)
    assert [image.path for image in images] == [
        f"{tmp_path}/a.jpg", "/p/b.jpg", f"{tmp_path}/deep/../c.jpg", "s3://bucket/d.jpg", f"{tmp_path}/a.jpg",
    ]  # fmt: skip
    assert all(image.member is None for image in images)
    assert [image.known["label"] for image in images] == [1, 2, 3, 4, 5]


def test_rows_with_bytes_and_rows_with_a_path_may_be_mixed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"in a file")
    (tmp_path / "b.jpg").write_bytes(b"not this one")
    rows: list[dict[str, Any] | None] = [
        {"bytes": None, "path": "a.jpg"}, {"bytes": b"inside", "path": "b.jpg"}, {"bytes": b"", "path": "b.jpg"},
        {"bytes": None, "path": None}, None, {"bytes": b"nameless", "path": None},
    ]  # fmt: skip
    path = hugging_face(tmp_path / "x.parquet", rows)
    images = list(open_source(str(path)).images)
    assert names(tmp_path, images) == [
        "a.jpg", "x.parquet::1/b.jpg", "x.parquet::2/b.jpg", "x.parquet::3", "x.parquet::4", "x.parquet::5",
    ]  # fmt: skip
    found = [read_bytes(images[row].path, 100, images[row].member) for row in (0, 1, 5)]
    assert found == [b"in a file", b"inside", b"nameless"]
