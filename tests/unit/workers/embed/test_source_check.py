"""A source that is another one by the time that it is read: nothing is written down as lost, and nothing is swapped."""

import io
import os
import shutil
import tarfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.jobs.create import accept_failures, make_or_open
from coordinator.jobs.retry import take_back
from shared.errors import CorruptFile, ImageError, SourceError
from shared.images.location import read_bytes
from shared.job.directory import JobDir
from shared.job.opened import OpenJob
from shared.job.path_list import read_locations
from shared.job.source.files import read_source_files
from shared.settings import Settings
from tests.support.embedders import AnyModel, embed
from tests.support.images.forms import write_folder, write_tar, write_zip

SETTINGS = Settings(partition_size=60, chunk_size=30)


def bmp(seed: int) -> bytes:
    """An image that takes as many bytes as any other of these."""
    done, data = cv2.imencode(".bmp", np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    assert done
    return data.tobytes()


IMAGES = {f"{number:03d}.bmp": bmp(number) for number in range(60)}
BACKWARDS = dict(reversed(IMAGES.items()))
SWAPPED = dict(zip(IMAGES, [*IMAGES.values()][::-1], strict=True))


def write_parquet(path: Path, images: Mapping[str, bytes] = IMAGES) -> Path:
    pq.write_table(pa.table({"image": list(images.values()), "label": list(images)}), path, row_group_size=7)
    return path


WRITERS: dict[str, Callable[..., Path]] = {"tar": write_tar, "zip": write_zip, "parquet": write_parquet}


def made(source: Path, job: JobDir) -> OpenJob:
    return make_or_open(str(source), job, SETTINGS, lambda count: None)


def embedded(job: OpenJob) -> np.ndarray:
    seal = embed(job, embedder=AnyModel(job.manifest))
    assert (seal.embedded, seal.failed) == (60, 0)
    return np.load(job.img_emb(0))


def refused(job: OpenJob, match: str) -> None:
    with pytest.raises(SourceError, match=match):
        embed(job, embedder=AnyModel(job.manifest))
    for number in job.chunk_numbers(0):
        assert set(pq.read_table(job.chunk(0, number))["status"].to_pylist()) == {"ok"}
    assert not job.seal(0).exists()


def again(path: Path, write: Callable[[Path], object]) -> None:
    """Put something else at `path`, changed a second later than what is there."""
    before = path.stat().st_mtime_ns
    write(path)
    os.utime(path, ns=(before + 10**9, before + 10**9))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_folder(folder / "photos", IMAGES)
    return embedded(made(folder / "photos", JobDir(folder / "job")))


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.05, 0.4, 0.75, 0.9])
def test_an_archive_whose_copy_is_still_running_loses_nothing(
    tmp_path: Path, kind: str, share: float, undisturbed: np.ndarray
) -> None:
    path = WRITERS[kind](tmp_path / f"x.{kind}", IMAGES)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(job, f"it had {len(whole):,} bytes when it was listed, and has {int(len(whole) * share):,} now")
    path.write_bytes(whole)
    np.testing.assert_array_equal(embedded(job), undisturbed)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_copy_that_has_its_size_before_its_bytes_loses_nothing(
    tmp_path: Path, kind: str, undisturbed: np.ndarray
) -> None:
    path = WRITERS[kind](tmp_path / f"x.{kind}", IMAGES)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    whole = path.read_bytes()
    again(path, lambda path: path.write_bytes(whole[:40_000] + bytes(len(whole) - 40_000)))
    refused(job, "is not the one that was listed")
    path.write_bytes(whole)
    np.testing.assert_array_equal(embedded(job), undisturbed)


@pytest.mark.parametrize(
    ("kind", "other"),
    # Other pictures under the same names, places and sizes can't be told in a tar, which has no checksums.
    [("tar", BACKWARDS), ("zip", BACKWARDS), ("zip", SWAPPED), ("parquet", BACKWARDS), ("parquet", SWAPPED)],
    ids=["tar-order", "zip-order", "zip-names", "parquet-order", "parquet-names"],
)
def test_an_archive_made_anew_of_the_same_sizes_swaps_nothing(
    tmp_path: Path, kind: str, other: dict[str, bytes], undisturbed: np.ndarray
) -> None:
    path = WRITERS[kind](tmp_path / f"x.{kind}", IMAGES)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    kept = shutil.copy(path, tmp_path / "kept")
    again(path, lambda path: WRITERS[kind](path, other))
    refused(job, "is not the one that was listed")
    shutil.copy(kept, path)
    np.testing.assert_array_equal(embedded(job), undisturbed)


