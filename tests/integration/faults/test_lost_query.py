"""The client of a query whose worker ends is told so and does not wait; it waits for a worker that is busy."""

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coordinator.client.client import Client
from coordinator.client.lost_query import is_lost
from shared.errors import WorkerFailed
from shared.settings import Settings
from tests.integration.faults.bench import is_ready
from tests.integration.faults.faults import Faults
from tests.support.processes import PATIENCE_SECONDS, Process, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)

Start = Callable[..., Process]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A job of 40 drawn vectors, float32 [40, 8], and these."""
    base = tmp_path_factory.mktemp("imported")
    drawn = np.random.default_rng(3).normal(size=(40, 8)).astype(np.float32)
    np.save(base / "vectors.npy", drawn)
    done = run("import", base / "vectors.npy", base / "jobs" / "job")
    assert done.returncode == 0, done.stderr
    return base / "jobs" / "job", drawn


@pytest.mark.parametrize("others", [[], ["embed"], ["query"]], ids=["alone", "beside embed", "beside query"])
def test_a_query_whose_worker_is_killed_is_told_so_whoever_else_runs(
    others: list[str], vectors: tuple[Path, np.ndarray], broker_url: str, tmp_path: Path, start: Start
) -> None:
    job, drawn = vectors
    faults = Faults(tmp_path / "faults")
    killed = faults.on_step("answer", do="kill", times=1)
    env = environment(CELERY_BROKER_URL=broker_url, LOOKALIKE_JOBS_ROOT=str(job.parent))
    workers = [
        start("worker", role, "--loglevel", "INFO", env=env | faults.environment()) for role in ["query", *others]
    ]
    wait_until(lambda: all(map(is_ready, workers)), "the workers are ready")
    with Client(job, broker_url) as client:
        with pytest.raises(WorkerFailed, match="ended, or was cut off from the broker, before it answered: ask again"):
            client.search(drawn[7], timeout=PATIENCE_SECONDS)
        assert killed.reached == 1
        if others == ["query"]:  # Whichever of the two was killed, the other answers.
            assert client.search(drawn[7], timeout=PATIENCE_SECONDS)[0].id == 7


def test_a_query_whose_worker_is_busy_is_not_lost(
    vectors: tuple[Path, np.ndarray], broker_url: str, tmp_path: Path, start: Start
) -> None:
    job, drawn = vectors
    faults = Faults(tmp_path / "faults")
    held = faults.on_step("answer", do="wait")
    env = environment(CELERY_BROKER_URL=broker_url, LOOKALIKE_JOBS_ROOT=str(job.parent))
    worker = start("worker", "query", "--loglevel", "INFO", env=env | faults.environment())
    wait_until(lambda: is_ready(worker), "the worker is ready")
    settings = Settings(broker_url=broker_url)
    with Client(job, broker_url) as client:
        (reply,) = client.enqueue([drawn[9]])
        wait_until(lambda: held.reached, "the worker has the query in hand")
        (sent,) = client._out
        assert not is_lost(client._app, settings, sent.task_id)
        worker.kill(signal.SIGSTOP)  # It answers nothing at all.
        assert not is_lost(client._app, settings, sent.task_id)
        worker.kill(signal.SIGCONT)
        held.lift()
        assert reply.result(timeout=PATIENCE_SECONDS)[0].id == 9
