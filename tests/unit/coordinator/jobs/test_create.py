import fcntl
import json
import os
import sys
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coordinator.jobs import create
from coordinator.jobs.create import make_or_open, require_sizes
from coordinator.local.model_trial import asked_model
from shared.errors import JobBusy, JobMismatch, ModelError, SourceError
from shared.images.paths import to_os_path
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition.features.record import STORED_VERSION
from shared.job.partition.features.wanted import want_features, wanted_features
from shared.models import resolve_model
from shared.models.onnx.one_file import one_file
from shared.settings import Settings
from tests.support.onnx_files import WORDS, linear_file, means_file

SMALL = Settings(partition_size=3, chunk_size=2)


def photos(folder: Path, count: int = 7) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.jpg").touch()
    return folder


def make(source: Path | str, job: JobDir, settings: Settings = SMALL) -> OpenJob:
    return make_or_open(str(source), job, settings, lambda count: None)


def paths_of(job: JobDir) -> list[str]:
    job = open_job(job)
    return [path for partition in job.partitions for path in path_list.read_paths(job, partition)]


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    return JobDir(tmp_path / "jobs" / "job")


def test_a_job_is_made_from_its_source(tmp_path: Path, job: JobDir) -> None:
    source = photos(tmp_path / "photos")
    (source / "notes.txt").touch()
    job = make(source, job)
    assert load_manifest(job) == job.manifest
    assert (
        job.listed,
        job.partition_count,
        job.manifest.partition_size,
        job.manifest.chunk_size,
    ) == (7, 3, 3, 2)
    assert (job.manifest.source.kind, job.manifest.source.location) == ("folder", str(source))
    assert job.manifest.source.left_out == {".txt": 1}
    assert job.manifest.model == resolve_model("efficientnet-lite0")
    assert job.manifest.made_by.startswith("lookalike ")
    assert paths_of(job) == [str(source / f"{number}.jpg") for number in range(7)]
    assert sorted(path.name for path in job.path.iterdir()) == ["job.json", "paths"]


def test_settings_go_into_the_manifest(tmp_path: Path, job: JobDir) -> None:
    settings = Settings(model="efficientnet-b4", max_image_pixels=123, max_image_bytes=456)
    job = make(photos(tmp_path / "photos"), job, settings)
    assert (job.manifest.max_image_pixels, job.manifest.max_image_bytes) == (123, 456)
    assert (job.manifest.model.name, job.manifest.chunk_size) == ("efficientnet-b4", job.manifest.model.chunk_size)


def test_the_same_command_again_opens_the_job_as_it_is(tmp_path: Path, job: JobDir) -> None:
    source = photos(tmp_path / "photos")
    first = make(source, job)
    written = job.spec.stat().st_mtime_ns
    photos(source, 9)  # What the job holds was settled when it was made.
    told: list[int] = []
    again = make_or_open(f"{source}/", job, Settings(), told.append)
    assert again.manifest == first.manifest
    assert (told, job.spec.stat().st_mtime_ns) == ([], written)
    assert make(source, job, Settings(model="efficientnet-lite0")).manifest == first.manifest


def test_the_count_is_told_while_the_images_are_listed(tmp_path: Path, job: JobDir) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{number}.jpg\n" for number in range(2_500)))
    told: list[int] = []
    make_or_open(str(tmp_path / "list.txt"), job, Settings(), told.append)
    assert told == [1_000, 2_000, 2_500]


def test_sizes_that_differ_from_the_jobs_are_refused_and_both_are_named(tmp_path: Path, job: JobDir) -> None:
    job = make(photos(tmp_path / "photos"), job)
    require_sizes(job, None, None)
    require_sizes(job, 3, 2)
    with pytest.raises(JobMismatch, match=r"partitions of 3 images, not of 50,000.*the option partition_size"):
        require_sizes(job, 50_000, 2)
    with pytest.raises(JobMismatch, match=r"chunks of 2 images, not of 1,000.*the option chunk_size"):
        require_sizes(job, None, 1_000)


