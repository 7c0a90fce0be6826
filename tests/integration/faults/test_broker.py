"""What a broker's failures cost: nothing but the reconnect. Each against a server of its own, with short timeouts."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from coordinator.client.client import Client
from shared.messages.tasks import EMBED_QUEUE
from tests.integration.faults.bench import Bench
from tests.support.processes import PATIENCE_SECONDS, Process, answers, free_port, valkey_binary, wait_until

pytestmark = pytest.mark.timeout(600)


class Server:
    """A Valkey server that a test stops, kills and starts again, with what it had (`appendonly`) or empty."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory, self.port = directory, free_port()
        self._options = options
        directory.mkdir()
        self.process = self._start()

    def _start(self) -> Process:
        command = [valkey_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.directory), *self._options]
        process = Process(command, self.directory / "server.log", dict(os.environ))
        wait_until(lambda: answers(self.port), "the server answers")
        return process

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        self.process = self._start()

    def freeze(self) -> None:
        self.process.kill(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.kill(signal.SIGCONT)


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server(tmp_path / "valkey", *getattr(request, "param", ()))
    yield server
    server.thaw()
    server.kill()


@pytest.fixture
def broker_url(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


def all_is_well(bench: Bench, worker: Process, client: Client, undisturbed: dict[str, str]) -> None:
    """The partition is whole, the same worker process builds the index and answers, and no one made a fuss."""
    bench.sealed_as(undisturbed)
    bench.until(bench.promoted, "the index is promoted")
    assert client.search(bench.photos / "photo_00007.jpg", k=1, timeout=PATIENCE_SECONDS)[0].id == 7
    assert worker.popen.poll() is None
    assert not bench.tracebacks()
    warnings = [line for line in worker.output.splitlines() if "WARNING" in line or "ERROR" in line]
    # These give up after a fifth of a second, which a busy broker may take several times without any fault.
    beats = ("its lease could not be renewed", "answers queries could not be announced")
    hiccups = [line for line in warnings if any(beat in line for beat in beats)]
    assert len(hiccups) < 40, "they are tried again twice a second, and each line is a change:\n" + "\n".join(hiccups)
    warnings = [line for line in warnings if line not in hiccups]
    assert len(warnings) < 15, "an outage is a line at its begin and one at its end:\n" + "\n".join(warnings)


@pytest.mark.parametrize(
    "server", [(), ("--appendonly", "yes", "--appendfsync", "no")], ids=["empty", "data"], indirect=True
)
def test_a_killed_broker_costs_the_reconnect_whether_it_comes_back_empty_or_with_its_data(
    bench: Bench, server: Server, undisturbed: dict[str, str]
) -> None:
    held = bench.faults.on_step("commit_chunk", do="wait", after=5)
    worker = bench.worker("embed", "merge", "query")
    coordinator = bench.coordinator()
    bench.reached(held)
    with Client(bench.job.path, bench.url) as client:
        server.kill()
        held.lift()
        before = len(bench.committed())
        bench.until(lambda: bench.sealed() or len(bench.committed()) > before, "work goes on without a broker")
        wait_until(lambda: "the broker does not answer" in coordinator.output, "the coordinator says so")
        server.start()
        all_is_well(bench, worker, client, undisturbed)
    assert coordinator.wait() == 0, coordinator.output


def test_a_broker_that_hangs_stops_no_commit_and_no_progress_event_kills_a_task(
    bench: Bench, server: Server, undisturbed: dict[str, str]
) -> None:
    held = bench.faults.on_step("commit_chunk", do="wait", after=2)
    worker = bench.worker("embed", "merge", "query")
    bench.ask()
    bench.reached(held)
    with Client(bench.job.path, bench.url) as client:
        server.freeze()
        try:
            held.lift()
            # Twenty-two commits, each of which would wait for the broker if it were asked.
            bench.until(bench.sealed, "the partition is sealed while the broker hangs")
        finally:
            server.thaw()
        wait_until(lambda: bench.holder() is None, "the lease is free again")
        bench.ask_merge()
        all_is_well(bench, worker, client, undisturbed)


def test_a_broker_that_is_killed_while_a_task_finishes_costs_nothing_and_the_same_worker_does_the_next(
    bench: Bench, server: Server, undisturbed: dict[str, str]
) -> None:
    held = bench.faults.on_step("seal_partition", do="wait")
    worker = bench.worker("embed", "merge", "query")
    bench.ask()
    bench.reached(held)
    with Client(bench.job.path, bench.url) as client:
        server.kill()
        held.lift()
        bench.until(bench.sealed, "the partition is sealed without a broker")
        server.start()
        bench.ask()  # As a coordinator would that has not looked yet: there is nothing to do, and that is said.
        wait_until(lambda: not bench.redis.llen(EMBED_QUEUE), "the same worker takes the next message")
        bench.ask_merge()
        all_is_well(bench, worker, client, undisturbed)


def test_a_full_broker_is_named_and_the_job_ends_whole_when_there_is_room_again(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    held = bench.faults.on_step("commit_chunk", do="wait", after=3)
    worker = bench.worker("embed", "merge", "query")
    coordinator = bench.coordinator()
    bench.reached(held)
    with Client(bench.job.path, bench.url) as client:
        bench.redis.config_set("maxmemory-policy", "noeviction")
        bench.redis.config_set("maxmemory", 1)
        held.lift()
        bench.until(bench.sealed, "the partition is sealed though the broker is full")
        wait_until(lambda: "it is full, raise its maxmemory" in coordinator.output, "the coordinator says so")
        bench.redis.config_set("maxmemory", 0)
        all_is_well(bench, worker, client, undisturbed)
    assert coordinator.wait() == 0, coordinator.output


def listening(bench: Bench, seen: int) -> int:
    """The newest connection that is subscribed to a channel and newer than `seen`; 0 for none."""
    ids = [int(client["id"]) for client in bench.redis.client_list(_type="pubsub")]
    return max((number for number in ids if number > seen), default=0)


def test_connections_that_are_cut_again_and_again_are_made_anew(bench: Bench, undisturbed: dict[str, str]) -> None:
    held = bench.faults.on_step("commit_chunk", do="wait", after=3)
    worker = bench.worker("embed", "merge", "query")
    coordinator = bench.coordinator()
    bench.reached(held)
    with Client(bench.job.path, bench.url) as client:
        seen = 0
        for _ in range(5):
            # A worker is back when it listens to its control channel again, over a connection that was not cut.
            seen = wait_until(lambda seen=seen: listening(bench, seen), "the worker listens")
            with redis.Redis.from_url(bench.url) as own:
                for kind in ("normal", "pubsub"):
                    own.client_kill_filter(_type=kind, skipme=True)
        wait_until(lambda: listening(bench, seen), "the worker is back again")
        assert "The broker does not answer" in worker.output
        held.lift()
        all_is_well(bench, worker, client, undisturbed)
    assert coordinator.wait() == 0, coordinator.output
