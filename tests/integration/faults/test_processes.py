"""Each process of lookalike killed, stopped and frozen at its worst moments: nothing is lost, nothing is done twice."""

import shutil
import signal
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from coordinator.client.client import Client
from shared.broker.lease import COPIES as COPIES_LEASE
from shared.broker.lease import MERGE as MERGE_LEASE
from shared.broker.queues import queued_messages
from shared.errors import NoWorker, ReplyTimeout, WorkerFailed
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.messages.tasks import MergeJob
from tests.integration.faults import steps
from tests.integration.faults.bench import Bench, bytes_of
from tests.integration.faults.faults import Fault
from tests.support.processes import Process, wait_until

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def sealed(bench: Bench, undisturbed_job: JobDir) -> Bench:
    """A bench whose partition is sealed, and whose index is still to be built."""
    shutil.copytree(undisturbed_job.path, bench.job.path, dirs_exist_ok=True)
    shutil.rmtree(bench.job.index_dir)
    return bench


@pytest.fixture
def indexed(bench: Bench, undisturbed_job: JobDir) -> Bench:
    """A bench whose job is done, its index promoted."""
    shutil.copytree(undisturbed_job.path, bench.job.path, dirs_exist_ok=True)
    return bench


@pytest.fixture
def client(indexed: Bench) -> Iterator[Client]:
    with Client(indexed.job.path, indexed.url) as client:
        yield client


def workers(bench: Bench, role: str, count: int) -> tuple[Process, ...]:
    return bench.ready(
        *(bench.begin_worker(role, name=f"{role}{number}", **steps.SHORT_LEASE) for number in range(count))
    )


def rules(bench: Bench, chosen: list[steps.Step], do: str) -> list[Fault]:
    return [step(bench.faults, do) for step in chosen]


def stop_each(bench: Bench, holds: list[Fault]) -> None:
    """Tell the worker at each hold in turn to stop, and see it end in order once it may continue."""
    for hold in holds:
        process = bench.at(hold)
        process.kill(signal.SIGTERM)
        wait_until(lambda process=process: "Warm shutdown" in process.output, "the worker knows that it is to end")
        hold.lift()
        assert process.wait() == 0


def tasks_ended(process: Process) -> int:
    """How many tasks a worker's log says to have ended, in whatever way."""
    return sum(process.output.count(words) for words in ("succeeded in", "retry: Retry", "what is committed stays"))


def wake(frozen: list[Process]) -> None:
    """Let frozen workers continue, and wait until the task that each was frozen in has ended."""
    before = [tasks_ended(process) for process in frozen]
    for process in frozen:
        process.kill(signal.SIGCONT)
    wait_until(
        lambda: all(tasks_ended(process) > count for process, count in zip(frozen, before, strict=True)),
        "the tasks of the frozen workers have ended",
    )


# Few steps in a row, as workers that ended while they read images make the next ones wary and slow.
@pytest.mark.parametrize(("first", "last"), [(0, 2), (2, 4), (4, 9)], ids=["writing", "naming", "sealing"])
def test_embed_workers_killed_one_after_another_at_each_step_lose_and_repeat_nothing(
    first: int, last: int, bench: Bench, undisturbed: dict[str, str]
) -> None:
    kills = rules(bench, [*steps.EMBED.values()][first:last], "kill")
    workers(bench, "embed", len(kills) + 1)
    for kill in kills:
        bench.ask()
        assert bench.at(kill).wait() == -signal.SIGKILL
        bench.free()
    bench.ask()
    bench.sealed_as(undisturbed)


