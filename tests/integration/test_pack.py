"""`lookalike pack`: real processes killed in the middle of a tar, a full disk, and the pack as a source."""

import json
import os
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from coordinator.sources.resolve import open_source
from tests.integration.faults.faults import Faults, light_model
from tests.support.images.photographs import make_photos
from tests.support.processes import Process, children_of, commands_with, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)

TAR_UNDER_WAY = "*/.photos-00002.tar.*"
OPTIONS = ("--images-per-tar", "9", "--longest", "200", "--threads", "3")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty photographs, every tenth small enough to keep its bytes, and one that is cut short."""
    folder = tmp_path_factory.mktemp("to pack") / "photos"
    make_photos(folder, 36)
    make_photos(folder / "small", 4, (100, 120))
    whole = (folder / "photo_00003.jpg").read_bytes()
    (folder / "photo_00003.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="module")
def undisturbed(few: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All files of a pack that nothing happened to."""
    directory = tmp_path_factory.mktemp("undisturbed") / "pack"
    done = run("pack", few, directory, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "39 of 40 images packed, 1 failed" in done.stderr
    return everything(directory)


def everything(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def written_aside(directory: Path) -> list[Path]:
    return [path for path in directory.rglob(".*.tmp") if path.is_file()]


@pytest.mark.parametrize("who", ["coordinator and packer", "packer", "coordinator"])
def test_a_pack_killed_in_the_middle_of_a_tar_goes_on_to_the_bytes_of_an_undisturbed_one(
    few: Path, undisturbed: dict[str, bytes], tmp_path: Path, start: Callable[..., Process], who: str
) -> None:
    faults, directory = Faults(tmp_path / "faults"), tmp_path / "pack"
    held = faults.on_file("write", TAR_UNDER_WAY, do="wait", after=6)
    killed = start("pack", few, directory, *OPTIONS, env=environment() | faults.environment())
    wait_until(lambda: held.reached, "the third tar is being written")
    packer = held.pids[0]
    assert packer != killed.popen.pid
    tars = {path.name: path.stat().st_mtime_ns for path in directory.glob("*.tar")}
    assert sorted(tars) == ["photos-00000.tar", "photos-00001.tar"]
    assert len(written_aside(directory)) == 1
    for pid in {"coordinator and packer": [killed.popen.pid, packer], "packer": [packer]}.get(who, [killed.popen.pid]):
        os.kill(pid, signal.SIGKILL)
    assert killed.wait() == (1 if who == "packer" else -signal.SIGKILL)
    if who == "packer":
        assert "ended with signal SIGKILL" in killed.output
    held.lift()
    wait_until(lambda: not commands_with(str(directory)), "the packer has ended")

    done = run("pack", few, directory, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert everything(directory) == undisturbed
    assert {name: (directory / name).stat().st_mtime_ns for name in tars} == tars, "what was whole is not written again"


def test_ctrl_c_drops_the_tar_under_way_and_says_how_to_go_on(
    few: Path, undisturbed: dict[str, bytes], tmp_path: Path, start: Callable[..., Process]
) -> None:
    faults, directory = Faults(tmp_path / "faults"), tmp_path / "pack"
    held = faults.on_file("write", TAR_UNDER_WAY, do="wait", after=6)
    interrupted = start("pack", few, directory, *OPTIONS, env=environment() | faults.environment())
    wait_until(lambda: held.reached, "the third tar is being written")
    threads = Path(f"/proc/{held.pids[0]}/task")
    before = len(list(threads.iterdir()))
    interrupted.kill(signal.SIGINT)
    wait_until(lambda: "Stopping" in interrupted.output, "it says that it stops")
    # The thread that waits for the word to stop ends with it.
    wait_until(lambda: len(list(threads.iterdir())) < before, "the packer knows that it is to stop")
    held.lift()
    assert interrupted.wait() == 130, interrupted.output
    assert f"Interrupted. 18 of 40 images are packed in {directory}" in interrupted.output
    assert "Go on with:  lookalike pack" in interrupted.output
    assert written_aside(directory) == []
    assert run("pack", few, directory, *OPTIONS).returncode == 0
    assert everything(directory) == undisturbed


def test_a_disk_that_is_full_for_a_moment_leaves_nothing_half(
    few: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    faults, directory = Faults(tmp_path / "faults"), tmp_path / "pack"
    fault = faults.on_file("write", TAR_UNDER_WAY, do="half", error="ENOSPC", after=6)
    full = run("pack", few, directory, *OPTIONS, env=environment() | faults.environment())
    assert full.returncode == 1
    assert fault.reached
    assert "does not take the pack (No space left on device): make room, and run the same command" in full.stderr
    assert written_aside(directory) == []
    assert len(list(directory.glob("*.tar"))) == 2
    assert run("pack", few, directory, *OPTIONS).returncode == 0
    assert everything(directory) == undisturbed


def test_a_tar_that_was_half_copied_by_a_mount_without_renames_is_written_again(
    few: Path, undisturbed: dict[str, bytes], tmp_path: Path, start: Callable[..., Process]
) -> None:
    faults, directory = Faults(tmp_path / "faults"), tmp_path / "pack"
    faults.on_file("replace", "*/photos-00001.tar", do="copy", seconds=60)
    killed = start("pack", few, directory, *OPTIONS, env=environment() | faults.environment())
    half = directory / "photos-00001.tar"
    wait_until(lambda: half.is_file() and 0 < half.stat().st_size < len(undisturbed[half.name]), "half of it is there")
    packer = children_of(killed.popen.pid)[0]
    for pid in (killed.popen.pid, packer):
        os.kill(pid, signal.SIGKILL)
    killed.wait()
    assert run("pack", few, directory, *OPTIONS).returncode == 0
    assert everything(directory) == undisturbed


def test_a_pack_is_a_source_and_gives_what_the_folder_gives(few: Path, tmp_path: Path) -> None:
    packed = tmp_path / "pack"
    done = run("pack", few, packed, "--images-per-tar", "9")
    assert done.returncode == 0, done.stderr
    for row in pq.read_table(packed / "pack.parquet").to_pylist():
        with tarfile.open(packed / row["tar"]) as tar:
            data = tar.extractfile(row["member"])
            assert data is not None
            assert data.read() == Path(row["image_path"]).read_bytes()
    assert len(list(open_source(str(packed)))) == 40
    env = environment() | light_model()
    (tmp_path / "jobs").mkdir()
    rows = {}
    for source, job in ((few, "of-folder"), (packed, "of-pack")):
        indexed = run("index", source, tmp_path / "jobs" / job, env=env)
        assert indexed.returncode == 0, indexed.stderr
        table = pq.read_table(tmp_path / "jobs" / job / "metadata")
        rows[job] = [(row["id"], row["sha256"], row["width"]) for row in table.to_pylist()]
        status = json.loads(run("status", tmp_path / "jobs" / job, "--json").stdout)
        assert (status["embedded"], status["failed"]) == (39, 1)
    assert rows["of-pack"] == rows["of-folder"]
    embeddings = [(tmp_path / "jobs" / job / "img_emb" / "img_emb_0000.npy").read_bytes() for job in rows]
    assert embeddings[0] == embeddings[1]
