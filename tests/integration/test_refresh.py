"""A job whose photos come, change and go, by the command that made it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.faults.faults import light_model
from tests.support.images.photographs import make_photos
from tests.support.processes import Process, environment, run

pytestmark = pytest.mark.timeout(600)


def test_photos_that_came_changed_and_went_are_taken_up_by_the_same_command(
    broker_url: str, tmp_path: Path, start: Callable[..., Process]
) -> None:
    paths = make_photos(tmp_path / "all", 37)
    photos, job = tmp_path / "photos", tmp_path / "jobs" / "job"
    photos.mkdir()
    job.parent.mkdir()
    light = environment(CELERY_BROKER_URL=broker_url, LOOKALIKE_JOBS_ROOT=str(job.parent)) | light_model()
    start("worker", "embed", "merge", "query", env=light)  # Each command would start workers of its own.
    for path in paths[:30]:
        shutil.copy(path, photos)
    done = run("index", photos, job, "--partition-size", "20", "--chunk-size", "10", env=light)
    assert done.returncode == 0, done.stderr

    for path in paths[30:35]:
        shutil.copy(path, photos)
    changed, gone, renamed = (photos / path.name for path in paths[:3])
    shutil.copy(paths[35], changed)
    gone.unlink()
    renamed.rename(photos / "another name.jpg")
    done = run("index", photos, job, env=light)
    assert done.returncode == 0, done.stderr
    assert "\n5 new, 1 changed, 1 gone, 1 renamed\n" in done.stderr
    assert json.loads((job / "changes" / "000001.json").read_text())["partitions"] == [[2, 30, 36]]

    # A second source: its images are found, and each of the two is refreshed by the job alone.
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(paths[36], more)
    done = run("index", more, job, "--add", env=light)
    assert done.returncode == 0, done.stderr
    assert f"\n{more}: 1 new\n" in done.stderr
    (photos / paths[34].name).unlink()
    shutil.copy(paths[0], more)
    done = run("index", job, env=light)
    assert done.returncode == 0, done.stderr
    assert f"\n{photos}: 1 gone\n{more}: 1 new\n" in done.stderr
    came = [*paths[30:34], paths[35], paths[36], paths[0]]
    found = run("search", job, *came, paths[1], paths[2], "-k", "40", "--json", env=light)
    assert found.returncode == 0, found.stderr
    answers = json.loads(found.stdout)
    first = [answer["hits"][0]["image_path"] for answer in answers]
    expected = [*(photos / path.name for path in paths[30:34]), changed, more / paths[36].name, more / paths[0].name]
    assert first[:7] == [str(path) for path in expected]
    assert first[7] != str(gone)
    assert first[8] == str(photos / "another name.jpg")
    held = sorted(str(path) for folder in (photos, more) for path in folder.iterdir())
    for answer in answers:
        assert sorted(hit["image_path"] for hit in answer["hits"]) == held
    status = json.loads(run("status", job, "--json").stdout)
    assert (status["pending"], [source["location"] for source in status["sources"]]) == (0, [str(photos), str(more)])
    assert run("verify", job).returncode == 0