def test_an_archive_made_anew_without_one_member_loses_nothing(tmp_path: Path, undisturbed: np.ndarray) -> None:
    path = write_tar(tmp_path / "x.tar", IMAGES)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    again(path, lambda path: write_tar(path, {name: data for name, data in IMAGES.items() if name != "041.bmp"}))
    refused(job, "is not the one that was listed")
    accept_failures(job, True)
    seal = embed(job, embedder=AnyModel(job.manifest))
    assert (seal.embedded, seal.failed) == (41, 19), "what lies elsewhere now is failed, and no image is another's"
    np.testing.assert_array_equal(np.load(job.img_emb(0)), undisturbed[:41])


def test_two_members_that_changed_places_in_the_middle_of_a_tar_are_noticed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", IMAGES)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    names = [*IMAGES]
    names[30], names[31] = names[31], names[30]
    again(path, lambda path: write_tar(path, {name: IMAGES[name] for name in names}))
    refused(job, r"written to since it was listed \(The file there is 031.bmp now")


@pytest.mark.parametrize("kind", WRITERS)
def test_a_copy_of_an_archive_is_the_same_archive(tmp_path: Path, kind: str, undisturbed: np.ndarray) -> None:
    path = WRITERS[kind](tmp_path / f"x.{kind}", IMAGES)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    again(path, lambda path: shutil.copy(path, tmp_path / "copy") and shutil.copy(tmp_path / "copy", path))
    np.testing.assert_array_equal(embedded(job), undisturbed)


@pytest.mark.parametrize("kind", WRITERS)
def test_images_that_were_bad_all_along_are_failed_rows_of_a_copy_too(tmp_path: Path, kind: str) -> None:
    bad = IMAGES | {"003.bmp": b"no image", "007.bmp": b"", "050.bmp": IMAGES["050.bmp"][:-300]}
    path = WRITERS[kind](tmp_path / f"x.{kind}", bad)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    os.utime(path, ns=(1, 1))
    seal = embed(job, embedder=AnyModel(job.manifest))
    assert (seal.embedded, seal.failed) == (57, 3)


