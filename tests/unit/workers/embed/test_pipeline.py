"""Embeddings come back in order and complete, and the next batch is handed over while one is computed."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.embed.clock import StageClock
from workers.embed.pipeline import Overlap

SECONDS = 30  # The most that a test waits for what must happen at once.
Images = NDArray[np.uint8]
Vectors = NDArray[np.float32]


class Plain:
    """An embedder without a device of its own: an image's first value is its embedding."""

    fingerprint, dim, image_size, batch_size = "plain", 1, 1, 4

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def embed(self, images: Images) -> Vectors:
        self.threads.add(threading.current_thread().name)
        return images[:, 0, 0, :1].astype(np.float32)


class OnDevice(Plain):
    """One that can be handed images ahead; `before` is called with the number of a batch before it is computed."""

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        super().__init__()
        self.handed = self.computed = 0
        self.most_waiting = 0
        self._before = before

    def hand_over(self, images: Images) -> Callable[[], Vectors]:
        number, self.handed = self.handed, self.handed + 1
        self.most_waiting = max(self.most_waiting, self.handed - self.computed)

        def compute() -> Vectors:
            self._before(number)
            found = self.embed(images)
            self.computed += 1
            return found

        return compute


def batch(number: int, count: int = 3) -> Images:
    return np.full((count, 1, 1, 3), number, np.uint8)


def clock() -> StageClock:
    return StageClock(threads=1)


@pytest.mark.parametrize("make", [Plain, OnDevice])
@pytest.mark.parametrize("batches", [0, 1, 2, 3, 50])
def test_each_batch_is_taken_once_in_order_in_the_callers_thread(make: Callable[[], Plain], batches: int) -> None:
    taken: list[tuple[int, list[float], str]] = []
    with Overlap(make(), clock()) as model:
        for number in range(batches):
            model.embed(
                batch(number),
                lambda found, number=number: taken.append(
                    (number, found[:, 0].tolist(), threading.current_thread().name)
                ),
            )
            assert len(taken) >= number  # No more than one is under way.
        model.finish()
        assert len(taken) == batches
        model.finish()
    here = threading.current_thread().name
    assert taken == [(number, [float(number)] * 3, here) for number in range(batches)]


def test_without_a_device_the_embeddings_are_there_at_once() -> None:
    taken: list[Vectors] = []
    embedder = Plain()
    with Overlap(embedder, clock()) as model:
        for number in range(3):
            model.embed(batch(number), taken.append)
            assert len(taken) == number + 1
    assert embedder.threads == {threading.current_thread().name}


def test_a_batch_is_handed_over_while_the_one_before_is_computed() -> None:
    next_is_there = [threading.Event() for _ in range(6)]

    class Device(OnDevice):
        def hand_over(self, images: Images) -> Callable[[], Vectors]:
            if self.handed:
                next_is_there[self.handed - 1].set()
            return super().hand_over(images)

    def before(number: int) -> None:
        assert next_is_there[number].wait(SECONDS), "nobody handed the next one over meanwhile"

    taken: list[Vectors] = []
    device = Device(before)
    with Overlap(device, clock()) as model:
        for number in range(6):
            model.embed(batch(number), taken.append)
        next_is_there[5].set()  # Nothing comes after the last.
        model.finish()
    assert [int(found[0, 0]) for found in taken] == list(range(6))
    assert device.most_waiting == 2
    assert all(name.startswith("model") for name in device.threads)


@pytest.mark.parametrize("at", [0, 2])
def test_what_the_model_raises_comes_out_and_nothing_is_taken_for_it(at: int) -> None:
    def before(number: int) -> None:
        if number == at:
            raise RuntimeError("no memory left")

    taken: list[Vectors] = []

    def embed_three() -> None:
        with Overlap(OnDevice(before), clock()) as model:
            for number in range(3):
                model.embed(batch(number), taken.append)
            model.finish()

    with pytest.raises(RuntimeError, match="no memory left"):
        embed_three()
    assert [int(found[0, 0]) for found in taken] == list(range(at))


def test_who_leaves_early_leaves_no_thread_and_takes_nothing_more() -> None:
    taken: list[Vectors] = []

    def leave() -> None:
        with Overlap(OnDevice(), clock()) as model:
            model.embed(batch(0), taken.append)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert taken == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("model")]


@pytest.mark.parametrize("embedder", [Plain(), OnDevice()])
def test_the_clock_counts_the_models_work_and_the_wait_for_it(embedder: Plain) -> None:
    at, lock = [0.0], threading.Lock()

    def tick() -> float:
        with lock:
            at[0] += 1.0
            return at[0]

    time = StageClock(threads=1, now=tick)
    began = time.mark()
    with Overlap(embedder, time) as model:
        for number in range(5):
            model.embed(batch(number), lambda found: None)
        model.finish()
    load = time.since(began)
    assert load.busy["model"] > 0
    assert load.held_up["model"] > 0
    assert load.bottleneck == "model"
