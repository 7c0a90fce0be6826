"""`lookalike compact`: what it says, and what other commands say afterwards."""

import json
from pathlib import Path

import pytest

from shared.job.opened import OpenJob, open_job
from tests.support.cli import Run
from tests.support.compactions import compacted, remove
from tests.support.source_jobs import all_paths, job_of_a_list


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of 60 images, two of which failed, the last partition of which is not sealed."""
    return job_of_a_list(tmp_path, sealed=[0, 1])


def test_it_says_what_it_did_and_what_is_left_to_do(run: Run, job: OpenJob) -> None:
    remove(job, 7, 8, 30)
    before = run("compact", job.path, "--dry-run")
    assert (before.status, before.out) == (0, "")
    assert "2 partitions would be rewritten without 3 removed images: about" in before.err
    assert "nothing was changed" in before.err
    ran = run("compact", job.path, "--share", "0.05")
    assert (ran.status, ran.out) == (0, "")
    assert "1 partition rewritten without 2 removed images: about" in ran.err
    assert open_job(job).state.purged.tolist() == [7, 8]
    assert run("compact", job.path, "--share", "1.5").status == 2


def test_status_says_what_a_compaction_would_free_where_that_is_much(run: Run, job: OpenJob) -> None:
    remove(job, 1)
    assert "compaction" not in run("status", job.path).out
    remove(job, *range(10, 20))
    line = next(line for line in run("status", job.path).out.splitlines() if line.startswith("compaction"))
    assert line.startswith(f"compaction  `lookalike compact {job.path}` frees about ")
    assert line.endswith(" % of the sealed files")
    assert json.loads(run("status", job.path, "--json").out)["reclaimable_bytes"] > 0
    compacted(job)
    assert "compaction" not in run("status", job.path).out
    table = json.loads(run("status", job.path, "--json").out)
    assert (table["removed"], table["purged"], table["reclaimable_bytes"], table["pending"]) == (11, 11, 0, 10)


def test_of_a_purged_image_only_its_removal_is_shown(run: Run, job: OpenJob, tmp_path: Path) -> None:
    path = all_paths(job)[7]
    remove(job, 7)
    compacted(job)
    facts = json.loads(run("show", job.path, "7", "--json").out)
    assert {key: facts[key] for key in facts if key != "removed_at"} == {"id": 7, "status": "removed", "removed_by": 1}
    assert json.loads(run("show", job.path, "8", "--json").out)["image_path"] == all_paths(open_job(job))[8]
    ran = run("show", job.path, "7", "-o", tmp_path / "out.jpg")
    assert (ran.status, (tmp_path / "out.jpg").exists()) == (1, False)
    assert "its path left the job with a compaction" in ran.err
    assert "lists no image" in run("show", job.path, path).err
    again = run("delete", job.path, "7")
    assert "The image 7" in again.err
    assert "was removed before (change 1, delete" in again.err
