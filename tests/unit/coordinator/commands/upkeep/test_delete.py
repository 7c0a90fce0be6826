"""`lookalike delete`: what it says, what it refuses, and what other commands say afterwards."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from coordinator.display.changes.removal import removal_lines
from coordinator.jobs.changes.removal import Removal
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from tests.support.cli import Run
from tests.support.source_jobs import all_paths, job_of_a_list


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of 60 images, two of which failed."""
    return job_of_a_list(tmp_path)


def test_it_says_how_many_are_gone_and_left(run: Run, job: OpenJob) -> None:
    ran = run("delete", job.path, "7", all_paths(job)[30], "8")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == "3 images removed: no answer names them any more. 57 of 60 are left.\n"
    ran = run("delete", job.path, "9")
    assert ran.out == "1 image removed: no answer names it any more. 56 of 60 are left.\n"
    assert open_job(job).state.removed.tolist() == [7, 8, 9, 30]


def test_of_many_the_first_few_are_named(run: Run, job: OpenJob, tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(10, 30))
    ran = run("delete", job.path, "--ids", "ids.npy")
    first, *paths, more = ran.out.splitlines()
    assert first == "20 images removed: no answer names them any more. 40 of 60 are left."
    assert paths == [f"  {path}" for path in all_paths(job)[10:15]]
    assert more == "  … and 15 more"


def test_a_dry_run_says_what_would_be_removed(run: Run, job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"4\n59\n")))
    ran = run("delete", job.path, "--ids", "-", "--dry-run")
    assert ran.out.splitlines() == [
        "2 images would be removed, and 58 of 60 would be left; nothing was changed.",
        *(f"  {all_paths(job)[image]}" for image in (4, 59)),
    ]
    assert open_job(job).state.number == 0


@pytest.mark.slow
def test_an_expression_that_matches_many_takes_yes(run: Run, job: OpenJob) -> None:
    ran = run("delete", job.path, "--where", "id < 30")
    assert (ran.status, ran.out) == (1, "")
    assert "'id < 30' matches 29 of the 60 images that are left" in ran.err
    assert "more than 20%, and nothing was removed: if they are meant, --yes removes them." in ran.err
    ran = run("delete", job.path, "--where", "id < 30", "--yes")
    assert ran.out.startswith("29 images removed: no answer names them any more. 31 of 60 are left.\n")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ([], 2, "Name what is to be removed in one way: an IMAGE or several, --ids FILE, or --where EXPRESSION."),
        (["1", "--where", "true"], 2, "in one way"),
        (["--ids", "ids.txt", "--where", "true"], 2, "in one way"),
        (["60"], 1, "has the image ids 0 to 59, and none is 60"),
        (["gone.jpg"], 1, "lists no image gone.jpg"),
        (["--ids", "ids.txt"], 1, "Line 2 of ids.txt is 'x'; each must be one image id"),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: Run, job: OpenJob, tmp_path: Path, arguments: list[str], status: int, sentence: str
) -> None:
    (tmp_path / "ids.txt").write_text("1\nx\n")
    ran = run("delete", job.path, *arguments)
    assert (ran.status, ran.out) == (status, "")
    assert sentence in ran.err
    assert open_job(job).state.number == 0


def test_no_job_is_status_1(run: Run, tmp_path: Path) -> None:
    ran = run("delete", tmp_path / "none", "1")
    assert (ran.status, "There is no job at" in ran.err) == (1, True)


def test_status_and_show_say_that_it_was_removed(run: Run, job: OpenJob) -> None:
    assert "removed" not in run("status", job.path).out
    run("delete", job.path, "7", "3")
    assert "60 listed, 58 embedded, 2 failed, 0 pending, 2 removed\n" in run("status", job.path).out
    assert json.loads(run("status", job.path, "--json").out)["removed"] == 2
    for image, path in (("7", all_paths(job)[7]), ("3", all_paths(job)[3])):
        facts = json.loads(run("show", job.path, image, "--json").out)
        assert (facts["id"], facts["status"], facts["removed_by"]) == (int(image), "removed", 1)
        assert facts["image_path"] == path
        assert facts["removed_at"].endswith("+00:00")
    assert facts["error_message"]  # What is known of it stays known.
    assert run("show", job.path, "8", "--json").out.count("removed") == 0


def test_of_a_job_in_a_store_it_is_said_when_workers_notice() -> None:
    removal = Removal(1, 1, 2, ["a.jpg"])
    assert removal_lines(removal, JobDir.at("memory://jobs/job"), dry_run=False) == [
        "1 image removed: no answer names it any more, of workers that run within 2 seconds. 1 of 2 is left."
    ]
