import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from shared.errors import BrokerError, LookalikeError, SourceError
from shared.processes import stage
from shared.processes.stage import result_of

Told = list[dict[str, Any]]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the process be a script given here instead of a module."""

    def instead(text: str) -> None:
        real = subprocess.Popen

        def start(words: list[str], **options: Any) -> Any:
            return real([words[0], "-c", f"import json, sys\n{text}"], **options)

        monkeypatch.setattr(subprocess, "Popen", start)

    return instead


def asked(**options: Any) -> tuple[dict[str, Any], Told]:
    told: Told = []
    return result_of("any", [], told.append, what="The process", **options), told


def test_what_it_says_is_told_and_its_result_returned(script: Callable[[str], None]) -> None:
    script('print(json.dumps({"phase": 1})); print(json.dumps({"result": json.load(sys.stdin)}))')
    assert asked(request={"n": 5}) == ({"n": 5}, [{"phase": 1}])


def test_it_gets_the_environment_that_is_given(script: Callable[[str], None]) -> None:
    script('import os; print(json.dumps({"result": {"seen": sorted(os.environ)}}))')
    found, _ = asked(environment={"ONLY": "this"})
    assert "ONLY" in found["seen"]
    assert "PATH" not in found["seen"]


def test_a_request_larger_than_a_pipe_is_read(script: Callable[[str], None]) -> None:
    script('print(json.dumps({"result": {"count": len(json.load(sys.stdin)["paths"])}}))')
    assert asked(request={"paths": ["a" * 100] * 10_000}, seconds=60)[0] == {"count": 10_000}


def test_the_error_that_it_names_is_raised(script: Callable[[str], None]) -> None:
    script('print(json.dumps({"error": {"kind": "SourceError", "message": "Gone."}}))')
    with pytest.raises(SourceError, match=r"Gone\."):
        asked()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sys.exit('the last words')", r"exit status 1\. Its last words:\n  the last words"),
        ("import os; os.kill(os.getpid(), 9)", r"signal SIGKILL, as by a system that is out of memory\."),
        ("import os; os.abort()", r"signal SIGABRT\."),
        ("pass", r"exit status 0\. It said nothing\."),
        ('print(json.dumps({"result": {}})); sys.exit(3)', "exit status 3"),
    ],
)
def test_one_that_ends_without_a_result_is_the_error_asked_for(
    script: Callable[[str], None], text: str, words: str
) -> None:
    script(text)
    with pytest.raises(BrokerError, match=f"The process ended with.*{words}"):
        asked(ended=BrokerError)


@pytest.mark.parametrize("text", ["print('no json')", "print(5)", "print('[]')"])
def test_what_is_no_object_is_quoted(script: Callable[[str], None], text: str) -> None:
    script(text)
    with pytest.raises(LookalikeError, match="said what is no JSON"):
        asked()


def test_one_that_hangs_is_ended_and_what_it_said_before_was_told(
    script: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    script('print(json.dumps({"phase": 1}), flush=True); import time; time.sleep(600)')
    told: Told = []
    # The time is up as soon as it has said the one thing that it says.
    monkeypatch.setattr(stage, "time", SimpleNamespace(monotonic=lambda: 1_000.0 if told else 0.0))
    with pytest.raises(LookalikeError, match="The process took longer than 300 s and was ended"):
        result_of("any", [], told.append, what="The process", seconds=300)
    assert told == [{"phase": 1}]


def test_one_that_closes_its_output_and_hangs_is_ended_too(script: Callable[[str], None]) -> None:
    script("import os, time; os.close(1); time.sleep(600)")
    with pytest.raises(LookalikeError, match="took longer than 2 s"):
        asked(seconds=2)
