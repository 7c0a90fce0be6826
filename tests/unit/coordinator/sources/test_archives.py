"""What archives hold, also those that are damaged, hostile or unusual: listed, counted or refused in a sentence."""

import io
import random
import re
import struct
import tarfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.sources.choosing import Choice
from coordinator.sources.listing import ListedImage
from coordinator.sources.resolve import open_source
from shared.errors import ImageError, SourceError
from shared.images.location import read_bytes
from shared.images.members import Member
from tests.support.images.forms import CONTENTS, NAMES, write_tar, write_zip

ROOMY = 1 << 20


def listed(path: Path) -> tuple[list[ListedImage], Counter[str]]:
    listing = open_source(str(path))
    return list(listing.images), listing.left_out


def names(path: Path) -> list[str]:
    return [image.path.partition("::")[2] for image in listed(path)[0]]


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_what_no_image_is_meant_by_is_counted_by_its_reason(tmp_path: Path, write: Callable[..., Path]) -> None:
    files = {
        "a.jpg": b"1", "b.PNG": b"2", "notes.md": b"3", "x.zip": b"4", "y.tar": b"5", "z.parquet": b"6", "none": b"7",
        "__MACOSX/._a.jpg": b"8", "../up.jpg": b"9", "/root.jpg": b"10", "c/../../d.jpg": b"11", "alone.json": b"{}",
    }  # fmt: skip
    path = write(tmp_path / ("x.tar" if write is write_tar else "x.zip"), files)
    images, left_out = listed(path)
    assert [image.path for image in images] == [f"{path}::a.jpg", f"{path}::b.PNG"]
    assert left_out == {
        ".md": 1, "archive inside an archive": 3, "without suffix": 1, "__MACOSX": 1, ".json": 1,
        "name that leads out of its archive": 3,
    }  # fmt: skip
    assert [read_bytes(image.path, ROOMY, image.member) for image in images] == [b"1", b"2"]
    assert [read_bytes(image.path, ROOMY) for image in images] == [b"1", b"2"]


def test_links_and_devices_in_a_tar_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("b.jpg", tarfile.LNKTYPE), ("c.jpg", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "elsewhere.jpg"
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("d.jpg"), io.BytesIO())
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    images, left_out = listed(path)
    assert [image.path for image in images] == [f"{path}::d.jpg"]
    assert left_out == {"link in an archive": 2, "not a regular file": 1}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_every_tar_format_are_read_where_they_lie(tmp_path: Path, format: int) -> None:
    long = "f" * 90 + "/" + "n" * 90 + ".jpg"
    files = {"é.jpg": b"one", long: b"two" * 1000, "c.jpg": b"", "d/\N{CAT FACE}.png": b"four"}
    with tarfile.open(tmp_path / "x.tar", "w", format=format) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    images, _ = listed(tmp_path / "x.tar")
    assert [image.path.partition("::")[2] for image in images] == list(files)
    assert [read_bytes(image.path, ROOMY, image.member) for image in images] == list(files.values())