def test_another_source_is_refused_and_both_are_named(tmp_path: Path, job: JobDir) -> None:
    first, second = photos(tmp_path / "first"), photos(tmp_path / "second")
    (tmp_path / "list.txt").write_text("a.jpg\n")
    make(first, job)
    for other in (second, tmp_path / "list.txt"):
        with pytest.raises(JobMismatch) as refused:
            make(other, job)
        assert str(first) in str(refused.value)
        assert str(other) in str(refused.value)
    with pytest.raises(SourceError, match="There is nothing at"):
        make(tmp_path / "third", job)


def test_another_model_is_refused_and_both_are_named(tmp_path: Path, job: JobDir) -> None:
    source = photos(tmp_path / "photos")
    make(source, job)
    with pytest.raises(JobMismatch) as refused:
        make(source, job, Settings(model="efficientnet-b0"))
    for name in ("efficientnet-lite0", "efficientnet-b0"):
        assert resolve_model(name).fingerprint in str(refused.value)
    with pytest.raises(ModelError, match="no model 'resnet'"):
        make(source, job, Settings(model="resnet"))


@pytest.mark.parametrize(
    ("made", "other", "named"),
    [
        ({}, {"decode": "strict"}, "in the mode reduced, not strict"),
        ({"decode": "strict"}, {"decode": "reduced"}, "in the mode strict, not reduced"),
        ({}, {"precision": "bf16"}, "made in f32, not in bf16"),
        ({"precision": "bf16"}, {"precision": "f32"}, "made in bf16, not in f32"),
    ],
)
def test_decode_mode_and_precision_are_the_jobs_own(
    tmp_path: Path, job: JobDir, made: dict[str, Any], other: dict[str, Any], named: str
) -> None:
    source = photos(tmp_path / "photos")
    job = make(source, job, Settings(**made))
    for settings in (Settings(), Settings(**made), Settings(model="efficientnet-lite0")):
        assert make(source, job, settings).manifest == job.manifest
    with pytest.raises(JobMismatch, match=rf"{named}.*leave the option {next(iter(other))} out, or name another JOB"):
        make(source, job, Settings(**other))
    assert load_manifest(job) == job.manifest


def test_a_strict_job_says_so_in_its_file_and_fingerprint(tmp_path: Path, job: JobDir) -> None:
    job = make(photos(tmp_path / "photos"), job, Settings(decode="strict"))
    table = json.loads(job.spec.read_text())
    assert table["model"]["preprocessing"].endswith("decoded whole, stretched to a square, linear")
    assert job.manifest.model.decode == "strict"
    assert table["fingerprint"] == job.manifest.model.fingerprint != resolve_model("efficientnet-lite0").fingerprint


def test_a_list_that_changed_is_taken_and_one_without_a_common_path_is_refused(tmp_path: Path, job: JobDir) -> None:
    source = tmp_path / "list.txt"
    source.write_text("a.jpg\nb.jpg\n")
    job = make(source, job)
    (tmp_path / "copy.txt").write_text("a.jpg\r\n\r\nb.jpg")
    assert make(tmp_path / "copy.txt", job).manifest == job.manifest
    for text in ("a.jpg\nb.jpg\nc.jpg\n", "b.jpg\na.jpg\n", "a.jpg\n"):
        source.write_text(text)
        assert make(source, job).listed == 2
    for text in ("c.jpg\n", ""):
        source.write_text(text)
        with pytest.raises(JobMismatch, match=r"a list of 2 paths .*list\.txt.* \([01] paths\) has none of them"):
            make(source, job)


