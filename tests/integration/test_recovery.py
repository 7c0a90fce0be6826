"""What the transport must do when workers and brokers die: each trap that was found with Celery on Redis, once."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.broker.queues import queued_messages, queued_tasks, send_merge
from shared.messages.tasks import EmbedPartition, MergeJob
from tests.integration.faults.bench import Bench
from tests.integration.faults.faults import light_model
from tests.support.processes import QUICK, Process, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)


def embed_worker(bench: Bench, name: str, seconds_per_batch: float, **env: str) -> Process:
    """An embed worker whose partition of 48 batches takes some seconds, so that there is time to disturb it."""
    slowly = bench.faults.environment(light=True, seconds_per_batch=seconds_per_batch)
    return bench.worker("embed", name=name, faults=slowly, **env)


def test_what_waits_in_a_queue_is_read_as_it_was_sent(bench: Bench) -> None:
    # The coordinator sends again what it does not find here, so the envelope that Celery writes must be understood.
    bench.ask()
    send_merge(bench.app, "other", "0" * 16)
    assert queued_messages(bench.redis, "embed") == [EmbedPartition("job", 0, bench.identity).to_json()]
    assert queued_messages(bench.redis, "merge") == [MergeJob("other", "0" * 16).to_json()]
    task_id = bench.app.send_task("lookalike.search", args=[{}]).id
    assert queued_tasks(bench.redis, "query") == [task_id]


def test_a_message_that_a_worker_holds_for_later_is_found_too(bench: Bench) -> None:
    worker = bench.worker("embed", name="holder")
    message = EmbedPartition("later", 7).to_json()
    bench.app.send_task("lookalike.embed_partition", args=[message], countdown=600, ignore_result=True)
    wait_until(lambda: not bench.redis.llen("embed") and "received" in worker.output, "the worker holds it")
    assert queued_messages(bench.redis, "embed") == [message]


def test_a_task_longer_than_the_visibility_timeout_runs_once_and_a_second_message_does_no_harm(bench: Bench) -> None:
    # Twenty seconds of work, twice the visibility timeout. A lease long enough that a busy machine does not end it.
    longer = {"LOOKALIKE_LEASE_SECONDS": "8", "LOOKALIKE_VISIBILITY_TIMEOUT": "9"}
    first, second = (embed_worker(bench, name, seconds_per_batch=0.4, **longer) for name in ("first", "second"))
    bench.ask()
    wait_until(bench.committed, "a chunk is committed")
    bench.ask()  # As if it had been sent twice: the lease must keep the second worker out.
    wait_until(bench.sealed, "the partition is sealed")
    received = [process.output.count("lookalike.embed_partition") for process in (first, second)]
    assert all(received), "both workers were to get a message"
    holder, other = sorted((first, second), key=lambda process: "another worker holds it" in process.output)
    assert "another worker holds it" not in holder.output
    assert "another worker holds it" in other.output
    # What comes after the seal is for whoever is first: it may make the altered copies, and loads the model for them.
    before = other.output.partition("lookalike.embed_copies")[0]
    assert "Loading the model" not in before, "the second worker began to work"
    # The message was held for longer than the visibility timeout of 9 s and yet not handed out again.
    assert len(re.findall(r"embed_partition\[\S+\] received", holder.output)) == 1


def test_a_killed_workers_partition_is_taken_up_by_another_where_it_stood_without_a_coordinator(bench: Bench) -> None:
    at_the_third = bench.faults.on_file("link", "*/chunks/0000/0003.parquet", do="wait", times=1)
    before_seal = bench.faults.on_step("seal_partition", do="wait")
    first = embed_worker(bench, "first", seconds_per_batch=0.3)
    bench.ask()
    bench.reached(at_the_third)
    second = embed_worker(bench, "second", seconds_per_batch=0.04)
    first.kill()
    before = bench.commit_times()
    at_the_third.lift()
    assert bench.at(before_seal) is second, "the second worker has taken over"
    after = bench.commit_times()
    assert len(before) == 3
    assert before.items() <= after.items(), "a committed chunk was written again"
    assert len(after) == 24
    before_seal.lift()
    wait_until(bench.sealed, "the partition is sealed")
    assert "Traceback" not in second.output


def test_a_coordinator_without_any_worker_waits_and_goes_on_when_one_comes(
    few_photos: Path, broker_url: str, tmp_path: Path, start: Callable[..., Process]
) -> None:
    job = tmp_path / "jobs" / "job"
    job.parent.mkdir()
    env = environment(CELERY_BROKER_URL=broker_url, LOOKALIKE_JOBS_ROOT=str(job.parent))
    env |= light_model()
    coordinator = start("index", few_photos, job, env=env)
    wait_until(lambda: "waiting for a worker" in coordinator.output, "it says that it waits")
    assert coordinator.popen.poll() is None
    start("worker", "embed", "merge", env=env)
    assert coordinator.wait() == 0, coordinator.output


def test_a_model_that_can_not_be_loaded_ends_the_job_with_the_reason(few_photos: Path, tmp_path: Path) -> None:
    job = tmp_path / "jobs" / "job"
    weights = tmp_path / "not.weights.h5"
    weights.write_bytes(b"these are no weights")
    # By Keras alone, as each export that is tried would load TensorFlow once more.
    env = environment(LOOKALIKE_ENGINE="keras", **QUICK)
    done = run("index", few_photos, job, "--model", "efficientnet-b0", "--weights", weights, env=env)
    assert done.returncode == 1
    assert "not.weights.h5" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(job / "model") == ["not.weights.h5"]
