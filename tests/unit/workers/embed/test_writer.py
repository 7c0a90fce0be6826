"""The writer commits in order, beside the embedding, one at a time, and no failure is lost."""

import threading
from collections.abc import Callable

import pytest

from workers.embed.clock import StageClock
from workers.embed.writer import ChunkWriter

SECONDS = 30.0


@pytest.fixture
def clock() -> StageClock:
    return StageClock(threads=1)


def test_a_commit_runs_while_its_caller_goes_on(clock: StageClock) -> None:
    went_on = threading.Event()
    written: list[int] = []

    def write() -> None:
        assert went_on.wait(SECONDS)
        written.append(1)

    with ChunkWriter(clock) as writer:
        writer.commit(write)
        went_on.set()
    assert written == [1]


def test_commits_keep_their_order_and_only_one_is_under_way(clock: StageClock) -> None:
    written: list[int] = []
    under_way = threading.Lock()

    def write(number: int) -> None:
        assert under_way.acquire(blocking=False)
        written.append(number)
        under_way.release()

    with ChunkWriter(clock) as writer:
        for number in range(20):
            writer.commit(lambda number=number: write(number))
            assert len(written) >= number  # The one before has ended.
    assert written == list(range(20))


def test_what_a_commit_raises_comes_out_at_the_next_step(clock: StageClock) -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    def run(*writes: Callable[[], None]) -> None:
        with ChunkWriter(clock) as writer:
            for write in writes:
                writer.commit(write)

    with pytest.raises(OSError, match="the disk is full"):
        run(fail, lambda: pytest.fail("it was written behind one that failed"))
    with pytest.raises(OSError, match="the disk is full"):
        run(fail)


def test_require_raises_what_has_failed_and_does_not_wait(clock: StageClock) -> None:
    go = threading.Event()

    def fail() -> None:
        assert go.wait(SECONDS)
        raise OSError("the disk is full")

    def run() -> None:
        with ChunkWriter(clock) as writer:
            writer.commit(fail)
            writer.require()
            go.set()
            while True:
                writer.require()

    with pytest.raises(OSError, match="the disk is full"):
        run()


def test_an_error_of_the_block_is_not_replaced_and_the_commit_is_still_waited_for(clock: StageClock) -> None:
    written: list[int] = []
    left = threading.Event()

    def fail() -> None:
        assert left.wait(SECONDS)
        written.append(1)
        raise OSError("the disk is full")

    def run() -> None:
        with ChunkWriter(clock) as writer:
            writer.commit(fail)
            left.set()
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert written == [1]
