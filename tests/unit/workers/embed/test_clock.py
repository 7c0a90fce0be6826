"""The clock of the stages: shares of the time, and which stage the embedding waited for."""

import threading

import pytest

from shared.processes.load import STAGES, StageLoad
from workers.embed.clock import StageClock


class Time:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Time:
    return Time()


def test_shares_are_of_the_threads_that_a_stage_has(now: Time) -> None:
    clock = StageClock(threads=4, now=now)
    began = clock.mark()
    clock.add("read", 2.0)
    clock.add("decode", 10.0)
    clock.add("model", 4.0)
    with clock.at_work("write"):
        now.seconds += 5.0
    load = clock.since(began)
    assert load.busy == pytest.approx({"read": 0.1, "decode": 0.5, "model": 0.8, "write": 1.0})


@pytest.mark.parametrize(
    ("read", "decode", "waited", "model", "bottleneck"),
    [(1.0, 19.0, 9.0, 1.0, "decode"), (19.0, 1.0, 9.0, 1.0, "read"), (1.0, 19.0, 1.0, 9.0, "model")],
)
def test_the_bottleneck_is_what_the_embedding_waited_for(
    read: float, decode: float, waited: float, model: float, bottleneck: str, now: Time
) -> None:
    clock = StageClock(threads=2, now=now)
    began = clock.mark()
    with clock.waiting_for("read"):
        now.seconds += waited
    with clock.waiting_for("model"), clock.at_work("model"):
        now.seconds += model
    clock.add("read", read)
    clock.add("decode", decode)
    load = clock.since(began)
    assert load.bottleneck == bottleneck
    assert sum(load.held_up.values()) == pytest.approx(1)


def test_a_disk_that_commits_wait_for_is_the_bottleneck(now: Time) -> None:
    clock = StageClock(threads=2, now=now)
    began = clock.mark()
    clock.add("model", 3.0)
    with clock.waiting_for("write"):
        now.seconds += 7.0
    now.seconds += 3.0
    assert clock.since(began).bottleneck == "write"


def test_a_model_that_is_at_work_meanwhile_holds_nothing_up(now: Time) -> None:
    clock = StageClock(threads=1, now=now)
    began = clock.mark()
    with clock.waiting_for("read"):
        now.seconds += 6.0
    clock.add("decode", 6.0)
    clock.add("model", 5.0)  # In a thread of its own.
    with clock.waiting_for("model"):
        now.seconds += 4.0
    load = clock.since(began)
    assert load.bottleneck == "decode"
    assert (load.busy["model"], load.held_up["model"]) == pytest.approx((0.5, 0.4))


def test_recent_forgets_what_is_long_ago(now: Time) -> None:
    clock = StageClock(threads=1, now=now)
    clock.add("decode", 6.0)
    now.seconds += 6.0
    assert clock.recent().busy["decode"] == pytest.approx(1)
    now.seconds += 6.0
    clock.recent()
    now.seconds += 6.0
    assert clock.recent().busy["decode"] == 0


def test_what_several_threads_spend_is_added_up(now: Time) -> None:
    clock = StageClock(threads=8, now=now)
    began = clock.mark()

    def work() -> None:
        for _ in range(1_000):
            clock.add("decode", 0.25)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now.seconds += 500
    assert clock.since(began).busy["decode"] == pytest.approx(8 * 250 / 8 / 500)


def load(model: float, waited: float) -> StageLoad:
    return StageLoad(
        {"read": 0.0, "decode": 0.5, "model": model, "write": 0.0},
        {"read": 0.0, "decode": waited, "model": model, "write": 0.0},
    )


def test_a_mean_weighs_by_seconds_and_leaves_out_what_is_not_known() -> None:
    mean = StageLoad.mean([(load(1.0, 0.0), 30.0), (None, 1_000.0), (load(0.2, 0.8), 10.0), (load(0.0, 1.0), 0.0)])
    assert mean is not None
    assert (mean.busy["model"], mean.held_up["decode"]) == pytest.approx((0.8, 0.2))
    assert StageLoad.mean([(None, 5.0)]) is None
    assert StageLoad.mean([]) is None


def test_a_load_says_its_bottleneck_first_and_survives_json() -> None:
    slow = load(0.97, 0.1)
    assert str(slow) == "bottleneck: model 97% (read 0%, decode 50%, write 0%)"
    assert StageLoad.from_json(slow.to_json()) == slow
    assert sorted(slow.to_json()["busy"]) == sorted(STAGES)


@pytest.mark.parametrize("table", [None, {}, {"busy": {}, "held_up": {}}, {"busy": 3, "held_up": None}, "x", [1]])
def test_what_is_no_load_is_none(table: object) -> None:
    assert StageLoad.from_json(table) is None
