"""`lookalike pack`: every listed image is in a tar or has its reason, whatever ends it midway."""

import errno
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from coordinator.pack import process
from coordinator.pack.create import Asked, make_or_open
from coordinator.pack.process import packing_lock
from coordinator.sources.choosing import Choice
from coordinator.sources.resolve import open_source
from shared.errors import ImageError, PackError, SourceError, UsageError
from shared.images.location import read_bytes
from shared.images.members import Member
from shared.pack import tables
from shared.pack.directory import PackDir, PackSpec, load_spec
from shared.pack.tables import Packed
from shared.processes.control import Stopped
from shared.settings import Settings
from shared.storage import files
from shared.text import size
from tests.support.cli import Run
from tests.support.images.photographs import make_photos
from workers.pack import reader, writer
from workers.pack.writer import Count

SIZE = (60, 80)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 photographs in two folders, a note, and a link to nothing; leave it as it is."""
    folder = tmp_path_factory.mktemp("source") / "photos"
    make_photos(folder, 20, SIZE)
    make_photos(folder / "more", 3, SIZE)
    (folder / "note.txt").write_text("not listed")
    (folder / "photo_00007b.jpg").symlink_to("nowhere.jpg")
    return folder


def made(source: str | Path, path: Path, **asked: Any) -> tuple[PackDir, PackSpec]:
    directory = PackDir.at(path)
    return directory, make_or_open(str(source), directory, Asked(**asked), Settings(), lambda count: None)


def packed(
    directory: PackDir, told: Callable[[Count], None] = lambda count: None, stop: threading.Event | None = None
) -> Packed:
    return writer.pack(directory, 4, stop or threading.Event(), told)


def pack(source: str | Path, path: Path, **asked: Any) -> Packed:
    return packed(made(source, path, **asked)[0])


def members(path: Path) -> dict[tuple[str, str], bytes]:
    """What Python's tarfile finds in the tars of a pack, by tar and name."""
    found = {}
    for name in sorted(path.glob("*.tar")):
        with tarfile.open(name) as tar:
            for info in tar:
                data = tar.extractfile(info)
                assert data is not None
                found[name.name, info.name] = data.read()
    return found


def rows(path: Path) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return table


def everything(path: Path) -> dict[str, bytes]:
    """All files of a pack."""
    return {found.name: found.read_bytes() for found in path.rglob("*") if found.is_file()}


def require_whole(path: Path, listed: int) -> None:
    """Assert that what pack.parquet says is what is in the tars, and that nothing is missing or left over."""
    found, table, errors = members(path), rows(path / "pack.parquet"), rows(path / "errors.parquet")
    assert {(row["tar"], row["member"]) for row in table} == set(found)
    for row in table:
        data = found[row["tar"], row["member"]]
        assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        if not row["resized"]:
            assert data == read_bytes(row["image_path"], 10**9)
    assert sorted([row["id"] for row in table + errors]) == list(range(listed))
    beside = {name for name in os.listdir(path) if not name.endswith(".tar")}
    assert beside == {"pack.json", "pack.parquet", "errors.parquet"}


def test_every_image_is_in_a_tar_byte_for_byte_or_has_its_reason(photos: Path, tmp_path: Path) -> None:
    whole = pack(photos, tmp_path / "pack", images_per_tar=10)
    assert (whole.packed, whole.failed) == (23, 1)
    require_whole(tmp_path / "pack", 24)
    (error,) = rows(tmp_path / "pack" / "errors.parquet")
    assert error == {
        "id": 11,
        "image_path": str(photos / "photo_00007b.jpg"),
        "status": "vanished",
        "error_message": "The file was listed, but is no longer there.",
    }
    names = list(members(tmp_path / "pack"))
    assert names[0] == ("photos-00000.tar", "more/photo_00000.jpg")
    assert [tar for tar, _ in names] == [f"photos-0000{n}.tar" for n in (0,) * 10 + (1,) * 9 + (2,) * 4]
    assert load_spec(PackDir.at(tmp_path / "pack")).source.left_out == {".txt": 1}


