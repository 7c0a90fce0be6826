import errno
import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.sources.listing import Listing
from coordinator.sources.resolve import open_source
from shared.errors import SourceError
from shared.images.paths import to_os_path


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
    assert listing.left_out["of 160 other kinds"] == 160
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


def refuse_to_list(monkeypatch: pytest.MonkeyPatch, end: bytes, number: int, then: Callable[[], None]) -> None:
    scandir = os.scandir

    def refusing(folder: bytes) -> object:
        if folder.endswith(end):
            then()
            raise OSError(number, os.strerror(number))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "folder without permission"),
        (errno.EPERM, "folder without permission"),
        (errno.ENOENT, "folder that vanished while it was listed"),
        (errno.ENAMETOOLONG, "folder with too long a path"),
    ],
)
def test_a_folder_that_alone_can_not_be_listed_is_counted_and_the_listing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    refuse_to_list(monkeypatch, b"/b", number, lambda: None)
    listing = open_source(str(tmp_path))
    assert inside(tmp_path, listing) == ["a/1.jpg", "c/3.jpg"]
    assert listing.left_out == {reason: 1}


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT])
def test_a_disk_that_does_not_answer_ends_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    refuse_to_list(monkeypatch, b"/b", number, lambda: None)
    with pytest.raises(SourceError, match=r"/b can't be listed \(.+\): make it readable"):
        list(open_source(str(tmp_path)))


def test_a_source_without_permission_is_an_error_and_no_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "photos/1.jpg")
    refuse_to_list(monkeypatch, b"/photos", errno.EACCES, lambda: None)
    with pytest.raises(SourceError, match=r"photos can't be listed \(Permission denied\)"):
        list(open_source(str(tmp_path / "photos")))


def test_folders_that_vanish_because_their_source_does_end_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "photos/a/1.jpg", "photos/b/2.jpg", "photos/c/3.jpg")

    def unmount() -> None:  # What is left is the empty mount point.
        (tmp_path / "photos").rename(tmp_path / "gone")
        (tmp_path / "photos").mkdir()

    refuse_to_list(monkeypatch, b"/b", errno.ENOENT, unmount)
    with pytest.raises(SourceError, match=r"photos/b can't be listed \(No such file"):
        list(open_source(str(tmp_path / "photos")))


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every folder")
def test_a_folder_with_its_permissions_taken_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a").chmod(0)
    listing = open_source(str(tmp_path))
    try:
        assert inside(tmp_path, listing) == ["b/2.jpg"]
    finally:
        (tmp_path / "a").chmod(0o700)
    assert listing.left_out == {"folder without permission": 1}


def test_what_is_wrong_with_a_folder_is_counted_however_many_suffixes_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "b/2.jpg", *(f"data.{number}" for number in range(50)))
    refuse_to_list(monkeypatch, b"/b", errno.EACCES, lambda: None)
    listing = open_source(str(tmp_path))
    assert list(listing) == []
    assert listing.left_out["folder without permission"] == 1
    assert listing.left_out["of 10 other kinds"] == 10


def step(into: list[int], name: str) -> None:
    """Make the folder `name` in the last of `into`, and go there: paths that are too long to be named whole."""
    os.mkdir(name, dir_fd=into[-1])
    into.append(os.open(name, os.O_RDONLY, dir_fd=into[-1]))


def test_paths_up_to_the_longest_are_listed_and_opened_and_longer_ones_are_counted_or_listed(tmp_path: Path) -> None:
    longest = os.pathconf(tmp_path, "PC_PATH_MAX") - 1
    name = "n" * 200
    into = [os.open(tmp_path, os.O_RDONLY)]
    path = str(tmp_path)
    try:
        while len(path) + 2 * 201 < longest:
            step(into, name)
            path = f"{path}/{name}"
        rest = longest - len(path)
        fits, long = "f" * (rest - 5) + ".jpg", "g" * (rest - 4) + ".jpg"
        for file in (fits, long):
            written = os.open(file, os.O_CREAT | os.O_WRONLY, dir_fd=into[-1])
            os.write(written, file.encode())
            os.close(written)
        step(into, "d" * rest)
        os.close(os.open("unseen.jpg", os.O_CREAT, dir_fd=into[-1]))
    finally:
        for handle in into:
            os.close(handle)
    listing = open_source(str(tmp_path))
    found = list(listing)
    assert found == [f"{path}/{fits}", f"{path}/{long}"]
    assert listing.left_out == {"folder with too long a path": 1}
    assert Path(to_os_path(found[0])).read_text() == fits
    assert (len(found[0]), len(found[1])) == (longest, longest + 1)


