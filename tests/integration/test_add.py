"""Images are added to a job by programs, and found by query workers that run."""

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import lookalike
from shared.job.directory import JobDir
from shared.job.opened import open_job
from tests.integration.faults.bench import is_ready
from tests.integration.faults.faults import Faults, light_model
from tests.support.images.photographs import make_photos
from tests.support.processes import PATIENCE_SECONDS, QUICK, Process, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)


def _below(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def test_a_client_adds_updates_and_deletes_through_workers_that_run_and_may_die(
    broker_url: str, tmp_path: Path, start: Callable[..., Process]
) -> None:
    paths = make_photos(tmp_path / "all", 28)
    for path in paths[:20]:
        path.rename(_below(tmp_path / "photos") / path.name)
    job, more = tmp_path / "jobs" / "job", paths[20:]
    done = run("index", tmp_path / "photos", job, env=environment() | light_model())
    assert done.returncode == 0, done.stderr
    env = environment(CELERY_BROKER_URL=broker_url, LOOKALIKE_JOBS_ROOT=str(job.parent), **QUICK) | light_model()
    query = start("worker", "query", "--loglevel", "INFO", env=env)
    faults = Faults(tmp_path / "faults")

    def begin_embed() -> Process:
        worker = start("worker", "embed", "--loglevel", "INFO", env=env | faults.environment(light=True))
        wait_until(lambda: is_ready(worker), "the embed worker is ready")
        return worker

    with lookalike.connect(job, broker=broker_url) as client:
        with pytest.raises(lookalike.NoWorker, match="No embed worker runs"):
            # Longer than the client waits for a worker, and over when one comes: it would still make it.
            client.add([more[7]], timeout=3.5)
        wait_until(lambda: is_ready(query), "the query worker is ready")
        with ThreadPoolExecutor(1) as program:
            # Before it was committed, and after it was: the message comes again, and is done once. The next worker is
            # there before the first dies: a client gives up after three seconds with none.
            embed = begin_embed()
            for number, step in enumerate(("commit_change", "reply_to_change")):
                fault = faults.on_step(step, do="wait", times=1)
                asked = program.submit(_added, job, broker_url, more[number])
                wait_until(lambda fault=fault: fault.reached, "it has the change in hand")
                dying, embed = embed, begin_embed()
                dying.kill()
                assert dying.wait() == -signal.SIGKILL, dying.output
                assert asked.result(PATIENCE_SECONDS) == [20 + number]

        ids = client.add([more[2], ("b.jpg", more[3].read_bytes())])
        assert ids == [22, 23]
        for photo, image_id in zip(more[:4], [20, 21, *ids], strict=True):
            assert client.search(photo, k=1)[0].id == image_id
        assert client.update(20, more[4], request="mine") == 24
        assert client.update(20, more[4], request="mine") == 24
        assert client.delete([21, 0]) == 2
        found = {hit.id for hit in client.search(more[0], k=30)}
        assert found == {*range(1, 20), 22, 23, 24}
        for wrong, error, said in (
            (lambda: client.delete([21]), "JobError", "was removed before"),
            (lambda: client.add([tmp_path / "nothing.jpg"]), "ImageError", "There is no such file"),
            (lambda: client.add([more[2]]), "JobError", r"\(id 22\) already"),
            (lambda: client.add([more[6]], [{"year": 1}]), "UsageError", "no column 'year'"),
            (lambda: client.add(np.ones((1, 3))), "JobMismatch", "add images"),
        ):
            with pytest.raises(lookalike.LookalikeError, match=said) as raised:
                wrong()
            assert type(raised.value).__name__ == error
    assert open_job(JobDir(job)).listed == 25
    assert embed.popen.poll() is None


def _added(job: Path, broker_url: str, photo: Path) -> list[int]:
    """What a program of its own adds: a client serves one thread."""
    with lookalike.connect(job, broker=broker_url) as client:
        return client.add([photo])