def test_no_tar_is_larger_than_was_asked_and_none_could_have_held_the_next_image(photos: Path, tmp_path: Path) -> None:
    whole = pack(photos, tmp_path / "pack", tar_bytes=30_000)
    assert len(whole.tars) > 3
    sizes = {name: (tmp_path / "pack" / name).stat().st_size for name in whole.tars}
    assert sizes == whole.tars
    assert max(sizes.values()) <= 30_000
    first: dict[str, int] = {}
    for (tar, _), data in members(tmp_path / "pack").items():
        first.setdefault(tar, 512 + -(-len(data) // 512) * 512)
    for tar, after in zip(list(first)[:-1], list(first)[1:], strict=True):
        assert sizes[tar] + first[after] > 30_000 - tarfile.RECORDSIZE
    require_whole(tmp_path / "pack", 24)


def test_an_image_larger_than_a_tar_may_be_has_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, count in (("a.jpg", 100), ("b.jpg", 50_000), ("c.jpg", 100), ("d.jpg", 100)):
        (tmp_path / "photos" / name).write_bytes(bytes(count))
    whole = pack(tmp_path / "photos", tmp_path / "pack", tar_bytes=10_240)
    assert list(members(tmp_path / "pack")) == [
        ("photos-00000.tar", "a.jpg"),
        ("photos-00001.tar", "b.jpg"),
        ("photos-00002.tar", "c.jpg"),
        ("photos-00002.tar", "d.jpg"),
    ]
    assert whole.tars["photos-00001.tar"] == 61_440


def test_a_pack_is_a_source_once_it_is_finished(photos: Path, tmp_path: Path) -> None:
    directory, _ = made(photos, tmp_path / "pack", images_per_tar=5)
    with pytest.raises(SourceError, match="a pack of 24 images that is not finished: packing goes on"):
        open_source(str(directory.path))
    packed(directory)
    assert len(list(open_source(str(directory.path)))) == 23
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pack.json").write_text("{}")
    (tmp_path / "other" / "a.jpg").touch()
    assert len(list(open_source(str(tmp_path / "other")))) == 1


def test_what_a_source_says_besides_is_counted_as_not_packed(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,caption,stars\n{photos}/photo_00000.jpg,x,5\n")
    _, spec = made(tmp_path / "list.csv", tmp_path / "pack")
    assert spec.source.left_out == {"column caption, which is not packed": 1, "column stars, which is not packed": 1}


def test_webdataset_names(photos: Path, tmp_path: Path) -> None:
    assert list(pack(photos, tmp_path / "pack", webdataset=True, images_per_tar=20).tars) == ["00000.tar", "00001.tar"]


@pytest.mark.parametrize("asked", [{"images_per_tar": 5}, {"tar_bytes": 25_000, "longest": 64, "webdataset": True}])
def test_a_pack_that_was_stopped_anywhere_goes_on_to_the_bytes_of_an_undisturbed_one(
    photos: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    pack(photos, tmp_path / "whole", **asked)
    directory, _ = made(photos, tmp_path / "pack", **asked)
    stopped = 0
    while True:
        stop = threading.Event()
        tars: list[int] = []

        def told(count: Count, stop: threading.Event = stop, tars: list[int] = tars) -> None:
            tars.append(count.tars)
            if tars.count(tars[0] + 1) == 3:  # In the middle of the second of its tars.
                stop.set()

        try:
            packed(directory, told, stop)
            break
        except Stopped:
            stopped += 1
            assert not list(directory.path.glob(".*.tmp")), "what is dropped leaves nothing behind"
            assert len(list(directory.path.glob("*.tar"))) == stopped
    assert stopped >= 2
    assert everything(tmp_path / "pack") == everything(tmp_path / "whole")
    require_whole(tmp_path / "pack", 24)


def test_what_is_packed_is_not_read_again(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, _ = made(photos, tmp_path / "pack", images_per_tar=8)
    stop = threading.Event()
    with pytest.raises(Stopped):
        packed(directory, lambda count: stop.set() if count.tars == 1 else None, stop)
    read: list[str] = []

    def reading(path: str, max_bytes: int, member: Member | None = None) -> bytes:
        read.append(path)
        return read_bytes(path, max_bytes)

    monkeypatch.setattr(reader, "read_bytes", reading)
    packed(directory)
    assert len(set(read)) == 16
    read.clear()
    assert packed(directory).packed == 23, "a whole pack says what it is"
    assert read == []


def test_a_tar_that_is_full_is_whole_before_the_next_image_is_waited_for(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, _ = made(photos, tmp_path / "pack", images_per_tar=5)
    numbers = iter(range(24))

    def reading(path: str, max_bytes: int, member: Member | None = None) -> bytes:
        if next(numbers) == 5:
            raise SourceError("The mount is gone.")
        return b"data"

    monkeypatch.setattr(reader, "read_bytes", reading)
    with pytest.raises(SourceError, match="The mount is gone"):
        writer.pack(directory, 1, threading.Event(), lambda count: None)
    assert tables.done(directory, load_spec(directory)) == 5


def test_a_tar_without_its_rows_is_written_again(photos: Path, tmp_path: Path) -> None:
    directory, _ = made(photos, tmp_path / "pack", images_per_tar=8)
    directory.tar("photos-00000.tar").write_bytes(b"half a tar, as a copy that was killed leaves it")
    (directory.path / f".photos-00000.tar.{'0' * 32}.tmp").write_bytes(b"a killed writer's")
    (directory.path / ".photos-00000.tar.keep.tmp").write_bytes(b"somebody else's")
    packed(directory)
    (directory.path / ".photos-00000.tar.keep.tmp").unlink()
    require_whole(directory.path, 24)


def test_several_images_are_read_at_once(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(4, timeout=60)
    directory, _ = made(photos, tmp_path / "pack")

    def reading(path: str, max_bytes: int, member: Member | None = None) -> bytes:
        together.wait()  # No one gets on unless four read at the same time.
        return b"data"

    monkeypatch.setattr(reader, "read_bytes", reading)
    assert packed(directory).packed == 24


def test_images_that_all_failed_have_rows_and_no_tar(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n".join(f"gone{n}.jpg" for n in range(7)))
    (tmp_path / "keep").write_bytes(b"")  # Their folder is there.
    whole = pack(tmp_path / "list.txt", tmp_path / "pack", images_per_tar=3)
    assert whole == Packed(0, 7, {})
    require_whole(tmp_path / "pack", 7)


def test_failures_leave_no_gap_in_the_numbers_of_the_tars(photos: Path, tmp_path: Path) -> None:
    paths = [*(tmp_path / f"gone{n}.jpg" for n in range(3)), *sorted(photos.glob("photo_0000[0-3].jpg"))]
    (tmp_path / "list.txt").write_text("\n".join(map(str, paths)))
    whole = pack(tmp_path / "list.txt", tmp_path / "pack", images_per_tar=3)
    assert (whole.packed, whole.failed, list(whole.tars)) == (4, 3, ["photos-00000.tar", "photos-00001.tar"])
    require_whole(tmp_path / "pack", 7)


def test_a_list_is_packed_under_the_paths_below_its_folder(tmp_path: Path) -> None:
    make_photos(tmp_path / "in" / "a", 1, SIZE)
    make_photos(tmp_path / "else", 1, SIZE)
    raw = os.fsencode(tmp_path) + b"/in/\xff.jpg"
    Path(os.fsdecode(raw)).write_bytes(b"any bytes")
    lines = [b"a/photo_00000.jpg", b"a/photo_00000.jpg", b"\xff.jpg", b"../else/photo_00000.jpg"]
    (tmp_path / "in" / "list.txt").write_bytes(b"\n".join(lines))
    pack(tmp_path / "in" / "list.txt", tmp_path / "pack")
    assert [name for _, name in members(tmp_path / "pack")] == [
        "a/photo_00000.jpg",
        "%1/a/photo_00000.jpg",
        "%/%FF.jpg",
        "%/%2E%2E/else/photo_00000.jpg",
    ]
    require_whole(tmp_path / "pack", 4)


def test_an_image_without_a_suffix_gets_that_of_its_bytes(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    for name, kind in (("one", ".png"), ("two", ".jpg"), ("v1.5", ".webp")):
        (tmp_path / name).write_bytes(cv2.imencode(kind, image)[1].tobytes())
    (tmp_path / "three").write_bytes(b"no image")
    (tmp_path / "list.txt").write_text("one\ntwo\nv1.5\nthree\n")
    pack(tmp_path / "list.txt", tmp_path / "pack")
    assert [name for _, name in members(tmp_path / "pack")] == ["%0/one.png", "%1/two.jpg", "%2/v1.5.webp", "%3/three"]


def test_resized_images_are_upright_jpegs_and_small_ones_keep_their_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.zeros((60, 120, 3), np.uint8)
    pixels[:, :60] = (255, 0, 0)  # Left half red.
    turned = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by 90 degrees, clockwise: what was left is on top.
    turned.save(folder / "a.jpg", exif=exif, quality=95)
    turned.save(folder / "b.png")
    turned.resize((40, 20)).save(folder / "c.png")
    turned.save(folder / "d.tif")
    (folder / "e.jpg").write_bytes((folder / "a.jpg").read_bytes()[:400])
    (folder / "f.gif").write_text("no image")
    pack(folder, tmp_path / "pack", longest=50, quality=80)
    found = {name: data for (_, name), data in members(tmp_path / "pack").items()}
    assert list(found) == ["a.jpg", "b.jpg", "c.png", "d.jpg"]
    assert found["c.png"] == (folder / "c.png").read_bytes()
    with Image.open(io.BytesIO(found["a.jpg"])) as image:
        assert (image.format, image.size) == ("JPEG", (25, 50))
        assert not image.getexif()
        top, bottom = image.getpixel((12, 8)), image.getpixel((12, 42))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[0] > 200
    assert max(bottom) < 40
    with Image.open(io.BytesIO(found["b.jpg"])) as image:
        assert (image.format, image.size) == ("JPEG", (50, 25))
    table = {row["member"]: row for row in rows(tmp_path / "pack" / "pack.parquet")}
    assert [row["resized"] for row in table.values()] == [True, True, False, True]
    assert table["b.jpg"]["image_path"].endswith("/b.png")
    errors = {Path(row["image_path"]).name: row["status"] for row in rows(tmp_path / "pack" / "errors.parquet")}
    assert errors == {"e.jpg": "truncated", "f.gif": "not-an-image"}
    require_whole(tmp_path / "pack", 6)


def test_quality_is_that_of_the_jpegs(photos: Path, tmp_path: Path) -> None:
    sizes = {}
    for quality in (40, 90):
        pack(photos, tmp_path / str(quality), longest=70, quality=quality)
        sizes[quality] = sum(map(len, members(tmp_path / str(quality)).values()))
    assert sizes[40] < 0.7 * sizes[90]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"longest": 100}, "begun without longest, not with longest 100.*leave the option longest out"),
        ({"images_per_tar": 9}, "with images_per_tar 8, not with images_per_tar 9"),
        ({"tar_bytes": 10**6}, "with tar_bytes 1000000000, not with tar_bytes 1000000,"),
        ({"webdataset": True}, "without webdataset, not with webdataset,"),
        ({"quality": 80}, "without quality, not with quality 80"),
    ],
)
def test_other_parameters_are_refused_and_both_are_named(
    photos: Path, tmp_path: Path, asked: dict[str, Any], words: str
) -> None:
    made(photos, tmp_path / "pack", images_per_tar=8)
    with pytest.raises(PackError, match=words):
        made(photos, tmp_path / "pack", **asked)
    assert made(photos, tmp_path / "pack")[1].images_per_tar == 8, "what is not typed is as it was"


def test_what_is_packed_is_chosen_as_index_chooses(run: Run, photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name, photo in {"a.jpg": 0, "b": 1, "old/c.jpg": 2, "old/keep/d.jpg": 3}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((photos / f"photo_{photo:05d}.jpg").read_bytes())
    (source / "LICENSE").write_text("no image")
    chosen = ("--exclude", "/old", "--include", "keep/", "--sniff")
    ran = run("pack", source, tmp_path / "pack", *chosen)
    assert ran.status == 0, ran.err
    assert "not listed: 1 excluded by /old, 1 without suffix and no image" in ran.err
    assert [name for _, name in members(tmp_path / "pack")] == ["a.jpg", "%1/b.jpg", "old/keep/d.jpg"]
    spec = load_spec(PackDir.at(tmp_path / "pack"))
    assert (spec.source.exclude, spec.source.include, spec.source.sniff) == (["/old"], ["keep/"], True)
    for again in ((), chosen):
        assert run("pack", source, tmp_path / "pack", *again).status == 0, "what is not typed is as it was"
    without = run("pack", source, tmp_path / "all")
    assert "not listed: 2 without suffix" in without.err
    assert "--sniff looks into files without suffix whether they are images." in without.err


@pytest.mark.parametrize(
    ("begun", "typed", "words"),
    [
        (Choice(), Choice(exclude=("more/",)), "begun without exclude, not with exclude more/, and stays"),
        (
            Choice(exclude=("b c", "d")),
            Choice(exclude=("d",)),
            "with exclude 'b c' exclude d, not with exclude d,",
        ),
        (
            Choice(include=("x",)),
            Choice(include=("y",)),
            "with include x, not with include y,.*include",
        ),
        (Choice(), Choice(sniff=True), "begun without sniff, not with sniff,"),
    ],
)
def test_another_choice_is_refused_and_both_are_named(
    photos: Path, tmp_path: Path, begun: Choice, typed: Choice, words: str
) -> None:
    directory = PackDir.at(tmp_path / "pack")
    make_or_open(str(photos), directory, Asked(), Settings(), lambda count: None, begun)
    with pytest.raises(PackError, match=words):
        make_or_open(str(photos), directory, Asked(), Settings(), lambda count: None, typed)


def test_a_list_that_is_packed_is_no_place_for_patterns(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\n")
    ran = run("pack", tmp_path / "list.txt", tmp_path / "pack", "--exclude", "*.png")
    assert (ran.status, "names its images itself" in ran.err) == (2, True)


def test_another_source_is_refused_and_both_are_named(photos: Path, tmp_path: Path) -> None:
    made(photos, tmp_path / "pack")
    with pytest.raises(PackError, match=f"the folder {photos}, not of the folder {photos / 'more'}"):
        made(photos / "more", tmp_path / "pack")
    listed = tmp_path / "list.txt"
    listed.write_text("a.jpg\n")
    with pytest.raises(PackError, match=f"the folder {photos}, not of the list {listed}"):
        made(listed, tmp_path / "pack")
    made(listed, tmp_path / "of a list")
    listed.write_text("a.jpg\nb.jpg\n")
    with pytest.raises(PackError, match=r"a list of 1 paths .* differs from it \(2 paths\)"):
        made(listed, tmp_path / "of a list")


def test_a_directory_that_holds_something_else_is_left_alone(photos: Path, tmp_path: Path) -> None:
    before = everything(photos)
    with pytest.raises(PackError, match=r"holds no pack.json, but more: name a directory that is empty"):
        made(photos, photos)
    assert everything(photos) == before


def test_a_source_without_images_leaves_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "note.txt").touch()
    ran = run("pack", tmp_path / "empty", tmp_path / "pack")
    assert ran.status == 1
    assert "holds no images (left out: 1 .txt)" in ran.err
    assert not (tmp_path / "pack").exists()


def test_what_is_no_directory_is_refused(run: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "pack"):
        ran = run("pack", photos, path)
        assert ran.status == 1
        assert "is no directory, nor can it be made: name another one" in ran.err


def test_a_quality_without_a_size_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give the option longest as well"):
        made(photos, tmp_path / "pack", quality=80)


def stopped_midway(photos: Path, path: Path) -> PackDir:
    """A pack of which two tars are whole."""
    directory, _ = made(photos, path, images_per_tar=6)
    stop = threading.Event()
    with pytest.raises(Stopped):
        packed(directory, lambda count: stop.set() if count.tars == 2 else None, stop)
    return directory


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda directory: directory.tar("photos-00001.tar").unlink(), "photos-00001.tar was packed and is not there"),
        (lambda directory: cut(directory.tar("photos-00000.tar")), "bytes, and .* were packed"),
        (lambda directory: cut(directory.block(0)), "block_00000.parquet is damaged"),
        (lambda directory: directory.block(0).write_bytes(directory.block(1).read_bytes()), "block_00000.*is damaged"),
        (lambda directory: directory.listing.unlink(), "listing.parquet can't be read"),
        (lambda directory: cut(directory.listing), "listing.parquet can't be read"),
        (lambda directory: directory.spec.write_text('{"format": 2, "made_by": "new"}\n'), "another version.*new"),
        (lambda directory: cut(directory.spec), "pack.json is not whole"),
    ],
    ids=["a tar gone", "a tar cut", "a block cut", "another block", "no list", "a list cut", "a new format", "no end"],
)
def test_damage_is_a_sentence(photos: Path, tmp_path: Path, harm: Callable[[PackDir], None], words: str) -> None:
    directory = stopped_midway(photos, tmp_path / "pack")
    harm(directory)
    with pytest.raises(PackError, match=words):
        packed(directory)


def test_what_a_kill_cut_off_on_a_mount_that_renames_by_copying_is_written_again(photos: Path, tmp_path: Path) -> None:
    pack(photos, tmp_path / "whole", images_per_tar=6)
    directory = stopped_midway(photos, tmp_path / "pack")
    spec = load_spec(directory)
    assert tables.done(directory, spec) == 12
    cut(directory.block(1))
    assert tables.done(directory, spec) == 6
    directory.table.write_bytes((tmp_path / "whole" / "pack.parquet").read_bytes()[:-50])
    packed(directory)
    assert everything(directory.path) == everything(tmp_path / "whole")
    cut(directory.table)
    with pytest.raises(PackError, match=r"pack.parquet can't be read: restore it"):
        packed(directory)


def test_a_damaged_block_is_found_at_the_end_and_can_be_packed_again(photos: Path, tmp_path: Path) -> None:
    directory = stopped_midway(photos, tmp_path / "pack")
    data = bytearray(directory.block(1).read_bytes())
    data[40] ^= 255
    directory.block(1).write_bytes(data)
    with pytest.raises(PackError, match=r"block_00001.parquet is damaged.*remove it and those after it"):
        packed(directory)
    for block in list(directory.blocks())[1:]:
        block.unlink()
    packed(directory)
    pack(photos, tmp_path / "whole", images_per_tar=6)
    assert everything(directory.path) == everything(tmp_path / "whole")


def test_a_whole_pack_whose_tar_is_gone_says_so(photos: Path, tmp_path: Path) -> None:
    pack(photos, tmp_path / "pack")
    (tmp_path / "pack" / "photos-00000.tar").unlink()
    with pytest.raises(PackError, match="was packed and is not there: put it back"):
        packed(PackDir.at(tmp_path / "pack"))


def test_counts_that_do_not_add_up_are_never_joined(photos: Path, tmp_path: Path) -> None:
    directory = stopped_midway(photos, tmp_path / "pack")
    spec = load_spec(directory)
    with pytest.raises(PackError, match="11 images packed and 1 failed are not the 24 listed"):
        tables.join(directory, spec, tables.committed_blocks(directory, spec))
    assert not directory.table.exists()


def failing(monkeypatch: pytest.MonkeyPatch, number: int, times: int, name: str) -> list[str]:
    """Has the reading of one image fail so many times as the system does; returns what was read, in order."""
    tried: list[str] = []

    def reading(path: str, max_bytes: int, member: Member | None = None) -> bytes:
        tried.append(Path(path).name)
        if Path(path).name == name and tried.count(name) <= times:
            raise ImageError(f"The file can't be read: {os.strerror(number)}.", "unreadable") from OSError(number, "")
        return read_bytes(path, max_bytes)

    monkeypatch.setattr(reader, "read_bytes", reading)
    return tried


@pytest.mark.parametrize(
    ("number", "times", "tries"),
    [(errno.EIO, 3, 4), (errno.ETIMEDOUT, 1, 2), (errno.EACCES, 1, 2)],
    ids=["a mount that fails three times", "one time", "a moment without permission"],
)
def test_an_image_that_a_slow_mount_fails_to_give_is_read_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, times: int, tries: int
) -> None:
    monkeypatch.setattr(reader, "PAUSES", (0.0, 0.0, 0.0))
    tried = failing(monkeypatch, number, times, "photo_00004.jpg")
    assert pack(photos, tmp_path / "pack").packed == 23
    assert tried.count("photo_00004.jpg") == tries
    require_whole(tmp_path / "pack", 24)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_an_image_that_can_not_be_read_at_all_is_a_row(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(reader, "PAUSES", (0.0, 0.0, 0.0))
    tried = failing(monkeypatch, number, 99, "photo_00004.jpg")
    assert pack(photos, tmp_path / "pack").packed == 22
    assert tried.count("photo_00004.jpg") == (5 if number == errno.EIO else 2)
    assert [row["status"] for row in rows(tmp_path / "pack" / "errors.parquet")] == ["unreadable", "vanished"]


def test_a_mount_that_goes_away_ends_the_pack_and_loses_no_image(tmp_path: Path) -> None:
    make_photos(tmp_path / "mount" / "photos", 12, SIZE)
    directory, _ = made(tmp_path / "mount" / "photos", tmp_path / "pack", images_per_tar=4)

    def told(count: Count) -> None:
        if count.tars == 1 and (tmp_path / "mount").exists():
            (tmp_path / "mount").rename(tmp_path / "away")

    with pytest.raises(SourceError, match=r"photos is out of reach .*mount it again"):
        writer.pack(directory, 1, threading.Event(), told)
    (tmp_path / "away").rename(tmp_path / "mount")
    assert packed(directory).packed == 12


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(self: Any, name: str, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("workers.pack.tar.TarFile.add", add)


def test_a_full_disk_is_a_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, _ = made(photos, tmp_path / "pack")
    full(monkeypatch)
    nobody, somebody = os.pipe()  # Standard input, which stays open.
    monkeypatch.setattr(os, "read", lambda handle, size, read=os.read: read(nobody if handle == 0 else handle, size))
    assert writer.main([str(directory.path)]) == 1
    os.close(somebody)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["error"]["kind"] == "PackError"
    assert (
        "does not take the pack (No space left on device): make room, and run the same command"
        in said["error"]["message"]
    )
    assert sorted(os.listdir(directory.path)) == ["listing.parquet", "pack.json"]


def test_one_at_a_time(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOCK_SECONDS", 0.0)
    directory, _ = made(photos, tmp_path / "pack")
    with packing_lock(directory) as lock:
        assert lock is not None
        # A process that was given the lock keeps it when whoever gave it is gone.
        child = subprocess.Popen(["sleep", "60"], pass_fds=[lock])
        with pytest.raises(PackError, match="Another process is packing into"), packing_lock(directory):
            pass
    try:
        with pytest.raises(PackError, match="one that was killed still waits"), packing_lock(directory):
            pass
    finally:
        child.kill()
        child.wait()
    with packing_lock(directory):
        pass


@pytest.mark.slow
def test_the_command_packs_says_what_it_did_and_finds_it_done(run: Run, photos: Path, tmp_path: Path) -> None:
    ran = run("pack", photos, tmp_path / "pack", "--images-per-tar", "10", "--tar-bytes", "1MB", "--threads", "2")
    assert ran.status == 0, ran.err
    assert "24 images; their bytes as they are; tars of at most 10 images and 1.0 MB" in ran.err
    assert "not listed: 1 .txt" in ran.err
    assert f"23 of 24 images packed, 1 failed (each with its reason in {tmp_path}/pack/errors.parquet)" in ran.err
    tars = sum(path.stat().st_size for path in (tmp_path / "pack").glob("*.tar"))
    assert f"3 tars, {size(tars)}, in {tmp_path}/pack" in ran.err
    require_whole(tmp_path / "pack", 24)
    before = everything(tmp_path / "pack")
    again = run("pack", photos, tmp_path / "pack")
    assert again.status == 0, again.err
    assert "23 of 24 images packed" in again.err
    assert everything(tmp_path / "pack") == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--tar-bytes", "5kB"], "is less than any tar takes: give at least 10,240 bytes"),
        (["--tar-bytes", "much"], "'much' is no size"),
        (["--longest", "5"], "5 is not in the range 16<=x<=65500"),
    ],
)
def test_what_can_not_be_meant_is_said_before_anything_is_done(
    run: Run, photos: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    ran = run("pack", photos, tmp_path / "pack", *words)
    assert ran.status == 2
    assert sentence in ran.err
    assert not (tmp_path / "pack").exists()


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the command's process be a script given here instead of `workers.pack.writer`."""
    real = subprocess.Popen

    def instead(script: str) -> None:
        def start(command: list[str], **options: Any) -> Any:
            return real([command[0], "-c", script, *command[4:]], **options)

        monkeypatch.setattr(subprocess, "Popen", start)

    return instead


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ('print(\'{"error": {"kind": "SourceError", "message": "Gone."}}\')', SourceError, "Gone."),
        ("import os; os.abort()", PackError, r"The process that packs .* ended with signal SIGABRT"),
        ("import sys; sys.exit('the last words')", PackError, "exit status 1.*the last words"),
        ("pass", PackError, "exit status 0"),
        ("print('no json')", PackError, "no JSON: 'no json"),
    ],
)
def test_a_process_that_fails_is_a_sentence(
    tmp_path: Path, in_this_process: Callable[[str], None], script: str, error: type[Exception], words: str
) -> None:
    in_this_process(script)
    with (
        pytest.raises(error, match=f"(?s){words}"),
        process.packer(PackDir.at(tmp_path), 1, None) as said,
    ):
        assert list(said) == []


def test_the_images_that_were_being_decoded_when_a_process_was_killed_are_named(
    photos: Path, tmp_path: Path, in_this_process: Callable[[str], None]
) -> None:
    directory, _ = made(photos, tmp_path / "pack", longest=64)
    in_this_process(
        "import signal, sys, threading\n"
        "from pathlib import Path\n"
        "from shared.pack.directory import PackDir\n"
        "from workers.pack import writer as packing, shrink as shrinking\n"
        "def kill(data, longest, most):\n"
        "    signal.raise_signal(signal.SIGKILL)\n"
        "shrinking.decode_photo = kill\n"
        "packing.pack(PackDir.at(Path(sys.argv[1])), 1, threading.Event(), lambda count: None, int(sys.argv[5]))\n"
    )
    first = photos / "more" / "photo_00000.jpg"
    with (
        pytest.raises(PackError, match=rf"signal SIGKILL, .*\. It was decoding {first}: .* pack a list without"),
        process.packer(directory, 1, None) as said,
    ):
        list(said)


def test_a_process_is_asked_to_end_and_given_time_for_it(
    tmp_path: Path, in_this_process: Callable[[str], None]
) -> None:
    ended = tmp_path / "ended"
    in_this_process(f"import sys; print('{{}}', flush=True); sys.stdin.read(); open({str(ended)!r}, 'w').close()")
    with process.packer(PackDir.at(tmp_path), 1, None) as said:
        assert next(said) == {}
        assert not ended.exists()
    assert ended.exists()


def test_rows_that_are_not_those_of_a_block_are_never_committed(tmp_path: Path) -> None:
    row = tables.PackRow(3, "a.jpg", None, None, None, None, None, "vanished", "Gone.")
    block = tables.Block(0, 0, 1, None, 0, 0, 0, 1)
    with pytest.raises(ValueError, match="each of its ids once"):
        tables.commit_block(PackDir.at(tmp_path), block, [row])
    assert files.TEMPORARY_SUFFIX == ".tmp"


def test_a_pack_can_be_packed_again_from_its_tars(photos: Path, tmp_path: Path) -> None:
    pack(photos, tmp_path / "first", images_per_tar=10)
    assert pack(tmp_path / "first", tmp_path / "second", images_per_tar=12).packed == 23
    first, second = members(tmp_path / "first"), members(tmp_path / "second")
    assert list(second.values()) == list(first.values())
    assert [name for _, name in second] == [f"{tar}::{name}" for tar, name in first]
    require_whole(tmp_path / "second", 23)
