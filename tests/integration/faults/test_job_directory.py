"""The job's disk: full, read-only, failing, damaged, or a mount that renames in steps and lists late."""

import json
import os
import signal
from pathlib import Path

import pytest

from shared.job.directory import JobDir
from shared.job.index import builds
from tests.integration.faults.bench import IMAGES, Bench, bytes_of
from tests.support.processes import QUICK, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def test_a_disk_that_is_full_for_a_moment_leaves_nothing_half_and_costs_no_image(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    faults = [
        bench.faults.on_file("write", "*/chunks/0000/.0003.parquet.*", do="half", error="ENOSPC", times=1),
        bench.faults.on_file("write", "*/img_emb/*", do="half", error="ENOSPC", times=1),
        bench.faults.on_file("write", "*/ledger/*", do="half", error="EIO", times=1),
        bench.faults.on_file("fsync", "*/metadata/*", error="EIO", times=1),
    ]
    again = bench.faults.on_step("embed_partition", do="wait", after=1)
    worker = bench.worker("embed")
    bench.ask()
    bench.reached(faults[0])
    wait_until(lambda: "No space left on device" in worker.output, "the worker says so")
    bench.reached(again)
    assert 3 not in bench.committed()
    again.lift()
    wait_until(bench.sealed, "the partition is sealed")
    assert all(fault.reached == 1 for fault in faults)
    assert bytes_of(bench.job) == undisturbed
    assert "Traceback" not in worker.output
    wait_until(lambda: not bench.job.chunk_dir(0).exists(), "the chunks are gone")
    wait_until(lambda: bench.job.known(0).exists(), "other partitions know of its images")  # The last that is written.
    assert not list(bench.job.path.rglob("*.tmp"))


def test_a_disk_that_does_not_answer_for_a_moment_costs_no_committed_chunk(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    """EIO on reading at the seal, and on the path list: tried again, and not taken for damage."""
    bench.faults.on_file("read", "*/paths/*", error="EIO", times=1)
    seal = bench.faults.on_file("read", "*/chunks/0000/0007.parquet", error="EIO", times=1)
    commits = bench.faults.on_step("commit_chunk", do="sleep", seconds=0.0)
    worker = bench.worker("embed")
    bench.ask()
    wait_until(bench.sealed, "the partition is sealed")
    assert seal.reached == 1
    assert commits.reached == 24, "no chunk was embedded twice"
    assert bytes_of(bench.job) == undisturbed
    assert "Traceback" not in worker.output


def test_chunks_damaged_before_the_seal_are_embedded_again_and_no_others(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    before_seal = bench.faults.on_step("seal_partition", do="wait")
    commits = bench.faults.on_step("commit_chunk", do="sleep", seconds=0.0)
    worker = bench.worker("embed")
    bench.ask()
    bench.reached(before_seal)
    chunk = {number: bench.job.chunk(0, number) for number in bench.committed()}
    assert len(chunk) == 24
    flip_a_bit(chunk[1])
    cut_short(chunk[2])
    chunk[3].unlink()
    chunk[4].write_bytes(b"")
    chunk[5].write_bytes(chunk[6].read_bytes())  # Whole, but of other images.
    before_seal.lift()
    wait_until(bench.sealed, "the partition is sealed")
    assert commits.reached == 24 + 5
    assert bytes_of(bench.job) == undisturbed
    assert "Traceback" not in worker.output


def test_sealed_files_without_their_marker_are_written_again(bench: Bench, undisturbed: dict[str, str]) -> None:
    killed = bench.faults.on_file("link", "*/ledger/0000.json", do="kill", times=1)
    first = bench.worker("embed", name="first")
    bench.ask()
    assert first.wait() == -signal.SIGKILL
    assert killed.reached == 1
    assert bench.job.img_emb(0).is_file()
    assert not bench.sealed()
    flip_a_bit(bench.job.img_emb(0))  # Without a marker no one has promised anything of it.
    bench.worker("embed", name="second")
    wait_until(bench.sealed, "the partition is sealed")
    assert bytes_of(bench.job) == undisturbed


def test_a_read_only_job_ends_in_a_sentence_and_goes_on_when_it_can_be_written(
    bench: Bench, photos: Path, undisturbed: dict[str, str]
) -> None:
    read_only = [bench.faults.on_file(op, "*/job/*", error="EROFS") for op in ("open-write", "mkdir")]
    env = environment(**QUICK) | bench.faults.environment(light=True)
    done = run("index", photos, bench.job.path, env=env)
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert bench.committed() == []
    for fault in read_only:
        fault.lift()
    assert run("index", photos, bench.job.path, env=env).returncode == 0
    assert bytes_of(bench.job) == undisturbed


def test_on_a_mount_without_hard_links_atomic_renames_and_prompt_listings_nothing_is_lost_or_double(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    """As Drive mounts do it: a link is refused, a rename is a copy in two steps, a listing is a second late."""
    bench.faults.on_file("link", "*/job/*", error="EPERM")
    bench.faults.on_file("replace", "*/job/*", do="copy", seconds=0.05)
    bench.faults.on_file("listdir", "*/job*", do="lag", seconds=1.0)
    slow = bench.faults.environment(light=True, seconds_per_batch=0.1)
    first, second, merge = bench.ready(
        bench.begin_worker("embed", name="first", faults=slow),
        bench.begin_worker("embed", name="second"),
        bench.begin_worker("merge", name="merge"),
    )
    held = bench.faults.on_step("commit_chunk", do="wait", after=3, times=1)
    coordinator = bench.coordinator()
    wait_until(lambda: held.reached, "three chunks are committed")
    holder = next(process for process in (first, second) if process.popen.pid in held.pids)
    holder.kill()
    assert coordinator.wait() == 0, coordinator.output
    assert bytes_of(bench.job) == undisturbed
    assert bench.promoted()
    for process in (first, second, merge, coordinator):
        assert "Traceback" not in process.output


def test_verify_names_the_damage_repair_takes_it_back_and_index_does_it_again(
    bench: Bench,
    photos: Path,
    undisturbed_job: JobDir,
    undisturbed: dict[str, str],
) -> None:
    copy_of(undisturbed_job, bench.job)
    what = "img_emb/img_emb_0000.npy"
    env = environment(**QUICK) | bench.faults.environment(light=True)
    flip_a_bit(bench.job.path / what)
    found = run("verify", bench.job.path, env=env)
    assert found.returncode == 1
    assert what in found.stdout
    assert run("repair", bench.job.path, env=env).returncode == 0
    assert not bench.sealed()
    done = run("index", photos, bench.job.path, env=env)
    assert done.returncode == 0, done.stderr
    assert bytes_of(bench.job) == undisturbed
    assert run("verify", bench.job.path, env=env).returncode == 0
    assert bench.promoted()


def copy_of(job: JobDir, into: JobDir) -> None:
    """The files of a finished job in the place of another one of the same images."""
    for path in sorted(job.path.rglob("*")):
        target = into.path / path.relative_to(job.path)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif path.name != "job.json":
            target.write_bytes(path.read_bytes())
    assert json.loads(into.spec.read_text())["listed"] == IMAGES
    assert builds.current_info(into) is not None