def test_a_frozen_job_takes_its_own_list_alone(tmp_path: Path, job: JobDir) -> None:
    source = tmp_path / "list.txt"
    source.write_text("a.jpg\nb.jpg\n")
    make_or_open(str(source), job, Settings(), lambda count: None, frozen=True)
    assert json.loads(job.spec.read_text())["frozen"] is True
    assert make(source, job).manifest.frozen
    source.write_text("a.jpg\nb.jpg\nc.jpg\n")
    with pytest.raises(JobMismatch, match=r"a list of 2 paths .*list\.txt.* differs from it \(3 paths\)"):
        make(source, job)


def test_standard_input_resumes_with_a_list_that_has_some_of_its_paths(
    tmp_path: Path, job: JobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give(text: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=BytesIO(text)))

    give(b"/a.jpg\n/b.jpg\n")
    job = make("-", job)
    give(b"/a.jpg\n/b.jpg\n")
    assert make("-", job).manifest == job.manifest
    give(b"/a.jpg\n")
    assert make("-", job).manifest == job.manifest
    give(b"/c.jpg\n")
    with pytest.raises(JobMismatch, match="a stdin of 2 paths"):
        make("-", job)


def test_a_source_without_images_leaves_nothing_behind(tmp_path: Path, job: JobDir) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    (source / "a.txt").touch()
    with pytest.raises(SourceError, match=r"photos holds no images \(left out: 1 \.txt\): name a folder"):
        make(source, job)
    assert not job.path.exists()


@pytest.mark.parametrize("settings", [Settings(model="resnet"), Settings(weights=Path("gone.h5"))])
def test_an_impossible_model_leaves_nothing_behind(tmp_path: Path, job: JobDir, settings: Settings) -> None:
    with pytest.raises(ModelError):
        make(photos(tmp_path / "photos"), job, settings)
    assert not job.path.exists()


def test_a_listing_that_breaks_off_makes_no_job_and_the_next_one_starts_over(tmp_path: Path, job: JobDir) -> None:
    source = tmp_path / "list.txt"
    source.write_bytes(b"".join(b"%d.jpg\n" % number for number in range(20)) + b"\0\n")
    with pytest.raises(SourceError, match="Line 21"):
        make(source, job)
    assert not job.spec.exists()
    assert job.paths_numbers() == [0, 1, 2, 3, 4, 5]
    source.write_text("a.jpg\n")
    assert make(source, job).manifest.partition_count == 1
    assert sorted(path.name for path in job.paths_dir.iterdir()) == ["paths_0000.parquet"]


def test_a_directory_that_is_no_job_loses_nothing(tmp_path: Path, job: JobDir) -> None:
    (job.path / "paths").mkdir(parents=True)
    (job.path / "paths" / "mine.txt").write_text("precious")
    (job.path / "thesis.tex").write_text("precious")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SourceError):
        make(empty, job)
    make(photos(tmp_path / "photos"), job)
    assert (job.path / "paths" / "mine.txt").read_text() == (job.path / "thesis.tex").read_text() == "precious"


# Weights that a person gave.


