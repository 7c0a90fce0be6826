"""Files are left out of a source by default and by patterns, alike in folders, behind URLs and in archives."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from typer.testing import CliRunner

from coordinator.cli import application
from coordinator.jobs.create import make_or_open
from coordinator.sources.choosing import IMAGE_SUFFIXES, PICTURE_SUFFIXES, Choice, choice_of
from coordinator.sources.resolve import open_source
from shared.errors import CorruptFile, JobMismatch, UsageError
from shared.images.paths import split_member
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.job.opened import OpenJob
from shared.settings import Settings
from tests.support.images.forms import write_tar, write_zip

PHOTOS = {"a.jpg", "b/c.png", "b/deep/d.JPG"}
BESIDE = {
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg": "@eaDir",
    "b/@eaDir/c.png/SYNOPHOTO_THUMB_B.jpg": "@eaDir",
    "b/.thumbnails/1.jpg": ".thumbnails",
    "#recycle/2.jpg": "#recycle",
    ".Trash/3.jpg": ".Trash*",
    "b/.Trash-1000/files/4.jpg": ".Trash*",
    "._a.jpg": "._*",
    "b/deep/._d.JPG": "._*",
    ".DS_Store": ".DS_Store",
    "b/Thumbs.db": "Thumbs.db",
    "b/THUMBS.DB2": ".db2",
    "$RECYCLE.BIN/S-1-5/5.jpg": "$RECYCLE.BIN",
    "System Volume Information/6.jpg": "System Volume Information",
    "__MACOSX/b/._c.png": "__MACOSX",
    ".@__thumb/7.jpg": ".@__thumb",
    "lost+found/8.jpg": "lost+found",
}
EVERY_NAME = {*PHOTOS, *BESIDE}


def folder(root: Path, names: set[str]) -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return str(root)


def tar(root: Path, names: set[str]) -> str:
    root.mkdir()
    return str(write_tar(root / "photos.tar", {name: name.encode() for name in sorted(names)}))


def zipped(root: Path, names: set[str]) -> str:
    root.mkdir()
    return str(write_zip(root / "photos.zip", {name: name.encode() for name in sorted(names)}))


def remote(root: Path, names: set[str]) -> str:
    fs = fsspec.filesystem("memory")
    for name in names:
        fs.pipe_file(f"/photos/{name}", name.encode())
    return "memory://photos"


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    yield
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def names(source: str, choice: Choice) -> tuple[set[str], Counter[str]]:
    listing = open_source(source, choice=choice)
    found = set()
    for path in listing:
        inside = split_member(path)
        name = inside[1] if inside else path.rpartition(f"{Path(source).name}/")[2]
        assert name not in found
        found.add(name)
    return found, listing.left_out


Write = Callable[[Path, set[str]], str]
every_form = pytest.mark.parametrize("write", [folder, tar, zipped, remote])


@every_form
def test_what_systems_keep_beside_photos_is_left_out_and_counted_under_its_name(tmp_path: Path, write: Write) -> None:
    found, left_out = names(write(tmp_path / "photos", EVERY_NAME), Choice())
    assert found == PHOTOS
    # A folder that is not looked into counts once, what an archive holds below it by the file: here, the same.
    assert left_out == Counter(BESIDE.values())


@every_form
@pytest.mark.parametrize(
    ("exclude", "include", "without", "besides"),
    [
        (["*.png"], [], {"b/c.png"}, set()),
        (["b/"], [], {"b/c.png", "b/deep/d.JPG"}, set()),
        (["/a.jpg", "deep"], [], {"a.jpg", "b/deep/d.JPG"}, set()),
        (["b/**/*.JPG"], [], {"b/deep/d.JPG"}, set()),
        (["*.png", "!c.png"], [], set(), set()),
        ([], ["@eaDir/"], set(), {"@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "b/@eaDir/c.png/SYNOPHOTO_THUMB_B.jpg"}),
        ([], ["#recycle"], set(), {"#recycle/2.jpg"}),
        ([], ["**/.Trash-*/**/4.jpg"], set(), {"b/.Trash-1000/files/4.jpg"}),
        (["b"], ["deep/"], {"b/c.png"}, set()),
        ([], ["b/"], set(), set()),
        ([], ["b/**"], set(), set()),
        (["*"], ["/b/*.png", "._*"], {"a.jpg", "b/deep/d.JPG"}, {"._a.jpg", "b/deep/._d.JPG", "__MACOSX/b/._c.png"}),
    ],
    ids=lambda value: " ".join(sorted(value)) or "none",
)
def test_patterns_choose_among_the_files_as_a_gitignore_does(
    tmp_path: Path, write: Write, exclude: list[str], include: list[str], without: set[str], besides: set[str]
) -> None:
    source = write(tmp_path / "photos", EVERY_NAME)
    found, left_out = names(source, Choice(tuple(exclude), tuple(include)))
    assert found == (PHOTOS - without) | besides
    counted = {reason for reason in left_out if reason.startswith("excluded by ")}
    assert counted == {f"excluded by {pattern}" for pattern in exclude if not pattern.startswith("!") and without}


def test_a_folder_that_is_typed_is_read_whatever_its_name(tmp_path: Path) -> None:
    for name in ("@eaDir", ".thumbnails", ".Trash-1000", "#recycle"):
        folder(tmp_path / name, {"a.jpg", "._a.jpg", "sub/b.jpg"})
        found, left_out = names(str(tmp_path / name), Choice())
        assert (found, left_out) == ({"a.jpg", "sub/b.jpg"}, {"._*": 1})
    assert {Path(path).name for path in open_source(str(tmp_path / "@eaDir/*.jpg"))} == {"a.jpg"}


def test_what_a_glob_matches_is_chosen_from_as_well(tmp_path: Path) -> None:
    folder(tmp_path / "2019", EVERY_NAME)
    folder(tmp_path / "2020", {"x.jpg"})
    listing = open_source(f"{tmp_path}/20*", choice=Choice(("/2020/", "2019/b/deep"), ("/2019/#recycle/",)))
    found = [os.path.relpath(path, tmp_path) for path in listing]
    assert found == ["2019/#recycle/2.jpg", "2019/a.jpg", "2019/b/c.png"]
    assert (listing.left_out["excluded by /2020/"], listing.left_out["excluded by 2019/b/deep"]) == (1, 1)
    (tmp_path / "2019/@eaDir/y.jpg").touch()
    assert list(open_source(f"{tmp_path}/2019/*/y.jpg")) == []
    typed = open_source(f"{tmp_path}/2019/@eaDir/?.jpg")
    assert list(typed) == [f"{tmp_path}/2019/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", f"{tmp_path}/2019/@eaDir/y.jpg"]


def test_patterns_reach_into_the_archives_of_a_folder(tmp_path: Path) -> None:
    for shard in ("shards/0.tar", "shards/1.tar", "old/2.tar"):
        (tmp_path / shard).parent.mkdir(exist_ok=True)
        write_tar(tmp_path / shard, {"raw/a.jpg": b"1", "web/a.jpg": b"2"})
    listing = open_source(str(tmp_path), choice=Choice(("old/", "1.tar", "/shards/*/raw")))
    assert list(listing) == [f"{tmp_path}/shards/0.tar::web/a.jpg"]
    assert listing.left_out == {"excluded by old/": 1, "excluded by 1.tar": 1, "excluded by /shards/*/raw": 1}


def test_every_kind_of_picture_that_stays_out_is_counted_by_its_name(tmp_path: Path) -> None:
    assert not IMAGE_SUFFIXES & PICTURE_SUFFIXES
    assert {".heics", ".raw", ".gpr", ".r3d", ".k25", ".psb", ".exr", ".xcf", ".mp4", ".mov"} <= PICTURE_SUFFIXES
    kinds = sorted(PICTURE_SUFFIXES)
    folder(tmp_path, {f"data.{number}" for number in range(60)})
    folder(tmp_path, {f"{n}x{kind}" for kind in kinds for n in range(2)} | {"a.jpg"})
    found, left_out = names(str(tmp_path), Choice())
    assert found == {"a.jpg"}
    assert {kind: left_out[kind] for kind in kinds} == dict.fromkeys(kinds, 2)
    assert left_out["of 20 other kinds"] == 20


@pytest.mark.parametrize("suffix", ["mpo", "apng", "jps", "j2k", "j2c", "jpc", "jpf", "jpx", "avifs", "jif", "jfi"])
def test_less_usual_suffixes_of_decoded_formats_are_listed(tmp_path: Path, suffix: str) -> None:
    name = f"x.{suffix.upper()}"
    for write in (folder, tar, zipped):
        assert names(write(tmp_path / write.__name__, {name}), Choice()) == ({name}, {})


@pytest.mark.parametrize("pattern", ["", "  ", "!", "[a", "/"])
@pytest.mark.parametrize("option", ["--exclude", "--include"])
def test_a_pattern_that_can_match_nothing_is_refused(tmp_path: Path, option: str, pattern: str) -> None:
    choice = Choice((pattern,)) if option == "--exclude" else Choice(include=("*.jpg", pattern))
    with pytest.raises(UsageError, match=f"{option} .* is no pattern: name files"):
        open_source(folder(tmp_path, {"a.jpg"}), choice=choice)


def test_a_list_is_no_place_for_patterns(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\n")
    for source in (str(tmp_path / "list.txt"), "-"):
        with pytest.raises(UsageError, match="names its images itself, and no pattern chooses among them"):
            open_source(source, choice=Choice(("*.png",)))


def made(source: str, job: JobDir, *patterns: Any) -> OpenJob:
    return make_or_open(source, job, Settings(), lambda count: None, Choice(*patterns))


def test_the_patterns_are_the_jobs(tmp_path: Path) -> None:
    source, job = folder(tmp_path / "photos", EVERY_NAME), JobDir(tmp_path / "job")
    job = made(source, job, ("*.png",), ("._a.jpg",))
    assert (job.listed, job.manifest.source.left_out["excluded by *.png"]) == (3, 1)
    assert load_manifest(job) == job.manifest
    assert choice_of(job.manifest.source) == Choice(("*.png",), ("._a.jpg",))
    for again in ((), (("*.png",),), (("*.png",), ("._a.jpg",))):
        assert made(source, job, *again).manifest == job.manifest
    with pytest.raises(JobMismatch, match=r"with exclude '\*.png', not with exclude raw/ exclude '\*.gif'"):
        made(source, job, ("raw/", "*.gif"))
    with pytest.raises(JobMismatch, match="leave the option include out, or name another JOB"):
        made(source, job, (), ("x",))
    plain = JobDir(tmp_path / "plain")
    made(source, plain)
    assert not {"exclude", "include"} & json.loads(plain.spec.read_text())["source"].keys()
    with pytest.raises(JobMismatch, match="were listed with no exclude, not with exclude x,"):
        made(source, plain, ("x",))


@pytest.mark.parametrize("wrong", ["*.png", [1], {"a": 1}, None])
def test_patterns_of_a_manifest_that_are_none_are_damage(tmp_path: Path, wrong: Any) -> None:
    source, job = folder(tmp_path / "photos", PHOTOS), JobDir(tmp_path / "job")
    made(source, job, ("*.png",))
    table = json.loads(job.spec.read_text())
    table["source"]["exclude"] = wrong
    job.spec.write_text(json.dumps(table))
    with pytest.raises(CorruptFile, match=r"job\.json is not a whole manifest"):
        load_manifest(job)


def test_patterns_are_typed_as_options_of_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[Any, ...]] = []
    monkeypatch.setattr("coordinator.commands.index.index_job", lambda *values: said.append(values))
    typed = ["index", str(tmp_path), str(tmp_path / "job"), "--exclude", "*.png", "--include", "a", "--exclude", "b/"]
    assert CliRunner().invoke(application([typed[0]]), typed).exit_code == 0
    assert Choice(("*.png", "b/"), ("a",)) in said[0]
