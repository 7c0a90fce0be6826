"""Image paths survive the way through text, whatever bytes they are made of."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.paths import to_os_path, to_text

names = st.binary(min_size=1, max_size=40).map(lambda raw: raw.replace(b"\0", b""))


@given(names)
def test_every_absolute_path_comes_back_from_its_text(raw: bytes) -> None:
    path = os.fsdecode(b"/" + raw)
    assert to_os_path(to_text(path)) == path


@given(names)
def test_the_text_of_a_path_is_always_utf8(raw: bytes) -> None:
    text = to_text(os.fsdecode(b"/" + raw))
    assert text.encode("utf-8").decode("utf-8") == text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_path_that_is_text_already_is_left_as_it_is(name: str) -> None:
    assert to_text("/" + name) == "/" + name


def test_a_path_that_is_no_utf8_becomes_a_uri_with_its_bytes_escaped() -> None:
    assert to_text(os.fsdecode(b"/photos/caf\xe9 1.jpg")) == "file:///photos/caf%E9%201.jpg"


@pytest.mark.parametrize("path", ["file:///photos/a.jpg", "file://", "file://%41"])
def test_a_path_that_looks_like_a_uri_is_told_from_one(path: str) -> None:
    assert to_text(path) != path
    assert to_os_path(to_text(path)) == path


def test_the_path_of_a_text_opens_the_file_it_was_written_for(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.jpg")
    try:
        with open(path, "wb") as file:
            file.write(b"bytes")
    except OSError:
        pytest.skip("this file system takes no names but UTF-8")
    with open(to_os_path(to_text(os.fsdecode(path))), "rb") as file:
        assert file.read() == b"bytes"
