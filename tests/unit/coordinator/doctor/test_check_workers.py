from types import SimpleNamespace
from typing import Any

import pytest
import redis

from coordinator.doctor import check_workers
from coordinator.doctor.check_broker import Broker
from coordinator.doctor.check_workers import Worker, alike, ask, clocks, look, present
from coordinator.doctor.checks import Check
from shared.messages.tasks import SELF_REPORT
from shared.settings import Settings
from workers.tasks import self_report

GIVEN = Settings(broker_url="redis://:secret@host/0")
BROKER = Broker("redis://:secret@host/0", {}, 0.001, 0.25, 0.01)


def worker(name: str, ahead: float | None = 0.0, error: float = 0.01, **changes: Any) -> Worker:
    known: dict[str, Any] = {"version": "0.1.0", "queues": ("embed",), "lease_seconds": 20.0, "visibility_timeout": 45}
    return Worker(name, ahead, error, **known | changes)


def told(found: Check) -> tuple[str, str]:
    return str(found.verdict), found.sentence


def test_what_a_worker_tells_is_what_the_checks_read() -> None:
    state = SimpleNamespace(
        app=SimpleNamespace(lookalike=SimpleNamespace(settings=Settings(lease_seconds=9))),
        consumer=SimpleNamespace(task_consumer=SimpleNamespace(queues=[SimpleNamespace(name="embed")])),
    )
    said = self_report.self_report(state, more="than was asked")
    found = check_workers._worker("embed@a", said, said["time"] - 2, said["time"])
    assert found.ahead == pytest.approx(1.0)
    assert (found.clock_error, found.queues) == (1.0, ("embed",))
    assert (found.lease_seconds, found.visibility_timeout) == (9, 45)


@pytest.mark.parametrize("said", [{"error": "KeyError('lookalike_self_report')"}, None, [], {"time": "noon"}])
def test_a_worker_of_another_version_says_nothing_but_its_name(said: Any) -> None:
    found = check_workers._worker("embed@a", said, 10.0, 12.0)
    assert (found.name, found.ahead, found.version) == ("embed@a", None, None)


def test_each_answer_is_timed_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    def broadcast(command: str, reply: bool, timeout: float, callback: Any) -> None:
        assert (command, reply) == (SELF_REPORT, True)
        rest = {"version": "0.1.0", "queues": ["embed"], "lease_seconds": 20.0, "visibility_timeout": 45}
        callback({"embed@b": {"time": 111.0} | rest})
        callback({"embed@a": {"time": 101.0} | rest})

    app = SimpleNamespace(control=SimpleNamespace(broadcast=broadcast), close=lambda: closed.append(True))
    monkeypatch.setattr(check_workers, "make_app", lambda settings: app)
    times = iter([100.0, 102.0, 104.0])
    found = ask(GIVEN, lambda: next(times))
    assert [(one.name, one.ahead, one.clock_error) for one in found] == [("embed@a", -1.0, 2.0), ("embed@b", 10.0, 1.0)]
    assert closed == [True]


def test_workers_that_could_not_be_asked_are_a_warning_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(settings: Settings) -> list[Worker]:
        raise redis.exceptions.ConnectionError("redis://:secret@host/0 reset")

    monkeypatch.setattr(check_workers, "ask", fail)
    (check,) = look(GIVEN, BROKER, "0.1.0")
    assert told(check) == ("warning", "They could not be asked (redis://**@host/0 reset): run doctor again.")


def test_nobody_and_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_workers, "ask", lambda settings: [])
    (check,) = look(GIVEN, BROKER, "0.1.0")
    assert (check.subject, str(check.verdict)) == ("workers", "warning")
    assert "`lookalike worker embed --jobs-root DIR`" in check.sentence
    monkeypatch.setattr(check_workers, "ask", lambda settings: [worker("a@h")])
    assert [check.subject for check in look(GIVEN, BROKER, "0.1.0")] == ["workers", "versions", "clocks"]


def test_a_queue_that_nobody_takes_is_a_warning() -> None:
    embed, rest = worker("a@h"), worker("b@h", queues=("merge", "query"))
    assert told(present([embed, rest])) == ("ok", "2 answer: 1 embed, 1 merge, 1 query.")
    some = worker("b@h", queues=("merge", "query.shards-0-3"))
    assert told(present([embed, some])) == ("ok", "2 answer: 1 embed, 1 merge, 1 query.")
    assert told(present([embed])) == (
        "warning",
        "1 answers: 1 embed; nobody takes merge or query: `lookalike worker merge query --jobs-root DIR`.",
    )


def test_behind_an_embedded_broker_none_need_be_there() -> None:
    assert present([], embedded=True).verdict == "ok"
    assert told(present([worker("a@h")], embedded=True)) == ("ok", "1 answers: 1 embed.")


def test_another_version_is_a_problem_and_other_timeouts_a_warning() -> None:
    assert told(alike([worker("a@h")], GIVEN, "0.1.0")) == ("ok", "All are lookalike 0.1.0, with the same timeouts.")
    verdict, sentence = told(alike([worker("a@h"), worker("b@h", version=None)], GIVEN, "0.1.0"))
    assert verdict == "problem"
    assert "b@h (it does not say which). Install the same version" in sentence
    verdict, sentence = told(alike([worker("a@h", lease_seconds=5.0)], GIVEN, "0.1.0"))
    assert verdict == "warning"
    assert "are 20 and 45 s here, and otherwise at a@h 5 and 45 s: give all the same" in sentence


def test_clocks_that_agree_are_said_to_and_why_leases_would_not_mind() -> None:
    verdict, sentence = told(clocks([worker("a@h", 0.5, 0.1), worker("b@h", -0.5, 0.1)], BROKER, GIVEN))
    assert verdict == "ok"
    assert "The workers' are 0.50 s (± 0.10), the broker's 0.25 s (± 0.01) from this machine's." in sentence
    assert "The broker alone counts leases" in sentence
    assert "less than 36 s apart" in sentence


def test_workers_whose_clocks_are_apart_are_a_warning_that_names_them() -> None:
    found = clocks([worker("a@h", -2.0, 0.5), worker("b@h", 40.0, 0.5), worker("c@h", 0.0)], BROKER, GIVEN)
    verdict, sentence = told(found)
    assert verdict == "warning"
    assert sentence.startswith("b@h is 41 s or more ahead of a@h: from 36 s on, ")
    assert "nothing is lost but time" in sentence
    assert found.facts["workers"] == {"a@h": -2.0, "b@h": 40.0, "c@h": 0.0}


def test_what_is_not_known_of_a_clock_is_no_difference() -> None:
    # The worker was slow to answer: it may be anywhere within 20 seconds of us.
    assert clocks([worker("a@h", 0.0), worker("b@h", 19.0, 20.0)], BROKER, GIVEN).verdict == "ok"


def test_a_coordinator_whose_clock_is_wrong_is_told_that_only_searches_mind() -> None:
    verdict, sentence = told(clocks([worker("a@h", 60.0), worker("b@h", 61.0)], BROKER, GIVEN))
    assert verdict == "warning"
    assert "61 s or more from this machine's, which matters only to `lookalike search`" in sentence


def test_a_worker_that_tells_no_time_is_not_compared() -> None:
    assert told(clocks([worker("a@h", None)], BROKER, GIVEN)) == (
        "ok",
        "The broker's is 0.25 s (± 0.01) from this machine's; no worker tells its own.",
    )
