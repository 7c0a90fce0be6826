"""`lookalike index` and `search` on one machine, nothing given: embedded broker, worker processes of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from coordinator.local.broker import EmbeddedBroker, _guards, runtime_directory
from shared.job.directory import JobDir
from tests.integration.faults.faults import Fault, Faults, light_model
from tests.support.images.photographs import make_photos
from tests.support.images.scenes import scene
from tests.support.onnx_files import WORDS, means_file
from tests.support.processes import (
    LOOKALIKE,
    PATIENCE_SECONDS,
    Process,
    children_of,
    commands_with,
    environment,
    run,
    wait_until,
)

pytestmark = pytest.mark.timeout(600)


def light() -> dict[str, str]:
    """The environment of commands with a light model: tests/acceptance has that of the README."""
    return environment() | light_model()


@pytest.fixture(scope="module")
def finished(few_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job over the few photographs, made by one `lookalike index` without a broker."""
    job = tmp_path_factory.mktemp("jobs") / "few"
    done = run("index", few_photos, job, env=light())
    assert done.returncode == 0, done.stderr
    assert "Search it:  lookalike search" in done.stderr
    return job


def embed_workers(root: Path) -> list[int]:
    """The embed workers that a coordinator of this jobs root has started."""
    return [pid for pid, _ in commands_with("--queues embed") if runs_for(root, pid)]


def runs_for(root: Path, pid: int) -> bool:
    try:
        return f"LOOKALIKE_JOBS_ROOT={root}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def knows_of_the_death(root: Path) -> bool:
    """Whether a worker that a coordinator of this jobs root has started knows that its coordinator is gone."""
    logs = (runtime_directory(root) / "logs").glob("embed*.log")
    return any("The coordinator is gone" in log.read_text(errors="replace") for log in logs)


def ended(server: str) -> bool:
    """Whether a broker and its guard have ended; takes the exit status of guards that this process started."""
    for guard in _guards:
        guard.poll()
    return not commands_with(server)


def leftovers(root: Path) -> list[str]:
    """What still runs for a jobs root: its broker, or workers."""
    broker = [args for _, args in commands_with(str(runtime_directory(root)))]
    return broker + [args for pid, args in commands_with("finding.py workers --queues") if runs_for(root, pid)]


def test_index_embeds_what_it_can_and_lists_the_rest_with_a_reason(finished: Path) -> None:
    errors = pq.read_table(finished / "errors" / "errors_0000.parquet").to_pylist()
    by_name = {Path(row["image_path"]).name: row["status"] for row in errors}
    assert by_name == {
        "empty.jpg": "empty",
        "text.jpg": "not-an-image",
        "truncated.jpg": "truncated",
        "vanished.jpg": "vanished",
    }
    assert all(row["error_message"] for row in errors)


def test_index_leaves_no_process_behind(finished: Path) -> None:
    wait_until(lambda: not leftovers(finished.parent), "broker and workers have ended")


def test_status_json_has_the_promised_shape(finished: Path) -> None:
    status = json.loads(run("status", finished, "--json").stdout)
    index, broker, sources, measured = (status.pop(key) for key in ("index", "broker", "sources", "calibration"))
    assert [source.keys() for source in sources] == [{"kind", "location"}]
    assert (broker["reachable"], broker["holders"], broker["waiting"]) == (False, [], 0)
    assert "No embedded broker runs here" in broker["error"]
    assert status == {
        "job": str(finished),
        "model": status["model"],
        "listed": 64,
        "embedded": 60,
        "failed": 4,
        "pending": 0,
        "removed": 0,
        "purged": 0,
        "reclaimable_bytes": 0,
        "beside_index": 0,
        "partitions": {"sealed": 1, "started": 0, "waiting": 0},
        "images_per_second": None,
        "eta_seconds": None,
        "bottleneck": None,
        "busy": None,
        "refused": None,
        "bundle": None,
        "filling": None,
        "copies": None,
        "fusion": None,
    }
    assert (measured["measured"], measured["images"], measured["verdicts"]["false"]) == ("published", 60, 0)
    assert status["model"].startswith("efficientnet-lite0@")
    assert index.keys() == {"build", "ntotal", "type", "recall_at_10", "p50_ms", "shards"}
    assert (index["ntotal"], index["recall_at_10"]) == (60, 1.0)


