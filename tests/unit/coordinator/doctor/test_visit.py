"""`lookalike doctor`: what it looks at, what it shows, and how it ends; the processes that it asks are made up."""

import errno
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from coordinator.doctor import check_broker, check_model, check_workers, machine, source_sample, timing
from coordinator.doctor.check_broker import Broker
from coordinator.doctor.checks import Check, ok, problem, warning
from coordinator.doctor.machine import Cpu, Memory
from coordinator.doctor.timing import TimedSample
from coordinator.doctor.view import check_text, sample_view, verdict_line
from shared.errors import SourceError
from shared.models import ModelSpec
from shared.settings import Settings
from tests.support.cli import Run
from tests.support.make_job import MadeJob, make_job
from tests.support.timed_sample import LISTED, made

SECRET = "redis://user:p%40ss@host:6380/1"


class Asked:
    """Stands in for the processes and the broker, and keeps what they were asked."""

    def __init__(self) -> None:
        self.spec: ModelSpec | None = None
        self.model_dir = Path()
        self.environment: dict[str, str] = {}
        self.settings = Settings()
        self.seconds = 0.0
        self.sample: TimedSample | None = made()
        self.sample_checks: list[Check] = [ok("sample", "All good.")]

    def look(self, spec: ModelSpec | None, model_dir: Path, environment: dict[str, str]) -> list[Check]:
        self.spec, self.model_dir, self.environment = spec, model_dir, environment
        return [ok("gpu", "None is here.")]

    def time(self, listed: Any, spec: ModelSpec, model_dir: Path, settings: Settings, **options: Any) -> Any:
        self.settings, self.seconds = settings, options["seconds"]
        options["told"]("half of it")
        return self.sample, self.sample_checks


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()
    monkeypatch.setattr(check_model, "look", found.look)
    monkeypatch.setattr(timing, "run", found.time)
    # A machine that is well, whatever this one is.
    monkeypatch.setattr(machine, "read_cpu", lambda: Cpu("Xeon", frozenset({"avx2"}), 2, 2, None))
    monkeypatch.setattr(machine, "read_memory", lambda: Memory(16 * 10**9, 9 * 10**9, None))
    monkeypatch.setattr(timing, "threads_of", lambda settings: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(1_000):
        (folder / f"{number:04d}.jpg").touch()
    return folder


def test_with_nothing_given_a_line_for_each_thing_and_no_problem(run: Run, asked: Asked) -> None:
    ran = run("doctor")
    *lines, empty, last = ran.out.splitlines()
    assert ran.status == 0
    subjects = [line[9:21].strip() for line in lines]
    assert subjects == ["python", "packages", "names", "cpu", "cores", "load", "gpu", "broker", "memory"]
    assert {line[:9].strip() for line in lines} == {"ok"}
    assert (empty, last) == ("", "All is well.")
    assert asked.spec is not None
    assert asked.spec.name == "efficientnet-lite0"


def test_a_source_is_timed_and_the_whole_predicted(run: Run, asked: Asked, photos: Path, tmp_path: Path) -> None:
    ran = run("doctor", photos, "--job", tmp_path / "jobs" / "mine", "--seconds", 7)
    assert ran.status == 0
    assert f"1,000 images in the folder {photos}" in ran.out
    assert "Sample: 100 of 1,000 images" in ran.out
    assert "The whole: 1,000 images, in one embed worker on a machine like this" in ran.out
    assert "1 session of 12 hours" in ran.out
    assert f" at {tmp_path}; the job takes " in ran.out
    assert asked.seconds == 7
    assert not (tmp_path / "jobs").exists(), "doctor makes nothing"


def test_a_program_reads_one_object(run: Run, asked: Asked, photos: Path) -> None:
    ran = run("doctor", photos, "--json")
    found = json.loads(ran.out)
    assert found["ok"] is True
    assert found["source"]["listed"] == 1_000
    assert found["prediction"]["images"] == 1_000
    assert found["measured"]["spent"]["model"] == 9.0
    assert {check["verdict"] for check in found["checks"]} <= {"ok", "warning"}
    assert [check["subject"] for check in found["checks"]][-1] == "memory"
    nothing = json.loads(run("doctor", "--json").out)
    assert (nothing["source"], nothing["measured"], nothing["prediction"]) == (None, None, None)


def test_what_is_timed_is_chosen_as_index_chooses(run: Run, asked: Asked, photos: Path) -> None:
    (photos / "keep").mkdir()
    (photos / "keep" / "0000.jpg").touch()
    (photos / "scan").write_bytes(b"\x89PNG\r\n\x1a\n")
    (photos / "LICENSE").write_text("no image")
    found = json.loads(run("doctor", photos, "--json", "--exclude", "00*.jpg", "--include", "keep/", "--sniff").out)[
        "source"
    ]
    assert found["listed"] == 1_000 - 100 + 1 + 1
    assert found["left_out"] == {"excluded by 00*.jpg": 100, "without suffix and no image": 1}
    # What a list names, and what no one named, can't be chosen from.
    ran = run("doctor", "--exclude", "*.png")
    assert (ran.status, "name one, or leave them out" in ran.err) == (2, True)
    (photos / "list.txt").write_text("0000.jpg\n")
    ran = run("doctor", photos / "list.txt", "--sniff")
    assert (ran.status, "names its images itself" in ran.err) == (2, True)


def test_a_problem_ends_with_1_also_for_programs(run: Run, asked: Asked, photos: Path) -> None:
    asked.sample, asked.sample_checks = None, [problem("sample", "It ended.")]
    ran = run("doctor", photos)
    assert ran.status == 1
    assert ran.out.splitlines()[-1] == "1 problem: a job would not run as it is."
    assert "The whole" not in ran.out
    ran = run("doctor", photos, "--json")
    assert (ran.status, json.loads(ran.out)["ok"]) == (1, False)


def test_warnings_alone_end_with_0(run: Run, asked: Asked, photos: Path) -> None:
    asked.sample_checks = [warning("sample", "Half of them failed.")]
    ran = run("doctor", photos)
    assert ran.status == 0
    assert ran.out.splitlines()[-1] == "1 warning: a job would run."


def test_what_is_no_source_is_a_problem(run: Run, asked: Asked, tmp_path: Path) -> None:
    ran = run("doctor", tmp_path / "gone")
    assert ran.status == 1
    assert f"problem  source      There is nothing at {tmp_path / 'gone'}" in ran.out
    assert asked.seconds == 0.0


def test_a_disk_that_fails_while_it_is_listed_is_a_problem(
    run: Run, asked: Asked, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (SourceError("It can't be listed."), OSError(errno.EIO, "Input/output error")):

        def fail(*_: Any, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(source_sample, "list_source", fail)
        assert run("doctor", photos).status == 1


def test_without_the_packages_of_a_worker_none_is_timed(
    run: Run, asked: Asked, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_model, "find_spec", lambda name: None)
    ran = run("doctor", photos)
    assert ran.status == 0
    assert "None is timed: a worker's packages are not installed here." in ran.out
    assert (asked.spec, asked.seconds) == (None, 0.0)


def test_an_unknown_model_is_a_problem_and_the_rest_is_looked_at(run: Run, asked: Asked, photos: Path) -> None:
    ran = run("doctor", photos, "--model", "resnet")
    assert ran.status == 1
    assert "problem  model       There is no model 'resnet'" in ran.out
    assert "ok       broker" in ran.out


def test_given_weights_are_looked_for_where_they_are(run: Run, asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "mine.h5").touch()
    run("doctor", "--model", "efficientnet-b4", "--weights", tmp_path / "mine.h5", "--engine", "keras")
    assert asked.spec is not None
    assert (asked.spec.weights_file, asked.model_dir) == ("mine.h5", tmp_path)
    assert asked.environment["LOOKALIKE_ENGINE"] == "keras"


@pytest.fixture
def job(tmp_path: Path) -> MadeJob:
    return make_job(tmp_path / "jobs" / "mine", sealed=[0])


def test_a_job_that_is_made_has_its_own_model_and_sizes(run: Run, asked: Asked, photos: Path, job: MadeJob) -> None:
    ran = run("doctor", photos, "--job", job.job.path)
    assert ran.status == 0
    assert f"ok       job         {job.job.path} is made: 60 images of " in ran.out
    assert asked.spec == job.job.manifest.model
    assert asked.model_dir == job.job.model_dir
    assert asked.settings.chunk_size == job.job.manifest.chunk_size
    assert asked.settings.partition_size == job.job.manifest.partition_size


def test_a_job_that_can_not_be_read_is_a_problem(run: Run, asked: Asked, job: MadeJob) -> None:
    job.job.spec.write_text("{}")
    ran = run("doctor", "--job", job.job.path)
    assert ran.status == 1
    assert f"problem  job         {job.job.path} can't be read: " in ran.out


def test_the_broker_and_its_workers_are_asked_and_no_password_is_shown(
    run: Run, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = {"redis_version": "7.2", "maxmemory_policy": "allkeys-lru"}
    monkeypatch.setattr(check_broker, "ask", lambda settings: Broker(settings.broker_url, info, 0.001, 0.0, 0.01))
    workers: list[Any] = []
    monkeypatch.setattr(check_workers, "ask", lambda settings: workers)
    for more in ([], ["--json"]):
        ran = run("doctor", "--broker", SECRET, *more)
        assert ran.status == 0
        assert "maxmemory-policy allkeys-lru" in ran.out
        assert "None answers within 2 s" in ran.out
        assert not [word for word in ("p%40ss", "p@ss", "user:") if word in ran.out + ran.err]
    assert "LOOKALIKE_BROKER_URL" not in asked.environment, "who looks at the model needs no broker"


def test_a_broker_that_is_away_is_a_problem_and_nobody_is_asked_behind_it(run: Run, asked: Asked) -> None:
    ran = run("doctor", "--broker", "redis://:secret@127.0.0.1:1/0")
    assert ran.status == 1
    assert "problem  broker      No broker answers at redis://**@127.0.0.1:1/0" in ran.out
    assert "workers" not in ran.out
    assert "secret" not in ran.out + ran.err


# The view.


def test_a_check_is_one_line_where_nobody_has_a_width() -> None:
    text = check_text(problem("sample", "It ended. Its last words:\n  killed"), None)
    assert text.plain == "problem  sample      It ended. Its last words: killed"


def test_on_a_terminal_a_sentence_is_folded_below_its_own_beginning() -> None:
    lines = check_text(warning("policy", "word " * 20 + "`redis-cli -h a-long-name CONFIG`"), 61).plain.splitlines()
    assert lines[0].startswith("warning  policy      word word")
    assert {len(line) - len(line.lstrip()) for line in lines[1:]} == {21}
    assert max(map(len, lines)) <= 61
    narrow = check_text(ok("a", "b" * 10), 5).plain
    assert narrow == "ok       a           bbbbbbbbbb"


@pytest.mark.parametrize(
    ("checks", "line"),
    [
        ([ok("a", "")], "All is well."),
        ([ok("a", ""), warning("b", "")], "1 warning: a job would run."),
        (
            [warning("a", ""), problem("b", ""), problem("c", "")],
            "2 problems and 1 warning: a job would not run as it is.",
        ),
    ],
)
def test_the_last_line_counts(checks: list[Check], line: str) -> None:
    assert verdict_line(checks) == line


def shown(sample: TimedSample, **changes: Any) -> str:
    console = Console(file=io.StringIO(), width=120)
    listed = source_sample.ListedSource(**{name: getattr(LISTED, name) for name in LISTED.__slots__} | changes)
    console.print(sample_view(sample, listed))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_stages_stand_in_order_with_what_an_image_takes() -> None:
    rows = [line.split() for line in shown(made()).splitlines()]
    assert ["list", "0.50", "ms"] in rows
    assert ["read", "10.00", "ms", "10%", "0%"] in rows
    assert ["decode", "20.00", "ms", "20%", "0%"] in rows
    assert ["model", "90.00", "ms", "90%", "90%"] in rows


def test_the_whole_is_said_in_hours_bytes_and_sessions() -> None:
    text = shown(made())
    assert "time                 1 min 42 s (1 min 42 s to 1 min 42 s)" in text
    assert "memory               497.1 MB: embed worker 175.0 MB, merge worker 322.1 MB" in text
    assert "Colab                1 session of 12 hours" in text
    assert "at least 1,000 images" in shown(made(), complete=False)
    assert "to longer)" in shown(made(marks=[[0, 3.0], [100, 4.0]]))
    assert "none is long enough for one chunk" in shown(made(marks=[[1, 100.0]]))


def test_where_nothing_was_embedded_there_is_no_whole() -> None:
    text = shown(made(embedded=0, load=None), left_out=Counter())
    assert "The whole" not in text
    assert "model" in text
