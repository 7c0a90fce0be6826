"""Two processes do the same at once, or do not agree: there is one whole result, and a sentence from the other one."""

import shutil
import signal
from typing import Any

import numpy as np
import pytest

from shared.broker.lease import MERGE, lease_key
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.partition import checkpoint, ledger, sealing
from tests.integration.faults import steps
from tests.integration.faults.bench import IMAGES, Bench
from tests.support.processes import wait_until

pytestmark = pytest.mark.timeout(600)


def test_of_two_coordinators_that_make_one_job_the_second_says_so_and_both_watch_it_once_it_is_made(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    bench.job.spec.unlink()
    bench.worker("embed", "merge", name="both")
    hold = bench.faults.on_step("write_manifest", do="wait")
    first = bench.coordinator("--chunk-size", "10")
    bench.at(hold)
    second = bench.coordinator("--chunk-size", "10")
    assert second.wait() == 1
    assert "Another process is listing the images" in second.output
    hold.lift()
    wait_until(bench.job.spec.is_file, "the job is made")
    third = bench.coordinator()
    assert (first.wait(), third.wait()) == (0, 0), first.output + third.output
    bench.sealed_as(undisturbed)
    assert bench.promoted()
    assert len(builds.build_names(bench.job)) == 1


def test_the_second_of_two_embed_workers_on_one_partition_waits_and_finds_it_sealed(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    hold = bench.faults.on_file("link", "*/chunks/0000/0003.parquet", do="wait", times=1)
    # A lease that a broker which is busy for a while does not cost.
    longer: dict[str, Any] = {"LOOKALIKE_LEASE_SECONDS": "4"}
    first, second = bench.ready(*(bench.begin_worker("embed", name=name, **longer) for name in ("first", "second")))
    bench.ask()
    holder = bench.at(hold)
    other = second if holder is first else first
    bench.ask()
    # It is offered again and again, for longer than Celery by itself would: the message must survive all of it.
    wait_until(lambda: other.output.count("another worker holds it") >= 5, "the other was refused five times")
    hold.lift()
    bench.sealed_as(undisturbed)
    wait_until(lambda: "sealed" in other.output, "the other has found it sealed")
    assert "Loading the model" not in other.output.partition("another worker holds it")[0]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_of_two_workers_with_other_bytes_that_commit_a_chunk_at_the_same_instant_one_whole_chunk_remains(
    links: bool, bench: Bench
) -> None:
    if not links:
        bench.faults.on_file("link", "*/chunks/*", error="EPERM")
    both = bench.faults.on_file("link" if links else "replace", "*/chunks/0000/0003.parquet", do="wait")
    cpu = bench.faults.environment(light=True)
    gpu = bench.faults.environment(light=True, noise=1e-3)
    bench.ready(
        bench.begin_worker("embed", name="cpu", faults=cpu), bench.begin_worker("embed", name="gpu", faults=gpu)
    )
    bench.ask()
    robbed, key = bench.at(both), lease_key(bench.known_as, 0)
    # The first loses its lease to another holder, and that one to the second: so both come to the same commit.
    bench.redis.set(key, "nobody|token")
    wait_until(lambda: "its lease went to another worker" in robbed.output, "the first knows that it has lost it")
    bench.redis.delete(key)
    bench.ask()
    bench.reached(both, 2)
    assert len(set(both.pids)) == 2
    versions = [path.read_bytes() for path in sorted(bench.job.chunk_dir(0).glob(".0003.parquet.*.tmp"))]
    assert len(set(versions)) == 2, "the two were to have bytes of their own"
    seal = bench.faults.on_step("seal_partition", do="wait")
    both.lift()
    # Without hard links the later of the two may take the earlier one's place: a whole chunk for a whole chunk.
    wait_until(lambda: seal.reached, "the partition is about to be sealed")
    asides = bench.job.chunk_dir(0)
    wait_until(lambda: not list(asides.glob(".0003.parquet.*.tmp")), "both commits have come to their end")
    assert bench.job.chunk(0, 3).read_bytes() in versions
    chunk = bench.manifest.chunks(bench.manifest.partition(0))[3]
    _, embeddings = checkpoint.read_chunk(bench.job, chunk)
    seal.lift()
    wait_until(lambda: bench.sealed() and bench.holder() is None, "the partition is sealed")
    marker = ledger.read_seal(bench.job, 0)
    assert len(ledger.check_ids(bench.job, marker)) == IMAGES
    stored = sealing.open_embeddings(bench.job.img_emb(0), IMAGES, marker.dim)
    assert np.array_equal(stored[chunk.start : chunk.stop], embeddings)
    assert not bench.tracebacks(), bench.tracebacks()[0]


def test_a_merge_that_is_asked_for_twice_builds_one_index(bench: Bench, undisturbed_job: JobDir) -> None:
    shutil.copytree(undisturbed_job.path, bench.job.path, dirs_exist_ok=True)
    shutil.rmtree(bench.job.index_dir)
    hold = steps.MERGE["in training"](bench.faults, "wait")
    first, second = bench.ready(*(bench.begin_worker("merge", name=name) for name in ("first", "second")))
    bench.ask_merge()
    other = second if bench.at(hold) is first else first
    bench.ask_merge()
    wait_until(lambda: "another worker holds it" in other.output, "the other was refused")
    hold.lift()
    build = bench.until(bench.promoted, "the index is promoted")
    wait_until(lambda: "succeeded in" in other.output, "the other has found it promoted")
    assert builds.build_names(bench.job) == [build]
    bench.free(MERGE)
    assert not bench.tracebacks(), bench.tracebacks()[0]


def test_a_worker_of_an_older_message_version_refuses_and_one_of_the_right_version_does_the_job(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    old = bench.worker("embed", name="old", faults=bench.faults.environment(light=True, message_version=0))
    coordinator = bench.coordinator()
    wait_until(lambda: "this worker speaks version 0" in old.output, "the old worker refuses the message")
    assert not bench.committed()
    coordinator.kill(signal.SIGSTOP)  # Its patience is not to end before the other worker is there.
    bench.worker("embed", "merge", name="right")
    coordinator.kill(signal.SIGCONT)
    # Each time that it is asked for, either of the two may be the first to take the message.
    assert coordinator.wait() == 0, coordinator.output
    bench.sealed_as(undisturbed)
    assert bench.promoted()


def test_a_worker_that_computes_another_model_fingerprint_commits_nothing_and_leaves_the_task_to_a_right_one(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    other = bench.worker(
        "embed", name="other", faults=bench.faults.environment(light=True, fingerprint_of_another=True)
    )
    bench.ask()
    # Not once: the message must not be lost when it was offered again a few times.
    wait_until(lambda: other.output.count("records the model fingerprint") >= 5, "it was offered five times")
    assert not bench.committed()
    bench.worker("embed", name="right")
    bench.sealed_as(undisturbed)