def test_a_list_of_links_that_lead_to_themselves_names_them_for_their_error_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "c").symlink_to(tmp_path / "c")
    listing = open_source(str(tmp_path))
    assert inside(tmp_path, listing) == ["a.jpg", "b.jpg"]
    assert listing.left_out == {"link to nothing": 1}


def test_devices_and_sockets_are_counted_also_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # A socket's path may have 107 bytes alone.
        listener.bind("socket.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "linked pipe.jpg").symlink_to("pipe.jpg")
    listing = open_source(str(tmp_path))
    assert list(listing) == []
    assert listing.left_out == {"not a regular file": 4}


def test_folders_may_be_nested_deeper_than_python_calls(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 1_500)
    into = [os.open(tmp_path, os.O_RDONLY)]
    for _ in range(1_500):
        step(into, "d")
        os.close(into.pop(0))
    os.close(os.open("x.jpg", os.O_CREAT, dir_fd=into[0]))
    os.close(into[0])
    try:
        assert sys.getrecursionlimit() < 1_500
        assert list(open_source(str(tmp_path))) == [str(deep / "x.jpg")]
    finally:
        # pytest tidies up with a function that calls itself for each folder.
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_the_source_is_absolute_wherever_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "photos/a.jpg")
    monkeypatch.chdir(tmp_path)
    listing = open_source("photos/")
    assert listing.location == str(tmp_path / "photos")
    assert list(listing) == [str(tmp_path / "photos" / "a.jpg")]


@pytest.mark.parametrize(
    ("name", "sentence"), [("nothing", "There is nothing at"), ("a.jpg", "none of what can be indexed")]
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


@pytest.mark.parametrize("text", [b"a.jpg\nb\0c.jpg\n", "a.jpg\nb.jpg\n".encode("utf-16-le"), b"a\0b.jpg\n"])
def test_a_nul_is_refused_with_its_line(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(SourceError, match=r"Line [12] of the list holds a NUL byte|a NUL byte in its first line"):
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


class Endless(io.RawIOBase):
    """A list that continues for ever, as a pipe may."""

    def __init__(self, line: bytes) -> None:
        self._line = line

    def readline(self, size: int | None = -1) -> bytes:
        return self._line[:size]


def test_a_listing_is_streamed() -> None:
    listing = iter(open_source("-", Endless(b"/p/a.jpg\n")))  # type: ignore[arg-type]
    assert [next(listing) for _ in range(3)] == ["/p/a.jpg"] * 3


@pytest.mark.parametrize(
    ("byte", "sentence"), [(b"\0", "Line 1 of the list holds a NUL byte"), (b"a", "longer than any path")]
)
def test_a_list_without_line_ends_is_refused_in_bounded_memory(byte: bytes, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        list(open_source("-", Endless(byte * 10**6)))  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["/dev/zero", "pipe"])
def test_a_list_that_is_no_regular_file_is_refused_and_never_opened(tmp_path: Path, target: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "list.txt").symlink_to(target)
    with pytest.raises(SourceError, match=r"list\.txt is no regular file: .* standard input"):
        open_source(str(tmp_path / "list.txt"))


def test_a_list_may_name_paths_that_are_too_long_for_the_system(tmp_path: Path) -> None:
    longest = b"/" + b"x" * 60_000
    assert listed(longest + b"\n/a.jpg\n", tmp_path) == [longest.decode(), "/a.jpg"]


def test_a_source_that_the_system_refuses_to_look_at_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for source in (tmp_path / "loop", tmp_path / ("x" * 300)):
        with pytest.raises(SourceError, match=r"can't be looked at \((Too many levels|File name too long)"):
            open_source(str(source))


names = st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & set(b"\0/\n\r") and name.strip(b"."))


@given(st.lists(names.map(lambda name: name + b".jpg"), max_size=10))
def test_a_list_of_any_names_comes_back_byte_for_byte(sent: list[bytes]) -> None:
    listing = open_source("-", io.BytesIO(b"".join(b"/p/" + name + b"\n" for name in sent)))
    assert [os.fsencode(to_os_path(path)) for path in listing] == [b"/p/" + name for name in sent]
