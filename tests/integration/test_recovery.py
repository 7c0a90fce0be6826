"""What the transport must do when workers and brokers die: each trap that was found with Celery on Redis, once."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from shared import ledger
from shared.jobdir import JobDir
from shared.messages import EmbedPartition, MergeJob
from shared.queues import queued_messages, queued_tasks, send_merge
from tests.integration.faults.bench import Bench
from tests.integration.faults.faults import Faults
from tests.integration.processes import (
    QUICK,
    Process,
    environment,
    free_port,
    redis_server,
    run,
    valkey_binary,
    wait_until,
)

pytestmark = pytest.mark.timeout(600)


def embed_worker(bench: Bench, name: str, seconds_per_batch: float, **env: str) -> Process:
    """An embed worker whose partition of 96 batches takes some seconds, so that there is time to disturb it."""
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
    first, second = (embed_worker(bench, name, seconds_per_batch=0.2, **longer) for name in ("first", "second"))
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
    assert holder.output.count("received") == 1


def test_a_killed_workers_partition_is_taken_up_by_another_where_it_stood_without_a_coordinator(bench: Bench) -> None:
    at_the_third = bench.faults.on_file("link", "*/chunks/0000/0003.parquet", do="wait", times=1)
    before_seal = bench.faults.on_call("shared.ledger:seal_partition", do="wait")
    first = embed_worker(bench, "first", seconds_per_batch=0.15)
    bench.ask()
    bench.reached(at_the_third)
    second = embed_worker(bench, "second", seconds_per_batch=0.02)
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


def test_a_stopped_worker_gives_its_partition_back_within_a_batch(bench: Bench) -> None:
    first, second = embed_worker(bench, "first", seconds_per_batch=0.15), None
    bench.ask()
    wait_until(lambda: len(bench.committed()) >= 2, "two chunks are committed")
    first.kill(signal.SIGTERM)
    assert first.wait() == 0
    bench.free()  # Where the broker does not answer at once, the lease ends by itself.
    assert bench.redis.llen("embed") == 1, "the message is back in the queue"
    before = bench.commit_times()
    second = embed_worker(bench, "second", seconds_per_batch=0.02)
    wait_until(bench.sealed, "the partition is sealed by another")
    assert "Traceback" not in first.output + second.output
    assert len(before) < 24


def test_a_worker_frozen_for_longer_than_its_lease_writes_nothing_after_it_wakes(bench: Bench) -> None:
    at_the_third = bench.faults.on_file("link", "*/chunks/0000/0003.parquet", do="wait", times=1)
    before_seal = bench.faults.on_call("shared.ledger:seal_partition", do="wait")
    first = embed_worker(bench, "first", seconds_per_batch=0.15)
    bench.ask()
    bench.reached(at_the_third)
    second = embed_worker(bench, "second", seconds_per_batch=0.02)
    first.kill(signal.SIGSTOP)
    at_the_third.lift()
    assert bench.at(before_seal) is second, "the second worker has taken over"
    owned = bench.commit_times()
    assert len(owned) == 24
    first.kill(signal.SIGCONT)
    wait_until(lambda: "its lease went to another worker" in first.output, "the first knows that it has lost it")
    assert bench.commit_times() == owned, "the first wrote what was no longer its own"
    before_seal.lift()
    wait_until(bench.sealed, "the partition is sealed")
    seal = ledger.read_seal(bench.job, 0)
    assert (seal.embedded, seal.failed) == (600, 0)
    assert len(ledger.check_ids(bench.job, seal)) == 600
    assert "Traceback" not in first.output + second.output


def test_a_broker_that_comes_back_empty_while_a_task_runs_costs_nothing_and_the_next_task_runs(
    photos: Path, tmp_path: Path, start: Callable[..., Process]
) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    job = JobDir.at(tmp_path / "jobs" / "job")
    job.jobs_root.mkdir()
    env = environment(CELERY_BROKER_URL=url, LOOKALIKE_JOBS_ROOT=str(job.jobs_root), **QUICK)
    env |= Faults(tmp_path / "faults").environment(light=True, seconds_per_batch=0.05)
    with redis_server(valkey_binary(), tmp_path / "one", port) as server:
        workers = [start("worker", role, "--name", role, env=env) for role in ("embed", "merge")]
        coordinator = start("index", photos, job.path, "--partition-size", "300", "--chunk-size", "25", env=env)
        wait_until(lambda: len(job.chunk_numbers(0)) >= 2, "two chunks are committed")
        server.kill()
        server.wait()
        before = job.chunk_numbers(0)
        wait_until(lambda: len(job.chunk_numbers(0)) > len(before) or ledger.is_sealed(job, 0), "work goes on")
    with redis_server(valkey_binary(), tmp_path / "two", port):
        assert coordinator.wait() == 0, coordinator.output
    assert all(worker.popen.poll() is None for worker in workers)
    assert [ledger.read_seal(job, number).embedded for number in (0, 1)] == [300, 300]
    assert "Traceback" not in coordinator.output


def test_a_coordinator_without_any_worker_waits_and_goes_on_when_one_comes(
    few_photos: Path, broker_url: str, tmp_path: Path, start: Callable[..., Process]
) -> None:
    job = tmp_path / "jobs" / "job"
    job.parent.mkdir()
    env = environment(CELERY_BROKER_URL=broker_url, LOOKALIKE_JOBS_ROOT=str(job.parent))
    env |= Faults(tmp_path / "faults").environment(light=True)
    coordinator = start("index", few_photos, job, env=env)
    wait_until(lambda: "waiting for a worker" in coordinator.output, "it says that it waits")
    assert coordinator.popen.poll() is None
    start("worker", "embed", "merge", env=env)
    assert coordinator.wait() == 0, coordinator.output


def test_a_model_that_can_not_be_loaded_ends_the_job_with_the_reason(few_photos: Path, tmp_path: Path) -> None:
    job = tmp_path / "jobs" / "job"
    weights = tmp_path / "not.weights.h5"
    weights.write_bytes(b"these are no weights")
    done = run("index", few_photos, job, "--model", "efficientnet-b0", "--weights", weights, env=environment(**QUICK))
    assert done.returncode == 1
    assert "not.weights.h5" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(job / "model") == ["not.weights.h5"]
