import threading
import time

import pytest

from coordinator.doctor.checks import Check, Verdict, ok, problem, warning, within


def test_a_check_is_a_verdict_and_a_sentence_with_its_numbers() -> None:
    found = problem("disk", "It is full: make room.", free=0)
    assert found == Check("disk", Verdict.PROBLEM, "It is full: make room.", {"free": 0})
    assert found.to_json() == {
        "subject": "disk", "verdict": "problem", "sentence": "It is full: make room.", "facts": {"free": 0},
    }  # fmt: skip
    assert [one("a", "b").verdict for one in (ok, warning)] == ["ok", "warning"]


def test_what_answers_in_time_is_returned_and_what_it_raises_is_raised() -> None:
    assert within(60, lambda: 5) == 5
    assert within(60, lambda: None) is None

    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        within(60, fail)


def test_what_hangs_is_not_waited_for() -> None:
    hung = threading.Event()
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        within(0.05, lambda: hung.wait(60))
    hung.set()
    assert time.monotonic() - began < 30
