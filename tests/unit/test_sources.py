import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.sources import Listing, open_source
from shared.errors import SourceError
from shared.paths import to_os_path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def inside(folder: Path, listing: Listing) -> list[str]:
    return [os.path.relpath(to_os_path(path), folder) for path in listing]


def listed(text: bytes, base: Path) -> list[str]:
    source = base / "list.txt"
    source.write_bytes(text)
    return list(open_source(str(source)))


# Folders.


def test_a_folder_is_listed_depth_first_in_the_byte_order_of_its_names(tmp_path: Path) -> None:
    # In bytes "Z" < "a" < "é", "a" < "a.jpg" and "img10" < "img2"; a locale or a sort of whole paths would differ.
    touch(tmp_path, "img2.jpg", "img10.jpg", "Z.jpg", "a/x.png", "a.jpg", "é.jpg", "a/B/1.webp", "b/1.JPEG")
    listing = open_source(str(tmp_path))
    assert (listing.kind, listing.location) == ("folder", str(tmp_path))
    expected = ["Z.jpg", "a/B/1.webp", "a/x.png", "a.jpg", "b/1.JPEG", "img10.jpg", "img2.jpg", "é.jpg"]
    assert inside(tmp_path, listing) == expected
    assert inside(tmp_path, open_source(str(tmp_path))) == expected


def test_what_is_no_image_is_counted_by_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.txt", "c.TXT", "sub/d.txt", "README", ".jpg", "e.tar.gz", "f.")
    listing = open_source(str(tmp_path))
    assert inside(tmp_path, listing) == ["a.jpg"]
    assert listing.left_out == {".txt": 3, "without suffix": 2, ".gz": 1, ".": 1}


def test_the_reasons_stay_few_whatever_the_suffixes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"data.{number}" for number in range(200)))
    listing = open_source(str(tmp_path))
    assert list(listing) == []
    assert sum(listing.left_out.values()) == 200
    assert listing.left_out["other"] == 160
    assert len(listing.left_out) == 41


def test_a_suffix_of_strange_bytes_can_be_printed_and_written(tmp_path: Path) -> None:
    os.close(os.open(os.fsencode(tmp_path) + b"/x.\xff\xfe", os.O_CREAT))
    listing = open_source(str(tmp_path))
    assert list(listing) == []
    assert [reason.encode("utf-8") for reason in listing.left_out] == [rb".\xff\xfe"]


@pytest.mark.parametrize(
    "name",
    [
        b"new\nline.jpg",
        "snow☃ 😀.jpg".encode(),
        b"bytes\xff\xfe.jpg",
        b" space .jpg",
        b"%41.jpg",
        b"a\\b.jpg",
        b"\r.jpg",
    ],
    ids=["newline", "emoji", "no-utf8", "spaces", "percent", "backslash", "return"],
)
def test_any_name_survives_the_way_to_text_and_back(tmp_path: Path, name: bytes) -> None:
    os.close(os.open(os.path.join(os.fsencode(tmp_path), name), os.O_CREAT))
    (text,) = open_source(str(tmp_path))
    text.encode("utf-8")
    assert os.fsencode(to_os_path(text)) == os.path.join(os.fsencode(tmp_path), name)
    assert os.path.exists(to_os_path(text))


def test_linked_folders_are_followed_but_not_into_loops(tmp_path: Path) -> None:
    photos, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    touch(photos, "a/1.jpg", "a/b/2.jpg")
    touch(elsewhere, "3.jpg")
    (photos / "linked").symlink_to(elsewhere)
    (photos / "a" / "b" / "up").symlink_to(photos)
    (photos / "a" / "self").symlink_to(photos / "a")
    (elsewhere / "back").symlink_to(photos)
    listing = open_source(str(photos))
    assert inside(photos, listing) == ["a/1.jpg", "a/b/2.jpg", "linked/3.jpg"]
    assert listing.left_out == {"link to a folder above itself": 3}


def test_two_links_to_one_folder_are_two_folders(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "1.jpg")
    (tmp_path / "photos").mkdir()
    for name in ("x", "y"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "elsewhere")
    assert inside(tmp_path / "photos", open_source(str(tmp_path / "photos"))) == ["x/1.jpg", "y/1.jpg"]


def test_broken_links_to_images_are_listed(tmp_path: Path) -> None:
    touch(tmp_path / "real", "there.jpg")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (photos / "gone").symlink_to(tmp_path / "nowhere")
    (photos / "good.jpg").symlink_to(tmp_path / "real" / "there.jpg")
    (photos / "loop.jpg").symlink_to(photos / "loop.jpg")
    listing = open_source(str(photos))
    assert inside(photos, listing) == ["gone.jpg", "good.jpg", "loop.jpg"]
    assert listing.left_out == {"link to nothing": 1}


def test_what_is_no_file_is_not_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    touch(tmp_path, "a.jpg")
    listing = open_source(str(tmp_path))
    assert inside(tmp_path, listing) == ["a.jpg"]
    assert listing.left_out == {"not a regular file": 1}