def test_names_that_are_no_utf8_are_kept_and_found_again(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", errors="surrogateescape") as tar:
        info = tarfile.TarInfo("caf\udce9.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"one"))
    ((image,), _) = listed(tmp_path / "x.tar")
    assert image.path == f"{tmp_path}/x.tar::file://caf%E9.jpg"
    assert read_bytes(image.path, ROOMY) == read_bytes(image.path, ROOMY, image.member) == b"one"


@pytest.mark.parametrize(
    ("name", "keep", "sentence"),
    [
        ("x.tar", lambda data: data[: len(data) // 2 - 7], "can't be read to its end"),
        ("x.tar", lambda data: data[:700], "can't be read to its end"),
        ("x.tar", lambda data: b"", "can't be read to its end"),
        ("x.zip", lambda data: data[: len(data) // 2], "The zip .* can't be read"),
        ("x.zip", lambda data: b"", "The zip .* can't be read"),
        ("x.zip", lambda data: b"no zip at all", "The zip .* can't be read"),
        ("x.tar", lambda data: b"\x1f\x8b" + data, "can't be read to its end"),
    ],
    ids=["tar", "tar-early", "tar-empty", "zip", "zip-empty", "zip-none", "tar-compressed"],
)
def test_an_archive_that_is_cut_short_or_none_is_refused_by_its_name(
    tmp_path: Path, name: str, keep: Callable[[bytes], bytes], sentence: str
) -> None:
    path = (write_tar if name.endswith("tar") else write_zip)(tmp_path / name)
    path.write_bytes(keep(path.read_bytes()))
    with pytest.raises(SourceError, match=f"{sentence}.*(whole again|leave it out)") as raised:
        listed(path)
    assert str(path) in str(raised.value)


def test_a_header_that_is_damaged_in_the_middle_of_a_tar_does_not_end_it_quietly(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar")
    images, _ = listed(path)
    fourth = images[3].member
    assert fourth is not None
    data = bytearray(path.read_bytes())
    data[fourth.offset + 150] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SourceError, match=f"at byte {fourth.offset:,} there is no header"):
        listed(path)


@pytest.mark.parametrize("suffix", [".tgz", ".tar.gz", ".TAR.XZ"])
def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x{suffix}").write_bytes(b"\x1f\x8b")
    with pytest.raises(SourceError, match=r"unpack it, or make it a \.tar without"):
        open_source(str(tmp_path / f"x{suffix}"))


def test_encrypted_files_of_a_zip_are_counted_and_the_others_listed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.jpg": b"1", "b.jpg": b"2"})
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, central + 8, struct.unpack_from("<H", data, central + 8)[0] | 1)
    path.write_bytes(data)
    images, left_out = listed(path)
    assert ([image.path for image in images], left_out) == ([f"{path}::b.jpg"], {"encrypted file in a zip": 1})


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_bytes_that_do_not_fit_their_checksum_are_damaged(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.jpg": random.Random(1).randbytes(5000), "b.jpg": b"good"}, method)
    (bad, good), _ = listed(path)
    assert bad.member is not None
    data = bytearray(path.read_bytes())
    data[bad.member.offset + 40 + bad.member.stored // 2] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"checksum|unpacked") as raised:
        read_bytes(bad.path, ROOMY, bad.member)
    assert raised.value.status == "damaged"
    assert read_bytes(good.path, ROOMY, good.member) == b"good"


def test_a_zip_bomb_is_not_unpacked_beyond_what_it_says_it_holds(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.jpg": bytes(50_000_000)})
    ((image,), _) = listed(path)
    with pytest.raises(ImageError, match="50,000,000 bytes; at most"):
        read_bytes(image.path, ROOMY, image.member)
    assert image.member is not None
    lying = Member(image.member.offset, image.member.stored, 1000, image.member.method, image.member.crc32)
    with pytest.raises(ImageError, match="Its 1,001 bytes don't fit"):
        read_bytes(image.path, ROOMY, lying)


def test_a_method_that_is_not_read_says_so(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.jpg": b"x" * 100}, zipfile.ZIP_LZMA)
    ((image,), _) = listed(path)
    with pytest.raises(ImageError, match="packed by method 14"):
        read_bytes(image.path, ROOMY, image.member)


def test_a_name_that_stands_twice_is_two_images(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
            opened.writestr("a.jpg", b"first")
            opened.writestr("a.jpg", b"second")
    images, _ = listed(tmp_path / "x.zip")
    assert [read_bytes(image.path, ROOMY, image.member) for image in images] == [b"first", b"second"]


def test_a_sample_with_text_that_is_no_json_keeps_it_as_text(tmp_path: Path) -> None:
    files = {"1.jpg": b"x", "1.json": b"[1, 2]", "2.json": b"{broken", "2.jpg": b"y", "3.jpg": b"z",
             "3.json": b"x" * (1 << 20) + b"x"}  # fmt: skip
    images, left_out = listed(write_tar(tmp_path / "x.tar", files))
    assert [dict(image.known) for image in images] == [{"json": "[1, 2]"}, {"json": "{broken"}, {}]
    assert left_out == {".json of over 1,048,576 bytes": 1}


def test_images_that_share_a_name_up_to_the_first_dot_share_the_text_of_their_sample(tmp_path: Path) -> None:
    files = {"a/1.left.jpg": b"x", "a/1.right.jpg": b"y", "a/1.json": b'{"n": 1}', "b/1.jpg": b"z"}
    images, _ = listed(write_zip(tmp_path / "x.zip", files))
    assert [dict(image.known) for image in images] == [{"n": 1}, {"n": 1}, {}]


def test_a_parquet_file_without_images_or_paths_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"caption": ["x"], "stars": [5]}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"no column of image paths; its columns are caption, stars: name the one"):
        listed(tmp_path / "x.parquet")


def test_a_parquet_file_that_is_none_or_cut_short_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"jpg": [b"x" * 1000]}), tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"The Parquet file .* can't be read"):
        listed(tmp_path / "x.parquet")


def test_rows_of_a_parquet_file_are_read_in_any_order_by_any_thread(tmp_path: Path) -> None:
    rows = [f"image {row}".encode() * (row % 7 + 1) for row in range(500)]
    rows_with_null: list[bytes | None] = [*rows[:77], None, *rows[78:]]
    pq.write_table(pa.table({"image": rows_with_null}), tmp_path / "x.parquet", row_group_size=64)
    path = str(tmp_path / "x.parquet")
    for row in [*range(0, 500, 3), 499, 0, 1, 250, 63, 64, 65, 40]:
        if row != 77:
            assert read_bytes(f"{path}::{row}", ROOMY, Member(row)) == rows[row]
    with pytest.raises(ImageError, match=r"Row 77 .* holds no image, but a null") as raised:
        read_bytes(f"{path}::77", ROOMY)
    assert raised.value.status == "empty"
    with pytest.raises(ImageError, match="no row 500 any more"):
        read_bytes(f"{path}::500", ROOMY)
    assert read_bytes(f"{path}::3", ROOMY) == rows[3]
    with pytest.raises(ImageError, match="at most 5 are read"):
        read_bytes(f"{path}::3", 5)
    with pytest.raises(ImageError, match="named by its row"):
        read_bytes(f"{path}::cat.jpg", ROOMY)


def test_an_image_that_is_not_in_its_archive_is_vanished(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar")
    with pytest.raises(ImageError, match="the archive holds none of that name") as raised:
        read_bytes(f"{path}::none.jpg", ROOMY)
    assert raised.value.status == "vanished"
    with pytest.raises(ImageError, match="can't be read"):
        read_bytes(f"{tmp_path}/gone.tar::a.jpg", ROOMY)
    with pytest.raises(ImageError, match="The archive was listed, but is no longer there") as raised:
        read_bytes(f"{tmp_path}/gone.tar::a.jpg", ROOMY, Member(0, 1, 1))
    assert raised.value.status == "vanished"


def test_an_archive_that_became_something_else_is_no_source_of_bytes(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar")
    (first, *_), _ = listed(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ImageError, match=r"no regular file|can't be read") as raised:
        read_bytes(first.path, ROOMY, first.member)
    assert raised.value.status == "unreadable"


def test_a_stray_image_does_not_hide_the_shards_of_a_folder(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"x.jpg": b"1", "x.json": b'{"n": 7}'})
    (tmp_path / "sub").mkdir()
    write_zip(tmp_path / "sub/1.zip", {"y.jpg": b"2"})
    (tmp_path / "stray.jpg").write_bytes(b"0")
    write_zip(tmp_path / "documents.zip", {"letter.md": b"3"})
    pq.write_table(pa.table({"caption": ["x"]}), tmp_path / "table.parquet")
    listing = open_source(str(tmp_path))
    images = list(listing.images)
    assert [image.path for image in images] == [
        f"{tmp_path}/stray.jpg", f"{tmp_path}/0.tar::x.jpg", f"{tmp_path}/sub/1.zip::y.jpg"
    ]  # fmt: skip
    assert [dict(image.known) for image in images] == [{}, {"n": 7}, {}]
    assert [read_bytes(image.path, ROOMY, image.member) for image in images] == [b"0", b"1", b"2"]
    assert listing.left_out == {"zip without images": 1, "Parquet file without images": 1, ".md": 1}
    assert listing.notes == {
        ".tar beside images, read as an archive of them": 1, ".zip beside images, read as an archive of them": 1,
        ".json taken as metadata": 1,
    }  # fmt: skip
    without = open_source(str(tmp_path), choice=Choice(("*.tar", "*.zip")))
    assert list(without) == [f"{tmp_path}/stray.jpg"]


def test_an_archive_beside_images_that_can_not_be_read_is_refused_as_among_shards(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "0.zip").write_bytes(b"half of a download")
    with pytest.raises(SourceError, match=r"The zip .*/0\.zip can't be read"):
        list(open_source(str(tmp_path)))
    assert list(open_source(str(tmp_path), choice=Choice(("0.zip",)))) == [f"{tmp_path}/a.jpg"]


def test_a_plain_file_that_is_named_like_a_member_is_itself(tmp_path: Path) -> None:
    (tmp_path / "x.tar::a.jpg").write_bytes(b"plain")
    ((image,), _) = listed(tmp_path)
    assert image.path == f"file://{tmp_path}/x.tar%3A%3Aa.jpg"
    assert read_bytes(image.path, ROOMY) == b"plain"


def test_an_archive_whose_own_name_holds_the_separator_is_read(tmp_path: Path) -> None:
    images, _ = listed(write_tar(tmp_path / "a.tar::b.tar"))
    assert [read_bytes(image.path, ROOMY, image.member) for image in images] == list(CONTENTS.values())
    assert re.fullmatch(r"file://.*/a\.tar%3A%3Ab\.tar::a/00\.png", images[0].path)


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"Nothing matches .*\*\.tar"):
        open_source(str(tmp_path / "*.tar"))


def test_the_order_of_an_archive_is_the_order_of_the_ids(tmp_path: Path) -> None:
    files = {name: CONTENTS[name] for name in reversed(NAMES)}
    assert names(write_tar(tmp_path / "x.tar", files)) == list(reversed(NAMES))
    assert names(write_zip(tmp_path / "x.zip", files)) == list(reversed(NAMES))