@pytest.fixture(scope="module")
def searched(finished: Path, few_photos: Path) -> "subprocess.CompletedProcess[str]":
    """One `lookalike search` without a broker, of two images of the job and of two files that can't be asked for."""
    good, bad = [few_photos / "photo_00007.jpg", few_photos / "photo_00042.jpg"], finished / "nowhere.jpg"
    return run("search", finished, few_photos / "text.jpg", *good, bad, "-k", "3", "--json", env=light())


def test_search_starts_a_query_worker_for_itself_and_finds_the_image(
    searched: "subprocess.CompletedProcess[str]", finished: Path, few_photos: Path
) -> None:
    queries = [few_photos / "photo_00007.jpg", few_photos / "photo_00042.jpg"]
    answers = json.loads(searched.stdout)[1:3]
    assert [answer["query"] for answer in answers] == [str(query) for query in queries]
    for query, answer in zip(queries, answers, strict=True):
        assert answer.keys() == {"query", "hits", "milliseconds", "verified", "searched", "answered_by"}
        assert answer["answered_by"]["job"] == str(finished)
        assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
        first = answer["hits"][0]
        assert first.keys() == {"rank", "id", "image_path", "similarity", "verdict"}
        assert (first["image_path"], first["verdict"]) == (str(query), "same bytes")
        assert first["similarity"] > 0.999
    wait_until(lambda: not leftovers(finished.parent), "broker and workers have ended")


def test_search_names_each_query_it_could_not_answer_and_answers_the_others(
    searched: "subprocess.CompletedProcess[str]",
) -> None:
    assert searched.returncode == 1
    unreadable, *answered, absent = json.loads(searched.stdout)
    assert [len(answer["hits"]) for answer in answered] == [3, 3]
    assert unreadable["hits"] == absent["hits"] == []
    assert "Traceback" not in searched.stderr
    assert "text.jpg" in searched.stderr
    assert "nowhere.jpg" in searched.stderr


def test_embedding_reader_and_numpy_read_the_job_in_equal_order(finished: Path) -> None:
    from embedding_reader import EmbeddingReader

    metadata = pq.read_table(finished / "metadata" / "metadata_0000.parquet")
    plain = np.load(finished / "img_emb" / "img_emb_0000.npy")
    assert plain.shape == (metadata.num_rows, 1280)
    assert np.allclose(np.linalg.norm(plain.astype(np.float32), axis=1), 1, atol=1e-3)
    reader = EmbeddingReader(
        str(finished / "img_emb"),
        file_format="parquet_npy",
        metadata_folder=str(finished / "metadata"),
        meta_columns=["id", "image_path"],
    )
    ((embeddings, rows),) = list(reader(batch_size=1_000, show_progress=False))
    assert reader.count == metadata.num_rows
    assert np.array_equal(embeddings, plain)
    assert list(rows["image_path"]) == metadata["image_path"].to_pylist()
    assert list(rows["id"]) == metadata["id"].to_pylist()


def test_index_of_a_finished_job_starts_nothing_and_says_so(finished: Path, few_photos: Path) -> None:
    def files() -> dict[Path, int]:
        """All but the one that saves the time to read photos again that were written just before they were listed."""
        there = (path for path in finished.rglob("*") if path.is_file() and path.name != "looked_at.npy")
        return {path: path.stat().st_mtime_ns for path in there}

    before = files()
    done = run("index", few_photos, finished)
    assert done.returncode == 0
    assert "Search it:" in done.stderr
    assert files() == before


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--model", "efficientnet-b4"], 1, ["efficientnet-lite0@", "efficientnet-b4@"]),
        (["--workers", "0"], 2, ["workers"]),
    ],
)
def test_index_refuses_another_model_or_wrong_usage_in_a_sentence(
    finished: Path, few_photos: Path, arguments: list[str], status: int, says: list[str]
) -> None:
    done = run("index", few_photos, finished, *arguments)
    assert done.returncode == status
    assert all(word in done.stderr for word in says)
    assert "Traceback" not in done.stderr