def test_a_tar_that_is_damaged_where_it_lies_costs_the_damaged_image_alone(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", IMAGES)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    member = read_locations(job, job.partition(0))[33].member
    assert member is not None
    state = path.stat()
    with open(path, "rb+") as file:
        file.seek(member.offset)
        file.write(bytes(512))
    os.utime(path, ns=(state.st_mtime_ns, state.st_mtime_ns))  # A disk does not say that it lost something.
    seal = embed(job, embedder=AnyModel(job.manifest))
    assert (seal.embedded, seal.failed) == (59, 1)
    assert pq.read_table(job.errors(0))["status"].to_pylist() == ["vanished"]


def test_an_archive_that_goes_away_in_the_middle_of_a_chunk_loses_nothing(
    tmp_path: Path, undisturbed: np.ndarray
) -> None:
    path = write_tar(tmp_path / "x.tar", IMAGES)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    asked = iter(range(100))

    def take_away() -> bool:
        if next(asked) == 1:  # Some of the first chunk's images were read, and are in memory.
            path.rename(tmp_path / "away")
        return True

    with pytest.raises(SourceError, match="put it back there"):
        embed(job, embedder=AnyModel(job.manifest), keep_going=take_away)
    assert job.chunk_numbers(0) == []
    (tmp_path / "away").rename(path)
    np.testing.assert_array_equal(embedded(job), undisturbed)


def test_an_archive_that_is_back_before_the_chunk_ends_loses_nothing(tmp_path: Path, undisturbed: np.ndarray) -> None:
    path = write_tar(tmp_path / "x.tar", IMAGES)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    path.rename(tmp_path / "away")
    asked = iter(range(100))

    def bring_back() -> bool:
        if next(asked) == 6:
            (tmp_path / "away").rename(path)
        return True

    with pytest.raises(SourceError, match="out of reach for a moment and is back"):
        embed(job, embedder=AnyModel(job.manifest), keep_going=bring_back)
    assert job.chunk_numbers(0) == []
    np.testing.assert_array_equal(embedded(job), undisturbed)


def test_an_archive_that_grows_while_it_is_listed_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", IMAGES)
    job = JobDir(tmp_path / "job")

    def grow(count: int) -> None:
        with open(path, "ab") as file:
            file.write(bytes(10_240))

    with pytest.raises(SourceError, match=r"x.tar changed while it was listed .* wait until it is complete"):
        make_or_open(str(path), job, SETTINGS, grow)
    assert not job.spec.exists()


def test_archives_that_a_list_names_are_known_too(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", IMAGES)
    write_zip(tmp_path / "y.zip", IMAGES)
    (tmp_path / "list.txt").write_text(
        "".join(f"{'xy'[n % 2]}.{('tar', 'zip')[n % 2]}::{n:03d}.bmp\n" for n in range(60))
    )
    job = JobDir(tmp_path / "job")
    job = made(tmp_path / "list.txt", job)
    assert sorted(read_source_files(job)) == [f"{tmp_path}/x.tar", f"{tmp_path}/y.zip"]
    write_tar(tmp_path / "x.tar", dict(list(IMAGES.items())[:5]))
    refused(job, "x.tar is not the one that was listed")


def copied_folder(tmp_path: Path, names: list[str]) -> Path:
    folder = tmp_path / "photos"
    shutil.rmtree(folder, ignore_errors=True)
    return write_folder(folder, {name: IMAGES[name] for name in names})


@pytest.mark.parametrize("there", [1, 9, 20, 29, 31, 40])
def test_a_folder_that_is_not_whole_yet_loses_nothing(tmp_path: Path, there: int, undisturbed: np.ndarray) -> None:
    names = [*IMAGES]
    job = JobDir(tmp_path / "job")
    job = made(copied_folder(tmp_path, names), job)
    copied_folder(tmp_path, names[:there])
    if there == 9:  # The one that is being written has a part of its bytes.
        (tmp_path / "photos" / names[there]).write_bytes(IMAGES[names[there]][:500])
    refused(job, r"of 30 images of one chunk are not there, or not whole .* the option accept_failures")
    assert job.chunk_numbers(0) == ([0] if there > 30 else [])
    copied_folder(tmp_path, names)
    np.testing.assert_array_equal(embedded(job), undisturbed)


def test_a_few_photos_of_a_folder_that_went_are_failed_rows(tmp_path: Path) -> None:
    names = [*IMAGES]
    job = JobDir(tmp_path / "job")
    job = made(copied_folder(tmp_path, names), job)
    copied_folder(tmp_path, names[:15] + names[32:])
    seal = embed(job, embedder=AnyModel(job.manifest))
    assert (seal.embedded, seal.failed) == (43, 17)


def test_photos_that_a_person_says_are_gone_are_failed_rows_until_the_command_is_typed_without_it(
    tmp_path: Path,
) -> None:
    names = [*IMAGES]
    job = JobDir(tmp_path / "job")
    job = made(copied_folder(tmp_path, names), job)
    copied_folder(tmp_path, names[:5])
    accept_failures(job, True)
    accept_failures(job, False)
    refused(job, "the option accept_failures")
    accept_failures(job, True)
    seal = embed(job, embedder=AnyModel(job.manifest))
    assert (seal.embedded, seal.failed) == (5, 55)
    assert set(pq.read_table(job.errors(0))["status"].to_pylist()) == {"vanished"}


def listed_paths(tmp_path: Path, is_there: Callable[[int], bool]) -> Path:
    folder = copied_folder(tmp_path, [name for number, name in enumerate(IMAGES) if is_there(number)])
    (tmp_path / "list.txt").write_text("".join(f"{folder}/{name}\n" for name in IMAGES))
    return tmp_path / "list.txt"


def test_a_list_whose_first_chunk_names_nothing_is_noticed_after_it(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    job = made(listed_paths(tmp_path, lambda number: number >= 30), job)
    refused(job, r"30 of 30 images of one chunk are not there, or not whole \(nothing was read before\)")


def test_a_list_of_which_many_paths_lead_nowhere_is_embedded_as_it_is(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    job = made(listed_paths(tmp_path, lambda number: number % 3 == 0), job)
    seal = embed(job, embedder=AnyModel(job.manifest))
    assert (seal.embedded, seal.failed) == (20, 40)


# Files that are there and are no images, each with the status that one of them has.
NO_IMAGES = {"not-an-image": b"Label,Price\n", "empty": b"", "truncated": IMAGES["000.bmp"][:300]}


@pytest.mark.parametrize("status", NO_IMAGES)
@pytest.mark.parametrize("kind", ["list", "folder", "tar"])
def test_a_source_of_which_nothing_is_an_image_is_noticed_after_a_chunk(tmp_path: Path, status: str, kind: str) -> None:
    files = dict.fromkeys(IMAGES, NO_IMAGES[status])
    folder = write_folder(tmp_path / "photos", files)
    (tmp_path / "list.txt").write_text("".join(f"{folder}/{name}\n" for name in files))
    source = {"list": tmp_path / "list.txt", "folder": folder, "tar": write_tar(tmp_path / "x.tar", files)}[kind]
    job = JobDir(tmp_path / "job")
    job = made(source, job)
    said = rf"All 30 images of one chunk failed, and none was embedded before \(30 {status}\), such as .*000.bmp: "
    if kind == "folder" and status == "truncated":  # What the listing of a folder saw may still be on its way.
        said = "30 of 30 images of one chunk are not there, or not whole"
    refused(job, rf"{said}.* the option accept_failures")
    assert job.chunk_numbers(0) == []
    accept_failures(job, True)
    seal = embed(job, embedder=AnyModel(job.manifest))
    assert (seal.embedded, seal.failed) == (0, 60)
    assert set(pq.read_table(job.errors(0))["status"].to_pylist()) == {status}


@pytest.mark.parametrize("good", [0, 29])
def test_one_image_that_is_embedded_makes_the_others_failed_rows(tmp_path: Path, good: int) -> None:
    files = {name: IMAGES[name] if number == good else b"none" for number, name in enumerate(IMAGES)}
    job = JobDir(tmp_path / "job")
    job = made(write_folder(tmp_path / "photos", files), job)
    seal = embed(job, embedder=AnyModel(job.manifest))
    assert (seal.embedded, seal.failed) == (1, 59)


def test_an_image_that_another_partition_has_embedded_counts(tmp_path: Path) -> None:
    files = {name: IMAGES[name] if number < 30 else b"none" for number, name in enumerate(IMAGES)}
    job = JobDir(tmp_path / "job")
    settings = Settings(partition_size=30, chunk_size=30)
    job = make_or_open(str(write_folder(tmp_path / "photos", files)), job, settings, lambda count: None)
    with pytest.raises(SourceError, match="All 30 images of one chunk failed"):
        embed(job, 1, embedder=AnyModel(job.manifest))
    embed(job, 0, embedder=AnyModel(job.manifest))
    assert embed(job, 1, embedder=AnyModel(job.manifest)).failed == 30


def test_a_chunk_that_fails_otherwise_when_it_is_tried_again_is_failed_rows_again(tmp_path: Path) -> None:
    files = {name: IMAGES[name] if number >= 30 else b"none" for number, name in enumerate(IMAGES)}
    job = JobDir(tmp_path / "job")
    job = made(write_folder(tmp_path / "photos", files), job)
    accept_failures(job, True)
    assert embed(job, embedder=AnyModel(job.manifest)).failed == 30
    accept_failures(job, False)
    assert take_back(job) == {"not-an-image": 30}
    write_folder(tmp_path / "photos", {name: b"" if data == b"none" else data for name, data in files.items()})
    assert embed(job, embedder=AnyModel(job.manifest)).failed == 30
    assert set(pq.read_table(job.errors(0))["status"].to_pylist()) == {"empty"}


LONG = "d" * 90 + "/" + "n" * 90
TAR_NAMES = {
    "plain": ("a.bmp", "b.bmp"),
    "dot-slash": ("./a.bmp", "./b.bmp"),
    "prefix": ("p" * 120 + "/a.bmp", "p" * 120 + "/b.bmp"),
    "long": (f"{LONG}a.bmp", f"{LONG}b.bmp"),
    "long-differing-late": (f"{'x' * 150}a.bmp", f"{'x' * 150}b.bmp"),
    "umlauts": ("ä.bmp", "ö.bmp"),
    "no-utf8": ("\udce4.bmp", "\udcf6.bmp"),
    "exactly-a-field": ("f" * 95 + "a.bmp"[1:], "g" * 95 + "b.bmp"[1:]),
    "member-like": ("c.tar::a.bmp", "c.tar::b.bmp"),
}


def write_named(path: Path, names: tuple[str, str], contents: tuple[bytes, bytes], format: int) -> None:
    with tarfile.open(path, "w", format=format, errors="surrogateescape") as tar:
        for name, data in zip(names, contents, strict=True):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("names", TAR_NAMES.values(), ids=TAR_NAMES)
def test_names_of_a_tar_are_compared_in_every_form_and_no_valid_one_is_refused(
    tmp_path: Path, format: int, names: tuple[str, str]
) -> None:
    path = tmp_path / "x.tar"
    contents = IMAGES["000.bmp"], IMAGES["001.bmp"]
    try:
        write_named(path, names, contents, format)
    except ValueError:
        assert format == tarfile.USTAR_FORMAT  # It can't hold a name as long.
        assert max(map(len, names)) > 100
        return
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    locations = read_locations(job, job.partition(0))
    read = [read_bytes(location.path, 10**6, location.member) for location in locations]
    assert read == list(contents)
    write_named(path, names[::-1], contents[::-1], format)
    for location in locations:
        with pytest.raises(ImageError, match=r"The file there is .* now: the tar changed") as raised:
            read_bytes(location.path, 10**6, location.member)
        assert raised.value.status == "vanished"


def test_a_job_of_an_earlier_version_reads_its_tar_as_before(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", IMAGES)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    table = pq.read_table(job.paths(0))
    members = table["member"].combine_chunks()
    kept = [members.field(name) for name in ("offset", "stored", "size", "method", "crc32")]
    old = pa.StructArray.from_arrays(kept, ["offset", "stored", "size", "method", "crc32"])
    pq.write_table(table.set_column(2, "member", old), job.paths(0))
    job.source_files.unlink()
    locations = read_locations(job, job.partition(0))
    assert [location.member.ahead for location in locations if location.member] == [None] * 60
    assert [read_bytes(location.path, 10**6, location.member) for location in locations] == list(IMAGES.values())


def test_a_zip_whose_two_names_for_a_file_are_written_differently_is_read(tmp_path: Path) -> None:
    """As programs write them: a backslash in one, an old code page in the other. The zip's directory decides."""
    path = write_zip(tmp_path / "x.zip", {"a_0.bmp": IMAGES["000.bmp"], "b_1.bmp": IMAGES["001.bmp"]})
    path.write_bytes(path.read_bytes().replace(b"a_0.bmp", b"a\\0.bmp", 1).replace(b"b_1.bmp", b"\xe1_1.bmp", 1))
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    locations = read_locations(job, job.partition(0))
    assert [location.path.partition("::")[2] for location in locations] == ["a_0.bmp", "b_1.bmp"]
    read = [read_bytes(location.path, 10**6, location.member) for location in locations]
    assert read == [IMAGES["000.bmp"], IMAGES["001.bmp"]]


def test_an_archive_behind_a_url_is_known_by_its_size(undisturbed: np.ndarray, tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    whole = write_tar(tmp_path / "x.tar", IMAGES).read_bytes()
    url = f"memory://{uuid.uuid4().hex}/x.tar"
    fs.pipe(url, whole)
    job = JobDir(tmp_path / "job")
    job = make_or_open(url, job, SETTINGS, lambda count: None)
    fs.pipe(url, whole[: len(whole) // 4])
    refused(job, f"it had {len(whole):,} bytes when it was listed, and has {len(whole) // 4:,} now")
    fs.pipe(url, whole)
    np.testing.assert_array_equal(embedded(job), undisturbed)
    fs.rm(url)


def test_a_worker_that_read_another_parquet_file_reads_the_listed_one_anew(
    tmp_path: Path, undisturbed: np.ndarray
) -> None:
    """Its process stays, and so would the file that it holds open."""
    path = write_parquet(tmp_path / "x.parquet", IMAGES)
    job = JobDir(tmp_path / "job")
    job = made(path, job)
    path.rename(tmp_path / "kept")
    write_parquet(path, BACKWARDS)
    refused(job, "is not the one that was listed")
    (tmp_path / "kept").replace(path)
    np.testing.assert_array_equal(embedded(job), undisturbed)


def test_a_record_that_is_damaged_is_named(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    job = made(write_tar(tmp_path / "x.tar", IMAGES), job)
    job.source_files.write_text("{}\n")
    with pytest.raises(CorruptFile, match=r"source_files.json does not say .* restore it from a copy"):
        embed(job, embedder=AnyModel(job.manifest))
