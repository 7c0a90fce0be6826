"""Image paths survive the way through text, whatever bytes they are made of."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.images.paths import is_file_uri, printable, shown_path, to_os_path, to_text

names = st.binary(min_size=1, max_size=40).map(lambda raw: raw.replace(b"\0", b""))


@given(names)
def test_every_absolute_path_comes_back_from_its_text(raw: bytes) -> None:
    path = os.fsdecode(b"/" + raw)
    assert to_os_path(to_text(path)) == path


@given(names)
def test_the_text_of_a_path_is_always_utf8(raw: bytes) -> None:
    text = to_text(os.fsdecode(b"/" + raw))
    assert text.encode("utf-8").decode("utf-8") == text


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\0\u2028\u2029"), min_size=1).filter(
        lambda name: "::" not in name
    )
)
def test_a_path_that_is_text_already_is_left_as_it_is(name: str) -> None:
    assert to_text("/" + name) == "/" + name


def test_a_path_that_is_no_utf8_becomes_a_uri_with_its_bytes_escaped() -> None:
    assert to_text(os.fsdecode(b"/photos/caf\xe9 1.jpg")) == "file:///photos/caf%E9%201.jpg"


@pytest.mark.parametrize("path", ["file:///photos/a.jpg", "file://", "file://%41"])
def test_a_path_that_looks_like_a_uri_is_told_from_one(path: str) -> None:
    assert to_text(path) != path
    assert to_os_path(to_text(path)) == path


@pytest.mark.parametrize(
    "raw",
    [
        b"/photos/new\nline\r.jpg",
        "/photos/snow \u2603 \U0001f600.jpg".encode(),
        "/photos/cafe\u0301.jpg".encode(),
        b"/photos/\xff\xfe%41.jpg",
        b"/" + b"n" * 4_000,
        b"/" + b"\xe9" * 4_000,
        b"/photos/\xed\xb3\xbf.jpg",
        b"file:///photos/a.jpg",
    ],
    ids=["line-ends", "emoji", "decomposed", "no-utf8", "long", "long-no-utf8", "surrogate-bytes", "looks-like-a-uri"],
)
def test_strange_paths_come_back_byte_for_byte_in_one_line_of_json(raw: bytes) -> None:
    text = to_text(os.fsdecode(raw))
    written = json.dumps(text)
    assert "\n" not in written
    assert os.fsencode(to_os_path(json.loads(written))) == raw


def test_two_paths_never_share_a_text() -> None:
    # What a person may give one file, to be mistaken for the escaped name of another.
    raw = [b"/caf\xe9", b"/caf%E9", b"file:///caf%E9", "/caf\u00e9".encode(), b"file:///caf\xe9"]
    assert len({to_text(os.fsdecode(path)) for path in raw}) == len(raw)


def test_the_path_of_a_text_opens_the_file_it_was_written_for(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.jpg")
    try:
        with open(path, "wb") as file:
            file.write(b"bytes")
    except OSError:
        pytest.skip("this file system takes no names but UTF-8")
    with open(to_os_path(to_text(os.fsdecode(path))), "rb") as file:
        assert file.read() == b"bytes"


@pytest.mark.parametrize("character", ["\n", "\t", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\u2028"])
def test_a_name_with_a_control_character_is_one_line_that_can_be_typed_again(character: str) -> None:
    path = f"/photos/a{character}b.jpg"
    for text in (to_text(path), shown_path(path), shown_path(f"/x.tar::a{character}b.jpg").split("::")[1]):
        assert is_file_uri(text)
        assert text.isprintable()
    assert to_os_path(to_text(path)) == to_os_path(shown_path(path)) == path


def test_what_a_terminal_obeys_is_shown_escaped_and_nothing_else() -> None:
    assert printable("/a\x1b[31m\x07b\x9b c\u2028") == "/a\\x1b[31m\\x07b\\x9b c\\u2028"
    for plain in ("two\nlines\tof text", "Bildschirmfoto 9.41\u202fAM \u3000写真 \U0001f600.jpg"):
        assert printable(plain) == plain
        assert shown_path(plain.replace("\n", "").replace("\t", "")) == plain.replace("\n", "").replace("\t", "")
