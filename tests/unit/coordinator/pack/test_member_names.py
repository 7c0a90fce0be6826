"""Names of images in tars: the path where that can be, and else a name that gives the path back."""

import os
import posixpath
import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.pack.member_names import MemberNames
from shared.images.paths import to_text

BASE = b"/data/photos"
# How webdataset cuts a name into the key of its sample and a field; what it can't cut, it leaves out without a word.
WEBDATASET = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")


def names(paths: Sequence[bytes], **options: bool) -> list[str]:
    naming = MemberNames(BASE, **options)
    return ["".join(naming.name(image, to_text(os.fsdecode(path)))) for image, path in enumerate(paths)]


def path_of(member: str) -> bytes:
    """The path below the base that a name was made of, as docs/formats.md says to get it back."""
    first, _, rest = member.partition("/")
    if re.fullmatch(r"%\d+", first):
        first, _, rest = (member := rest).partition("/")
    return unquote_to_bytes(rest) if first == "%" else member.encode()


PART = st.text(st.sampled_from("aA.%/_ é\N{COMBINING ACUTE ACCENT}eßS"), min_size=1, max_size=6).map(str.encode)
RAW = st.lists(PART | st.binary(min_size=1, max_size=4), min_size=1, max_size=4).map(b"/".join)
PATHS = st.lists(
    st.tuples(RAW, st.sampled_from([b".jpg", b".JPG", b".png", b""])).map(
        lambda made: made[0].replace(b"\0", b"0").lstrip(b"/") + made[1]
    ),
    max_size=12,
).map(lambda paths: [path for path in paths if path and not path.endswith(b"/")])


def folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def test_a_path_below_the_folder_is_its_own_name() -> None:
    paths = [b"a.jpg", b"b/c/d.PNG", b"b/c.d/e.f.jpg", b"b/100%/x.webp", "é/ü.jpg".encode(), b"-x/--y.jpg"]
    assert names([BASE + b"/" + path for path in paths]) == [path.decode() for path in paths]


def test_a_path_from_elsewhere_keeps_all_of_it() -> None:
    assert names([b"/mnt/other/a.jpg", b"/data/photos2/b.jpg"]) == ["mnt/other/a.jpg", "data/photos2/b.jpg"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"a/\xff.jpg", "%/a/%FF.jpg"),
        (b"../up.jpg", "%/%2E%2E/up.jpg"),
        (b"a/../b/./c.jpg", "%/a/%2E%2E/b/%2E/c.jpg"),
        (b"a//b.jpg", "%/a/%2Fb.jpg"),
        (b"%7/a.jpg", "%/%257/a.jpg"),
        (b"%.jpg", "%/%25.jpg"),
    ],
)
def test_what_is_no_name_is_escaped(path: bytes, name: str) -> None:
    assert names([BASE + b"/" + path]) == [name]
    assert path_of(name) == path


def test_the_later_of_two_that_a_disk_takes_for_one_goes_into_a_folder_of_its_id() -> None:
    paths = [
        b"a/X.jpg",
        b"a/x.JPG",
        b"a/x.png",
        b"b/x.jpg",
        "é.jpg".encode(),
        "e\N{COMBINING ACUTE ACCENT}.jpg".encode(),
        b"a/X.jpg",
    ]
    assert names([BASE + b"/" + path for path in paths]) == [
        "a/X.jpg", "%1/a/x.JPG", "a/x.png", "b/x.jpg", "é.jpg", "%5/e\N{COMBINING ACUTE ACCENT}.jpg", "%6/a/X.jpg",
    ]  # fmt: skip


def test_where_suffixes_change_names_differ_without_them() -> None:
    paths = [BASE + b"/" + path for path in (b"a/x.jpg", b"a/x.png", b"a/x", b"a/y.z.jpg")]
    assert names(paths, by_stem=True) == ["a/x.jpg", "%1/a/x.png", "%2/a/x", "a/y.z.jpg"]


def test_a_path_without_a_suffix_can_not_become_anothers_name() -> None:
    naming = MemberNames(BASE)
    assert naming.name(0, "/data/photos/ab12") == ("%0/ab12", "")
    assert naming.name(1, "/data/photos/ab12.jpg") == ("ab12", ".jpg")
    assert naming.name(2, "/data/photos/v1.2") == ("%2/v1.2", "")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"a/b.jpg", "a/b.jpg"),
        (b"a.b/c.jpg", "a.b/c.jpg"),
        (b"a/b.c.jpg", "%/a/b%2Ec.jpg"),
        (b"a/.b.jpg", "%/a/%2Eb.jpg"),
        (b"a/b%2Ec.jpg", "a/b%2Ec.jpg"),
        (b"a/b%.c.jpg", "%/a/b%25%2Ec.jpg"),
        (b"__MACOSX__/a.jpg", "%/__MACOSX__/a.jpg"),
    ],
)
def test_webdataset_gets_a_name_with_one_dot(path: bytes, name: str) -> None:
    assert names([BASE + b"/" + path], webdataset=True) == [name]
    assert path_of(name) == path


@given(PATHS, st.sampled_from([{}, {"by_stem": True}, {"webdataset": True}]))
def test_every_name_gives_its_path_back_and_no_two_are_one(paths: list[bytes], options: dict[str, bool]) -> None:
    made = names([BASE + b"/" + path for path in paths], **options)
    assert [path_of(name) for name in made] == paths
    assert len({folded(name) for name in made}) == len(made)
    for name in made:
        assert not any(part in ("", ".", "..") for part in name.split("/")), name
        name.encode()


@given(PATHS)
def test_each_image_is_a_sample_of_its_own_to_webdataset(paths: list[bytes]) -> None:
    made = names([BASE + b"/" + path for path in paths], webdataset=True)
    # What has no suffix gets one when its bytes are known.
    cut = [WEBDATASET.match(name if "." in posixpath.basename(name) else name + ".jpg") for name in made]
    keys = [match[1] for match in cut if match is not None]
    assert len({folded(key) for key in keys}) == len(paths)
    assert all("." not in match[2] for match in cut if match is not None)