def test_index_refuses_another_source_and_names_both(finished: Path, few_photos: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    done = run("index", tmp_path / "other", finished)
    assert done.returncode == 1
    assert str(few_photos) in done.stderr
    assert str(tmp_path / "other") in done.stderr


def bytes_of(job: Path) -> dict[str, bytes]:
    """What must be the same however a job came about."""
    files = [*job.glob("img_emb/*"), *job.glob("metadata/*"), *job.glob("errors/*")]
    return {str(path.relative_to(job)): path.read_bytes() for path in files}


def test_killed_workers_and_a_killed_coordinator_leave_the_bytes_of_an_undisturbed_run(
    tmp_path: Path, start: Callable[..., Process]
) -> None:
    photos = tmp_path / "photos"
    make_photos(photos, 120)
    sizes = ["--partition-size", "60", "--chunk-size", "10"]
    undisturbed, disturbed = tmp_path / "a" / "job", tmp_path / "b" / "job"
    done = run("index", photos, undisturbed, *sizes, env=light())
    assert done.returncode == 0, done.stderr

    faults = Faults(tmp_path / "faults")

    def at_the_third_commit_from_now() -> Fault:
        return faults.on_file("link", "*/chunks/*/*.parquet", do="wait", after=2, times=1)

    def committed() -> int:
        job = JobDir(disturbed)
        return sum(len(job.chunk_numbers(partition)) for partition in (0, 1)) + 6 * len(job.sealed_numbers())

    held = at_the_third_commit_from_now()
    coordinator = start("index", photos, disturbed, *sizes, env=environment() | faults.environment(light=True))
    for kills in (1, 2):
        wait_until(lambda held=held: held.reached, "another two chunks are committed")
        assert (committed(), embed_workers(disturbed.parent)) == (2 * kills, held.pids)
        worker, held = held.pids[0], at_the_third_commit_from_now()
        os.kill(worker, signal.SIGKILL)
        wait_until(
            lambda kills=kills: coordinator.output.count("ended with signal SIGKILL") == kills,
            "its death is noticed",
        )
    wait_until(lambda: held.reached, "the new worker has gone on")
    assert coordinator.popen.poll() is None
    coordinator.kill()
    coordinator.wait()
    wait_until(lambda: knows_of_the_death(disturbed.parent), "the worker has seen it")
    held.lift()
    wait_until(lambda: not leftovers(disturbed.parent), "orphaned workers and broker have ended")
    assert 6 <= committed() < 12

    again = run("index", photos, disturbed, *sizes, env=light())
    assert again.returncode == 0, again.stderr
    assert bytes_of(disturbed) == bytes_of(undisturbed)
    assert len(bytes_of(disturbed)) == 6


def test_ctrl_c_stops_within_a_batch_says_how_to_go_on_and_the_same_command_does(
    photos: Path, tmp_path: Path, start: Callable[..., Process]
) -> None:
    job = tmp_path / "jobs" / "job"
    # It takes four seconds, and no processor's time.
    faults = Faults(tmp_path / "faults")
    slowly = environment() | faults.environment(light=True, seconds_per_batch=0.1)
    coordinator = start("index", photos, job, "--chunk-size", "20", env=slowly)
    wait_until(lambda: JobDir(job).chunk_numbers(0), "a chunk is committed")
    coordinator.kill(signal.SIGINT)
    assert coordinator.wait() == 130
    wait_until(lambda: not leftovers(job.parent), "broker and workers have ended")
    assert "Traceback" not in coordinator.output
    safe = re.search(r"Interrupted\. (\d+) of 240 images are safe", coordinator.output)
    assert safe is not None
    assert int(safe[1]) == 20 * len(JobDir(job).chunk_numbers(0)) > 0
    assert f"Go on with:  lookalike index {photos} {job}" in coordinator.output

    before = {path: path.stat().st_mtime_ns for path in JobDir(job).chunk_dir(0).iterdir()}
    sealing = faults.on_step("seal_partition", do="wait")  # Chunks go with the seal.
    again = start("index", photos, job, "--chunk-size", "20", env=slowly)
    wait_until(lambda: len(JobDir(job).chunk_numbers(0)) > len(before), "it has gone on")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    sealing.lift()
    assert again.wait() == 0


def test_stdin_is_a_source_and_copies_of_its_pictures_are_told_from_what_is_not_there(tmp_path: Path) -> None:
    folder, job = tmp_path / "pictures", tmp_path / "jobs" / "piped"
    folder.mkdir()
    names = [written(folder / f"{number}.jpg", scene(number)) for number in range(10)]
    listing = "".join(f"{path}\n" for path in names).encode()
    done = subprocess.run(
        [LOOKALIKE, "index", "-", str(job), "--copies", "on"],
        input=listing,
        capture_output=True,
        env=light(),
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert pq.read_table(job / "metadata" / "metadata_0000.parquet")["image_path"].to_pylist() == [
        str(n) for n in names
    ]

    page = np.full((700, 500, 3), 255, np.uint8)
    page[90:450, 60:360] = scene(3)
    queries = {
        written(tmp_path / "cropped.jpg", scene(5)[40:320, 30:260]): ("5.jpg", "same picture"),
        written(tmp_path / "turned.jpg", np.rot90(scene(8))): ("8.jpg", "same pixels"),
        written(tmp_path / "pasted.jpg", page): ("3.jpg", "same picture"),
        names[6]: ("6.jpg", "same bytes"),
        written(tmp_path / "absent.jpg", scene(77)): None,
    }
    finer = means_file(tmp_path / "tiny.onnx", notes={"lookalike.input": WORDS})
    searched = run("search", job, *queries, "-k", "3", "--json", "--match", "--finer", finer)
    assert searched.returncode == 3, searched.stderr
    for answer, expected in zip(json.loads(searched.stdout), queries.values(), strict=True):
        why_none = answer["verified"].pop("no_chances", None)
        compared, ended = (answer["verified"].pop(what) for what in ("compared", "ended"))
        assert answer["verified"] == {"candidates": 10, "looked_up": 10}
        assert (compared, ended) == (10, "all") if expected is None else compared >= 9, "eight behind the proven one"
        assert (answer["finer"]["candidates"], answer["finer"]["compared"]) == (10, 10)
        assert why_none == (None if expected else "The job has 10 images, and 200 are needed.")
        assert answer["found"] == (expected is not None)
        found = [(Path(hit["image_path"]).name, hit["verdict"]) for hit in answer["hits"]]
        assert found == ([] if expected is None else [expected])


def written(path: Path, pixels: np.ndarray) -> Path:
    """RGB pixels as a JPEG of good quality."""
    assert cv2.imwrite(str(path), np.ascontiguousarray(pixels[:, :, ::-1]))
    return path


def test_an_embedded_broker_is_shared_and_ends_with_its_last_user(tmp_path: Path) -> None:
    holder = (
        "import sys; from pathlib import Path; from coordinator.local.broker import EmbeddedBroker; "
        f"EmbeddedBroker(Path({str(tmp_path)!r})); print('up', flush=True); sys.stdin.read()"
    )
    server = str(runtime_directory(tmp_path))
    with subprocess.Popen(
        [Path(LOOKALIKE).with_name("python"), "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "up\n"
        with EmbeddedBroker(tmp_path) as second:
            assert not second.started_here
            first.kill()
            first.wait()
            with EmbeddedBroker(tmp_path) as third:
                assert not third.started_here
            assert commands_with(server)
    wait_until(lambda: ended(server), "the server has ended with its last user")
    with EmbeddedBroker(tmp_path) as anew:
        assert anew.started_here
    wait_until(lambda: ended(server), "that one too")


def test_a_killed_guard_takes_its_server_along_and_the_next_user_starts_anew(tmp_path: Path) -> None:
    server = str(runtime_directory(tmp_path))
    with EmbeddedBroker(tmp_path):
        guards = [pid for pid, args in commands_with(server) if "broker_guard" in args]
        os.kill(guards[0], signal.SIGKILL)
        wait_until(lambda: not commands_with(server), "the server has ended with its guard")
        with EmbeddedBroker(tmp_path) as anew:
            assert anew.started_here
    wait_until(lambda: ended(server), "the new one has ended with its last user")


def test_children_end_when_their_coordinator_is_killed(
    few_photos: Path, tmp_path: Path, start: Callable[..., Process]
) -> None:
    job = tmp_path / "jobs" / "job"
    coordinator = start("index", few_photos, job, env=light())
    wait_until(lambda: len(children_of(coordinator.popen.pid)) >= 3, "broker and workers are started")
    coordinator.kill()
    wait_until(lambda: not leftovers(job.parent), "nothing of it runs any more")


def test_failed_images_that_were_mended_are_tried_again_and_found(
    few_photos: Path, finished: Path, tmp_path: Path
) -> None:
    photos, job = tmp_path / "photos", tmp_path / "jobs" / "mended"
    shutil.copytree(few_photos, photos, symlinks=True)
    (photos / "photo_00007.jpg").rename(tmp_path / "seven.jpg")
    (photos / "photo_00007.jpg").write_bytes(b"")
    assert run("index", photos, job, env=light()).returncode == 0
    # Whoever read another image than the failed ones again would not get it.
    for path in photos.glob("photo_0000[1-6].jpg"):
        path.unlink()
    (tmp_path / "seven.jpg").rename(photos / "photo_00007.jpg")
    shutil.copy(photos / "photo_00010.jpg", photos / "truncated.jpg")
    done = run("retry", job, "--status", "truncated", env=light())
    assert done.returncode == 0, done.stderr
    assert "1 failed image is tried again: 1 truncated\n" in done.stderr
    done = run("retry", job, env=light())
    assert done.returncode == 0, done.stderr
    assert "4 failed images are tried again: 2 empty, 1 not-an-image, 1 vanished\n" in done.stderr
    assert "1 of them is embedded now; 3 still fail: 1 empty, 1 not-an-image, 1 vanished\n" in done.stderr
    assert "61 of 64 images embedded, 3 failed" in done.stderr
    whole, part = JobDir.at(finished), JobDir.at(job)
    names = [Path(path).name for path in pq.read_table(whole.metadata(0))["image_path"].to_pylist()]
    again = [Path(path).name for path in pq.read_table(part.metadata(0))["image_path"].to_pylist()]
    assert again == sorted([*names, "truncated.jpg"])
    kept = [again.index(name) for name in names]
    assert np.allclose(np.load(part.img_emb(0))[kept], np.load(whole.img_emb(0)), atol=2e-3)
    found = run("search", job, photos / "photo_00007.jpg", "-k", "1", "--json", env=light())
    assert "photo_00007.jpg" in found.stdout
    assert run("verify", job).returncode == 0


@pytest.mark.parametrize("ends", ["pass", "os.kill(os.getpid(), signal.SIGKILL)", "raise KeyboardInterrupt"])
def test_a_program_that_searches_leaves_nothing_behind_however_it_ends(
    finished: Path, few_photos: Path, tmp_path: Path, ends: str
) -> None:
    """The user's project has packages of our names, and a script called as Celery is."""
    for package in ("shared", "workers"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "shared" / "settings.py").write_text("K = 3")
    (tmp_path / "celery.py").write_text("raise SystemExit('the file of the user ran')")
    (tmp_path / "program.py").write_text(
        f"""
import os, signal, sys
import lookalike
from shared.settings import K
job = lookalike.open({str(finished)!r})
for name in ("photo_00007.jpg", "photo_00042.jpg"):
    hits = job.search({str(few_photos)!r} + "/" + name, k=K)
    shown = "data:image/jpeg" in hits._repr_html_()
    print(os.path.basename(hits[0].image_path), len(hits), hits[0].image().shape, shown)
print(job.status().broker.reachable, flush=True)
{ends}
"""
    )
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, env=light(), check=False
    )
    assert done.stdout.splitlines() == [
        "photo_00007.jpg 3 (240, 320, 3) True",
        "photo_00042.jpg 3 (240, 320, 3) True",
        "True",
    ], done.stderr
    wait_until(lambda: not leftovers(finished.parent), "broker and workers have ended")
