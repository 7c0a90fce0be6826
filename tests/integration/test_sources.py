"""A job over tars, as typed: killed and resumed, searched by what is beside the images, shown."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.job.directory import JobDir
from tests.integration.faults.faults import Faults
from tests.support.images.photographs import make_photos
from tests.support.processes import QUICK, Process, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)
SHARDS, EACH = 4, 40


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """160 photographs in a folder, and the same in four tars with a JSON file beside each."""
    folder = tmp_path_factory.mktemp("sources")
    make_photos(folder / "photos", SHARDS * EACH)
    paths = sorted((folder / "photos").iterdir())
    (folder / "shards").mkdir()
    for shard in range(SHARDS):
        with tarfile.open(folder / "shards" / f"{shard:05d}.tar", "w") as tar:
            for number in range(shard * EACH, (shard + 1) * EACH):
                tar.add(paths[number], f"{number:06d}.jpg")
                text = json.dumps({"caption": f"photo {number}", "stars": number % 5}).encode()
                info = tarfile.TarInfo(f"{number:06d}.json")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
    return folder / "photos", folder / "shards"


def test_a_job_over_tars_is_killed_resumed_searched_and_shown(
    shards: tuple[Path, Path], tmp_path: Path, broker_url: str, start: Callable[..., Process]
) -> None:
    photos, tars = shards
    root = tmp_path / "jobs"
    root.mkdir()
    faults = Faults(tmp_path / "faults")
    env = environment(CELERY_BROKER_URL=broker_url, LOOKALIKE_JOBS_ROOT=str(root), **QUICK) | faults.environment(
        light=True
    )
    third = faults.on_file("link", "*/chunks/*/0002.parquet", do="wait", times=1)
    worker = start("worker", "embed", "--name", "first", env=env)
    job = JobDir(root / "tars")
    sizes = ("--partition-size", "80", "--chunk-size", "10")
    coordinator = start("index", tars, job.path, *sizes, env=env)
    wait_until(lambda: third.reached, "two chunks are committed")
    worker.kill()
    coordinator.kill()
    coordinator.wait()
    start("worker", "embed", "merge", "query", "--name", "second", env=env)
    done = run("index", tars, job.path, env=env)
    assert done.returncode == 0, done.stderr
    assert "160 of 160 images embedded" in done.stderr

    query = f"{tars}/00003.tar::000137.jpg"
    found = run("search", job.path, query, "-k", "5", "--where", "stars = 2", "--json", env=env)
    assert found.returncode == 0, found.stderr
    hits = json.loads(found.stdout)[0]["hits"]
    assert (hits[0]["image_path"], hits[0]["id"], len(hits)) == (query, 137, 5)
    assert {hit["id"] % 5 for hit in hits} == {2}

    # The same by its id, asked for without the image.
    by_id = run("search", job.path, "137", "-k", "5", "--where", "stars = 2", "--json", env=env)
    assert [hit["id"] for hit in json.loads(by_id.stdout)[0]["hits"]] == [hit["id"] for hit in hits], by_id.stderr

    shown = run("show", job.path, hits[0]["image_path"], "-o", tmp_path / "hit.jpg")
    assert shown.returncode == 0, shown.stderr
    assert "photo 137" in shown.stdout
    assert (tmp_path / "hit.jpg").read_bytes() == sorted(photos.iterdir())[137].read_bytes()