def keras_file(path: Path, size: int = 64) -> Path:
    layers = [
        {"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [None, size, size, 3]}},
        {"class_name": "Dense", "config": {"name": "out", "units": 32}},
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": layers}}))
    return path


def test_a_model_given_as_a_file_lies_in_the_job_and_outlives_the_original(tmp_path: Path, job: JobDir) -> None:
    source, model = photos(tmp_path / "photos"), keras_file(tmp_path / "mine.keras")
    content, settings = model.read_bytes(), Settings(model=str(model))
    job = make(source, job, settings)
    assert (job.manifest.model.weights_file, job.manifest.model.image_size, job.manifest.model.dim) == (
        "mine.keras",
        64,
        32,
    )
    assert (job.model_dir / "mine.keras").read_bytes() == content
    model.unlink()
    assert make(source, job, settings).manifest == job.manifest
    assert make(source, job, Settings()).manifest == job.manifest
    keras_file(tmp_path / "mine.keras", 96)
    with pytest.raises(JobMismatch, match="was made with the model custom@"):
        make(source, job, settings)


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started to try an ONNX file; tests of `coordinator.local.model_trial` start one."""
    monkeypatch.setattr(create, "tried", lambda spec, settings: replace(spec, dim=12))


@pytest.mark.usefixtures("untried")
def test_an_onnx_file_lies_in_the_job_with_what_was_said_of_it_and_outlives_the_original(
    tmp_path: Path, job: JobDir
) -> None:
    source, model = photos(tmp_path / "photos"), means_file(tmp_path / "mine.onnx", outputs=["vector", "map"])
    content = model.read_bytes()
    settings = Settings(model=str(model), model_input=WORDS, model_output="vector")
    job = make(source, job, settings)
    made = job.manifest.model
    assert (made.name, made.weights_file, made.image_size, made.dim) == ("onnx", "mine.onnx", 32, 12)
    assert (made.input, made.output) == (f"32 NCHW {WORDS}", "vector")
    assert (job.model_dir / "mine.onnx").read_bytes() == content
    model.unlink()
    same = (
        settings,
        Settings(),
        Settings(model=str(model)),
        Settings(model_input=f"NCHW {WORDS}"),
        Settings(model_output="vector"),
    )
    for one in same:
        assert make(source, job, one).manifest == job.manifest


@pytest.mark.usefixtures("untried")
def test_weights_beside_an_onnx_file_come_into_the_job_with_it(tmp_path: Path, job: JobDir) -> None:
    source, model = photos(tmp_path / "photos"), linear_file(tmp_path / "mine.onnx", beside="mine.onnx.data")
    settings, whole = Settings(model=str(model)), b"".join(one_file(model))
    job = make(source, job, settings)
    assert [path.name for path in job.model_dir.iterdir()] == ["mine.onnx"]
    assert (job.model_dir / "mine.onnx").read_bytes() == whole
    assert make(source, job, settings).manifest == job.manifest
    (tmp_path / "mine.onnx.data").write_bytes((tmp_path / "mine.onnx.data").read_bytes()[::-1])
    with pytest.raises(JobMismatch, match=r"of mine\.onnx, and .* is another"):
        make(source, job, settings)
    model.unlink()
    (tmp_path / "mine.onnx.data").unlink()
    assert make(source, job, settings).manifest == job.manifest


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"model_input": "BGR scale=1/255"},
            r"onnx@\w+ \(32 NCHW RGB scale=1/255; vector\), not with onnx@\w+ \(32 NCHW BGR",
        ),
        ({"model_output": "point"}, r"; vector\), not with onnx@\w+ \(.*; point\)"),
        ({"model": "efficientnet-lite0"}, "not with efficientnet-lite0@"),
        ({"model": "other.onnx"}, r"of mine\.onnx, and .*other\.onnx is another"),
        ({"model": "text.onnx"}, r"of mine\.onnx, and .*text\.onnx is another"),
    ],
)
def test_another_onnx_file_or_another_way_into_it_is_another_model(
    tmp_path: Path, job: JobDir, change: dict[str, Any], said: str
) -> None:
    source, model = photos(tmp_path / "photos"), means_file(tmp_path / "mine.onnx", outputs=["vector", "point"])
    made = make(source, job, Settings(model=str(model), model_input=WORDS, model_output="vector"))
    means_file(tmp_path / "other.onnx", layout="NHWC", outputs=["vector"])
    (tmp_path / "text.onnx").write_text("no model at all")
    if change.get("model", "").endswith(".onnx"):
        change = {"model": str(tmp_path / change["model"])}
    with pytest.raises(JobMismatch, match=said) as refused:
        make(source, made, Settings(**change))
    assert refused.value.remedy is not None
    assert set(refused.value.remedy.given) == set(change)
    assert open_job(job).manifest == made.manifest


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize(
    "settings",
    [
        {"model_input": "RGB"},
        {"model_input": WORDS, "model_output": "nothing"},
        {"model_input": WORDS, "weights": Path("w.h5")},
        {"model_input": WORDS, "precision": "f16"},
    ],
)
def test_an_onnx_file_that_too_little_is_known_of_leaves_nothing_behind(
    tmp_path: Path, job: JobDir, settings: dict[str, Any]
) -> None:
    model = means_file(tmp_path / "mine.onnx")
    with pytest.raises(ModelError):
        make(photos(tmp_path / "photos"), job, Settings(model=str(model), **settings))
    assert not job.path.exists()


def test_an_onnx_file_that_fails_its_trial_leaves_nothing_behind(
    tmp_path: Path, job: JobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("It sees nothing.")

    monkeypatch.setattr(create, "tried", refuse)
    settings = Settings(model=str(means_file(tmp_path / "mine.onnx")), model_input=WORDS)
    with pytest.raises(ModelError, match="It sees nothing"):
        make(photos(tmp_path / "photos"), job, settings)
    assert not job.path.exists()


@pytest.mark.usefixtures("untried")
def test_a_model_that_changes_while_it_is_copied_makes_no_job(
    tmp_path: Path, job: JobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = means_file(tmp_path / "mine.onnx")

    monkeypatch.setattr(create, "one_file", lambda path: iter([model.read_bytes()[:100]]))
    with pytest.raises(ModelError, match=r"mine\.onnx changed while it was copied"):
        make(photos(tmp_path / "photos"), job, Settings(model=str(model), model_input=WORDS))
    assert not job.spec.exists()
    assert not list(job.model_dir.iterdir())


def test_weights_given_as_a_file_lie_in_the_job_and_outlive_the_original(tmp_path: Path, job: JobDir) -> None:
    source, weights = photos(tmp_path / "photos"), tmp_path / "b0_notop.h5"
    weights.write_bytes(b"weights")
    settings = Settings(model="efficientnet-b0", weights=weights)
    job = make(source, job, settings)
    assert (job.model_dir / "b0_notop.h5").read_bytes() == b"weights"
    weights.unlink()
    assert make(source, job, settings).manifest == job.manifest
    with pytest.raises(ModelError, match=r"other\.h5 does not exist"):
        make(source, job, Settings(model="efficientnet-b0", weights=tmp_path / "other.h5"))
    weights.write_bytes(b"other weights")
    with pytest.raises(JobMismatch):
        make(source, job, settings)


def test_packaged_weights_are_not_copied(tmp_path: Path, job: JobDir) -> None:
    make(photos(tmp_path / "photos"), job)
    assert not job.model_dir.exists()


# Two coordinators at once.


def test_a_job_that_another_coordinator_is_making_is_busy_and_stays_its_own(tmp_path: Path, job: JobDir) -> None:
    source = photos(tmp_path / "photos")
    job.path.mkdir(parents=True)
    with open(job.creation_lock, "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for _ in range(2):  # Who is sent away must not take the other's lock along.
            with pytest.raises(JobBusy, match="is listing the images"):
                make(source, job)
    assert not job.spec.exists()
    assert make(source, job).manifest.listed == 7


def test_a_job_that_is_made_needs_no_lock(tmp_path: Path, job: JobDir) -> None:
    source = photos(tmp_path / "photos")
    job = make(source, job)
    with open(job.creation_lock, "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert make(source, job).manifest == job.manifest


def test_a_lock_on_a_file_that_has_gone_keeps_nobody_out_and_is_taken_anew(
    tmp_path: Path, job: JobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, locked = fcntl.flock, []

    def lock_too_late(handle: int, operation: int) -> None:
        flock(handle, operation)
        locked.append(os.fstat(handle).st_ino)
        if len(locked) == 1:
            job.creation_lock.unlink()

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    assert make(photos(tmp_path / "photos"), job).manifest.listed == 7
    assert len(locked) == 2
    assert not job.creation_lock.exists()


def test_a_file_system_without_locks_is_no_obstacle(
    tmp_path: Path, job: JobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert make(photos(tmp_path / "photos"), job).manifest.listed == 7


def test_of_two_coordinators_that_make_one_job_where_there_are_no_locks_both_go_on_with_the_first_ones_identity(
    tmp_path: Path, job: JobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    source, resolve, made = photos(tmp_path / "photos"), asked_model, []

    def meanwhile(*asked: Any) -> Any:
        if not made:
            made.append(None)
            made.append(make(source, job))
        return resolve(*asked)

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(create, "asked_model", meanwhile)
    assert make(source, job).manifest == made[1].manifest == load_manifest(job)


def test_a_disk_that_is_full_leaves_no_job(tmp_path: Path, job: JobDir, monkeypatch: pytest.MonkeyPatch) -> None:
    source, written = photos(tmp_path / "photos"), path_list.write_paths

    def write(job: JobDir, partition: Any, *columns: Any) -> None:
        if partition.number == 1:
            raise OSError(28, "No space left on device")
        written(job, partition, *columns)

    with monkeypatch.context() as patch:
        patch.setattr(path_list, "write_paths", write)
        with pytest.raises(OSError, match="No space left"):
            make(source, job)
    assert not job.spec.exists()
    assert make(source, job).manifest.listed == 7
    assert len(paths_of(job)) == 7


def test_paths_of_any_bytes_and_length_are_kept_byte_for_byte(tmp_path: Path, job: JobDir) -> None:
    names = [b"new line.jpg", "snow \u2603 \U0001f600.jpg".encode(), b"\xff\xfe.jpg", b"n" * 4_000, b"m" * 60_000]
    (tmp_path / "list.txt").write_bytes(b"".join(b"/photos/" + name + b"\n" for name in names))
    make(tmp_path / "list.txt", job)
    assert [os.fsencode(to_os_path(path)) for path in paths_of(job)] == [b"/photos/" + name for name in names]
    assert make(tmp_path / "list.txt", job).manifest.listed == 5


def test_what_is_left_out_is_in_the_manifest_by_its_reason(tmp_path: Path, job: JobDir) -> None:
    source = photos(tmp_path / "photos")
    (source / "loop").symlink_to(source)
    (source / "zero.jpg").symlink_to("/dev/zero")
    os.mkfifo(source / "pipe.jpg")
    assert make(source, job).manifest.source.left_out == {"link to a folder above itself": 1, "not a regular file": 2}
    assert load_manifest(job).source.left_out == {"link to a folder above itself": 1, "not a regular file": 2}


def test_a_source_whose_mount_goes_away_while_it_is_listed_makes_no_job(
    tmp_path: Path, job: JobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "photos"
    for name in "abc":
        photos(source / name)
    scandir = os.scandir

    def unmounted_at_b(folder: bytes) -> object:
        if folder.endswith(b"/b"):
            source.rename(tmp_path / "gone")
            source.mkdir()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", unmounted_at_b)
    with pytest.raises(SourceError, match=r"photos/b can't be listed"):
        make(source, job)
    assert not job.spec.exists()
    monkeypatch.undo()
    source.rmdir()
    (tmp_path / "gone").rename(source)
    assert make(source, job).manifest.listed == 21


def test_features_are_stored_where_that_was_asked_for_and_what_was_killed_asks_for_none(
    tmp_path: Path, job: JobDir
) -> None:
    source = photos(tmp_path / "photos")
    want_features(job)  # As one that was killed before job.json leaves it.
    assert wanted_features(make(source, job)) is None
    other = make(source, JobDir(tmp_path / "jobs" / "other"), Settings(copies="on"))
    assert wanted_features(other) == STORED_VERSION
    assert load_manifest(other).model == load_manifest(job).model, "the fingerprint is that of embeddings alone"
