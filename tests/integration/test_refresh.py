"""A job whose photos come, change and go, by the command that made it."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.images.photographs import make_photos
from tests.support.processes import run

pytestmark = pytest.mark.timeout(600)


def test_photos_that_came_changed_and_went_are_taken_up_by_the_same_command(tmp_path: Path) -> None:
    paths = make_photos(tmp_path / "all", 37)
    photos, job = tmp_path / "photos", tmp_path / "jobs" / "job"
    photos.mkdir()
    for path in paths[:30]:
        shutil.copy(path, photos)
    done = run("index", photos, job, "--partition-size", "20", "--chunk-size", "10")
    assert done.returncode == 0, done.stderr

    for path in paths[30:35]:
        shutil.copy(path, photos)
    changed, gone, renamed = (photos / path.name for path in paths[:3])
    shutil.copy(paths[35], changed)
    gone.unlink()
    renamed.rename(photos / "another name.jpg")
    done = run("index", photos, job)
    assert done.returncode == 0, done.stderr
    assert "\n5 new, 1 changed, 1 gone, 1 renamed\n" in done.stderr
    assert json.loads((job / "changes" / "000001.json").read_text())["partitions"] == [[2, 30, 36]]

    queries = [*paths[30:35], paths[35], paths[1], paths[2]]
    answers = json.loads(run("search", job, *queries, "-k", "40", "--json").stdout)
    first = [os.path.basename(answer["hits"][0]["image_path"]) for answer in answers]
    assert first[:6] == [*(path.name for path in paths[30:35]), changed.name]
    assert first[6] != gone.name
    assert first[7] == "another name.jpg"
    for answer in answers:
        found = [os.path.basename(hit["image_path"]) for hit in answer["hits"]]
        assert sorted(found) == sorted(path.name for path in photos.iterdir())
    status = json.loads(run("status", job, "--json").stdout)
    assert (status["pending"], status["partitions"]) == (0, {"sealed": 3, "started": 0, "waiting": 0})
    again = run("index", photos, job)
    assert (again.returncode, " new" in again.stderr, "gone" in again.stderr) == (0, False, False)

    # A second source: its images are found, and each of the two is refreshed by the job alone.
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(paths[36], more)
    done = run("index", more, job, "--add")
    assert done.returncode == 0, done.stderr
    assert f"\n{more}: 1 new\n" in done.stderr
    (photos / paths[34].name).unlink()
    shutil.copy(paths[0], more)
    done = run("index", job)
    assert done.returncode == 0, done.stderr
    assert f"\n{photos}: 1 gone\n{more}: 1 new\n" in done.stderr
    answers = json.loads(run("search", job, paths[36], paths[0], "-k", "40", "--json").stdout)
    assert [answer["hits"][0]["image_path"] for answer in answers] == [str(more / path.name) for path in paths[36::-36]]
    held = sorted(str(path) for folder in (photos, more) for path in folder.iterdir())
    for answer in answers:
        assert sorted(hit["image_path"] for hit in answer["hits"]) == held
    places = [source["location"] for source in json.loads(run("status", job, "--json").stdout)["sources"]]
    assert places == [str(photos), str(more)]
    assert run("verify", job).returncode == 0
