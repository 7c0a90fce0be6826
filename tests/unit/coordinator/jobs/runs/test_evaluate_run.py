"""A run of `evaluate`: what its process says is passed on, and what it fails with is a sentence."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coordinator.jobs.runs.evaluate_run import Asked, evaluate, run_evaluation
from shared.errors import CorruptFile, JobError, LookalikeError, NoIndexYet, UsageError
from shared.job.directory import JobDir
from tests.support.make_job import make_job

pytestmark = pytest.mark.slow

JOB = JobDir(Path("/jobs/any"))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the command's process be a script given here instead of `workers.evaluate.report`."""

    def instead(script: str) -> None:
        real = subprocess.Popen

        def start(words: list[str], **options: Any) -> Any:
            return real([words[0], "-c", script], **options)

        monkeypatch.setattr(subprocess, "Popen", start)

    return instead


def test_a_run_says_what_the_process_says(in_this_process: Callable[[str], None]) -> None:
    in_this_process(
        'print(\'{"phase": "looking", "share": 0.5}\', flush=True); print(\'{"result": {"a": 1}}\', flush=True)'
    )
    told: list[tuple[str, float]] = []
    assert run_evaluation(JOB, 10, None, lambda *said: told.append(said)) == {"a": 1}
    assert told == [("looking", 0.5)]


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ('print(\'{"error": {"kind": "CorruptFile", "message": "Cut."}}\')', CorruptFile, "Cut."),
        ("import sys; sys.exit('the last words')", JobError, "exit status 1.*the last words"),
        ("import os; os.abort()", JobError, "signal SIGABRT"),
        ("print('no json')", LookalikeError, "no JSON: 'no json"),
        ("pass", JobError, "exit status 0"),
    ],
    ids=["an error", "a status", "an abort", "no JSON", "nothing"],
)
def test_a_process_that_fails_is_a_sentence(
    in_this_process: Callable[[str], None],
    script: str,
    error: type[Exception],
    words: str,
) -> None:
    in_this_process(script)
    with pytest.raises(error, match=f"(?s){words}"):
        run_evaluation(JOB, 10, None, lambda *said: None)


def test_what_can_not_be_measured_is_refused_before_anything_runs(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job").job
    with pytest.raises(UsageError, match="9 queries say nothing of an index: ask for 10 at least"):
        evaluate(Asked(job, queries=9), lambda *said: None)
    with pytest.raises(NoIndexYet):
        evaluate(Asked(job), lambda *said: None)