def test_embed_workers_killed_at_each_step_of_the_altered_copies_leave_none_or_whole_ones(
    sealed: Bench, undisturbed_job: JobDir
) -> None:
    sealed.job.copies.unlink()
    kills = rules(sealed, [*steps.COPIES.values()], "kill")
    workers(sealed, "embed", len(kills) + 1)
    for kill in kills:
        sealed.ask_copies()
        assert sealed.at(kill).wait() == -signal.SIGKILL
        assert not sealed.job.copies.exists()
        sealed.free(COPIES_LEASE)
    sealed.ask_copies()
    sealed.until(sealed.job.copies.exists, "the copies are there")
    sealed.free(COPIES_LEASE)
    assert sealed.job.copies.read_bytes() == undisturbed_job.copies.read_bytes()
    assert not list(sealed.job.path.glob(".copies*"))
    # More than once, as a message whose worker was killed comes again.
    asked = sealed.until(lambda: queued_messages(sealed.redis, "merge"), "the merge is asked for")
    assert all(message == MergeJob("job", sealed.identity).to_json() for message in asked)
    assert not sealed.tracebacks(), sealed.tracebacks()[0]


def test_stopped_embed_workers_end_within_a_batch_and_the_next_goes_on_without_being_asked(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    names = ("before a chunk gets its name", "before the sealed files get their names")
    holds = rules(bench, [steps.EMBED[name] for name in names], "wait")
    workers(bench, "embed", len(holds) + 1)
    bench.ask()
    stop_each(bench, holds)
    bench.sealed_as(undisturbed)


def test_embed_workers_frozen_for_longer_than_their_lease_do_no_harm_when_they_wake(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    names = (
        "before a chunk gets its name",
        "before the sealed files get their names",
        "before the seal marker gets its name",
    )
    holds = rules(bench, [steps.EMBED[name] for name in names], "wait")
    workers(bench, "embed", len(holds) + 1)
    frozen = []
    for hold in holds:
        bench.ask()
        frozen.append(bench.at(hold))
        frozen[-1].kill(signal.SIGSTOP)
        hold.lift()
        bench.free()
    bench.ask()
    bench.sealed_as(undisturbed)
    wake(frozen)
    bench.sealed_as(undisturbed)
    assert all(process.popen.poll() is None for process in frozen)


def test_stopped_merge_workers_end_soon_and_the_next_builds_the_index(
    sealed: Bench, undisturbed: dict[str, str]
) -> None:
    holds = rules(sealed, [steps.MERGE["in measuring"]], "wait")
    workers(sealed, "merge", len(holds) + 1)
    sealed.ask_merge()
    stop_each(sealed, holds)
    sealed.until(sealed.promoted, "the index is promoted")
    assert not sealed.tracebacks(), sealed.tracebacks()[0]
    assert bytes_of(sealed.job) == undisturbed


def test_merge_workers_frozen_for_longer_than_their_lease_leave_one_whole_build_promoted(
    sealed: Bench, undisturbed: dict[str, str]
) -> None:
    names = ("in adding", "before index.json is written", "between index.json and CURRENT")
    holds = rules(sealed, [steps.MERGE[name] for name in names], "wait")
    workers(sealed, "merge", len(holds) + 1)
    frozen = []
    for hold in holds:
        sealed.ask_merge()
        frozen.append(sealed.at(hold))
        frozen[-1].kill(signal.SIGSTOP)
        hold.lift()
        sealed.free(MERGE_LEASE)
    sealed.ask_merge()
    sealed.until(sealed.promoted, "the index is promoted")
    wake(frozen)
    assert sealed.promoted()
    assert not sealed.tracebacks(), sealed.tracebacks()[0]
    for build in builds.build_names(sealed.job):
        builds.check_files(sealed.job, builds.read_info(sealed.job, build), checksums=True)
    assert bytes_of(sealed.job) == undisturbed


def find_itself(client: Client, photo: Path, timeout: float = 90.0) -> None:
    assert client.search(photo, k=3, timeout=timeout)[0].image_path == str(photo)


def begun_query(bench: Bench, client: Client) -> tuple[Fault, Process, Callable[..., None]]:
    """A query that a worker is about to answer, with a second worker there; gives the rule that holds it as well."""
    workers(bench, "query", 2)
    hold = bench.faults.on_step("answer", do="wait", times=1)
    photo = bench.photos / "photo_00007.jpg"
    (reply,) = client.enqueue([photo], k=3)

    def answered(timeout: float = 90.0) -> None:
        assert reply.result(timeout)[0].image_path == str(photo)

    return hold, bench.at(hold), answered


def test_a_killed_query_worker_costs_the_query_it_held_and_the_next_is_answered(indexed: Bench, client: Client) -> None:
    _, holder, answered = begun_query(indexed, client)
    holder.kill()
    holder.wait()
    find_itself(client, indexed.photos / "photo_00008.jpg")
    with pytest.raises(WorkerFailed, match="ended, or was cut off from the broker, before it answered"):
        answered()
    assert not indexed.tracebacks(), indexed.tracebacks()[0]


def test_a_stopped_query_worker_answers_what_it_holds_first(indexed: Bench, client: Client) -> None:
    hold, holder, answered = begun_query(indexed, client)
    for _ in range(50):  # Those who stop processes may be several, and each comes while the one before is handled.
        holder.kill(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in holder.output, "the worker knows that it is to end")
    hold.lift()
    answered()
    assert holder.wait() == 0
    find_itself(client, indexed.photos / "photo_00008.jpg")
    assert not indexed.tracebacks(), indexed.tracebacks()[0]


def test_a_frozen_query_worker_answers_when_it_wakes_and_others_answer_meanwhile(
    indexed: Bench, client: Client
) -> None:
    hold, holder, answered = begun_query(indexed, client)
    holder.kill(signal.SIGSTOP)
    hold.lift()

    def asked_again() -> bool:
        # A frozen worker may still be handed one message by Redis, which waits in its socket until it wakes.
        try:
            find_itself(client, indexed.photos / "photo_00008.jpg", timeout=6)
        except (NoWorker, ReplyTimeout):
            return False
        return True

    wait_until(asked_again, "another worker answers")
    holder.kill(signal.SIGCONT)
    answered()
    find_itself(client, indexed.photos / "photo_00009.jpg")
    assert not indexed.tracebacks(), indexed.tracebacks()[0]


@pytest.fixture
def unmade(bench: Bench) -> Bench:
    """A bench whose job is still to be made, and one worker of all roles that takes some seconds for it."""
    bench.job.spec.unlink()
    slowly = bench.faults.environment(light=True, seconds_per_batch=0.04)
    bench.worker("embed", "merge", "query", name="all", faults=slowly)
    return bench


def ends_well(bench: Bench, coordinator: Process, undisturbed: dict[str, str]) -> None:
    assert coordinator.wait() == 0, coordinator.output
    bench.sealed_as(undisturbed)
    assert bench.promoted()
    with Client(bench.job.path, bench.url) as client:
        find_itself(client, bench.photos / "photo_00009.jpg")
    assert not bench.tracebacks(), bench.tracebacks()[0]


def test_a_coordinator_that_ends_at_any_step_leaves_what_the_same_command_goes_on_with(
    unmade: Bench, undisturbed: dict[str, str]
) -> None:
    held = unmade.faults.on_file("link", "*/chunks/0000/0001.parquet", do="wait")  # There is work left for each.
    ends = ((signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL))
    for step, (number, status) in product(steps.COORDINATOR.values(), ends):
        (hold,) = rules(unmade, [step], "wait")
        coordinator = unmade.coordinator("--chunk-size", "10")
        assert unmade.at(hold) is coordinator
        coordinator.kill(number)
        assert coordinator.wait() == status, coordinator.output
        assert ("Interrupted" in coordinator.output) == (number == signal.SIGTERM)
        hold.lift()
    held.lift()
    ends_well(unmade, unmade.coordinator("--chunk-size", "10"), undisturbed)


def test_a_coordinator_frozen_while_others_finish_its_job_sees_that_when_it_wakes(
    unmade: Bench, undisturbed: dict[str, str]
) -> None:
    (hold,) = rules(unmade, [steps.COORDINATOR["while it looks"]], "wait")
    coordinator = unmade.coordinator("--chunk-size", "10")
    unmade.at(hold).kill(signal.SIGSTOP)
    hold.lift()
    unmade.until(unmade.promoted, "the index is promoted")
    coordinator.kill(signal.SIGCONT)
    ends_well(unmade, coordinator, undisturbed)