def test_a_folder_that_can_not_be_listed_ends_the_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    scandir = os.scandir

    def refuse_b(folder: bytes) -> object:
        if folder.endswith(b"/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse_b)
    listing = open_source(str(tmp_path))
    with pytest.raises(SourceError, match=r"/b can't be listed \(Permission denied\): make it readable"):
        list(listing)


def test_folders_may_be_nested_deeply(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 300)
    touch(deep, "x.jpg")
    assert inside(deep, open_source(str(tmp_path))) == ["x.jpg"]


def test_the_source_is_absolute_wherever_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "photos/a.jpg")
    monkeypatch.chdir(tmp_path)
    listing = open_source("photos/")
    assert listing.location == str(tmp_path / "photos")
    assert list(listing) == [str(tmp_path / "photos" / "a.jpg")]


@pytest.mark.parametrize(
    ("name", "sentence"), [("nothing", "There is nothing at"), ("a.jpg", "neither a folder nor a .txt list")]
)
def test_a_source_that_is_none_is_named(tmp_path: Path, name: str, sentence: str) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(SourceError, match=rf"{sentence}|{name} is {sentence}"):
        open_source(str(tmp_path / name))


# Lists.


def test_a_list_is_taken_line_by_line_in_its_own_order(tmp_path: Path) -> None:
    text = b"b.jpg\r\n\r\n/abs/a.png\nsub//x/./y.jpg\n\nno suffix\n  spaces.jpg \nlast.jpg"
    source = tmp_path / "list.TXT"
    source.write_bytes(text)
    listing = open_source(str(source))
    assert (listing.kind, listing.location) == ("list", str(source))
    expected = ["b.jpg", "/abs/a.png", "sub/x/y.jpg", "no suffix", "  spaces.jpg ", "last.jpg"]
    assert list(listing) == [str(tmp_path / name) for name in expected]
    assert listing.left_out == {"blank line": 2}


def test_relative_paths_are_relative_to_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "lists/x.txt", "cwd/y")
    (tmp_path / "lists" / "x.txt").write_text("../a.jpg\nb.jpg\n")
    monkeypatch.chdir(tmp_path / "cwd")
    # `..` stays: behind a link to a directory, another file is meant than the one that a tidier path names.
    expected = [str(tmp_path / "lists" / ".." / "a.jpg"), str(tmp_path / "lists" / "b.jpg")]
    assert list(open_source("../lists/x.txt")) == [
        path.replace(str(tmp_path), str(tmp_path / "cwd" / ".."), 1) for path in expected
    ]


def test_a_path_through_a_link_and_up_names_the_file_that_is_meant(tmp_path: Path) -> None:
    touch(tmp_path, "far/away/dir/x", "far/away/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away" / "dir")
    (path,) = listed(b"link/../a.jpg\n", tmp_path)
    assert os.path.samefile(to_os_path(path), tmp_path / "far" / "away" / "a.jpg")


def test_a_byte_order_mark_is_no_part_of_the_first_path(tmp_path: Path) -> None:
    assert listed(b"\xef\xbb\xbfa.jpg\r\n\xef\xbb\xbfb.jpg\r\n", tmp_path) == [
        str(tmp_path / "a.jpg"),
        str(tmp_path / "\ufeffb.jpg"),
    ]


def test_paths_that_are_no_utf8_survive(tmp_path: Path) -> None:
    (path,) = listed(b"caf\xe9.jpg\n", tmp_path)
    path.encode("utf-8")
    assert os.fsencode(to_os_path(path)) == os.fsencode(tmp_path) + b"/caf\xe9.jpg"


@pytest.mark.parametrize("text", [b"a.jpg\nb\0c.jpg\n", "a.jpg\nb.jpg\n".encode("utf-16")])
def test_a_nul_is_refused_with_its_line(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(SourceError, match=r"Line [12] of the list holds a NUL byte"):
        listed(text, tmp_path)


def test_a_list_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    source = tmp_path / "list.txt"
    source.touch()
    listing = open_source(str(source))
    source.unlink()
    with pytest.raises(SourceError, match=r"list\.txt can't be read"):
        list(listing)


def test_standard_input_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listing = open_source("-", io.BytesIO(b"a.jpg\n/b.jpg\n"))
    assert (listing.kind, listing.location) == ("stdin", "-")
    assert list(listing) == [str(tmp_path / "a.jpg"), "/b.jpg"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"c.jpg")))
    assert list(open_source("-")) == [str(tmp_path / "c.jpg")]


def test_a_listing_is_streamed(tmp_path: Path) -> None:
    lines = (f"{number}.jpg\n".encode() for number in range(10**9))
    listing: Callable[[], str] = iter(open_source("-", lines)).__next__  # type: ignore[arg-type]
    assert [Path(listing()).name for _ in range(3)] == ["0.jpg", "1.jpg", "2.jpg"]


names = st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & set(b"\0/\n\r") and name.strip(b"."))


@given(st.lists(names.map(lambda name: name + b".jpg"), max_size=10))
def test_a_list_of_any_names_comes_back_byte_for_byte(sent: list[bytes]) -> None:
    listing = open_source("-", io.BytesIO(b"".join(b"/p/" + name + b"\n" for name in sent)))
    assert [os.fsencode(to_os_path(path)) for path in listing] == [b"/p/" + name for name in sent]
