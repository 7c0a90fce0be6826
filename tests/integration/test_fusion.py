"""A job with fusion: tried in a process of its own, embedded and searched by workers."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from coordinator.jobs.progress import ProgressReader
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.job.opened import open_job
from tests.integration.faults.faults import light_model
from tests.support.processes import environment, run

pytestmark = pytest.mark.timeout(600)


def test_a_fused_job_is_made_and_searched(tmp_path: Path) -> None:
    env = environment() | light_model()
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(8)
    for number in range(70):
        coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(photos / f"{number}.png"), cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC))
    (photos / "broken.png").write_bytes(b"no image")
    made = run("index", photos, tmp_path / "jobs" / "job", "--fusion", env=env)
    assert made.returncode == 0, made.stderr
    manifest = load_manifest(JobDir(tmp_path / "jobs" / "job"))
    assert manifest.fusion is not None
    assert manifest.fusion.kept
    assert f"\n{manifest.fusion}\n" in made.stderr
    assert (manifest.fusion.images, manifest.fusion.copies) == (70, 35 * 15)
    status = ProgressReader(open_job(JobDir(tmp_path / "jobs" / "job"))).read().to_json()
    assert status["fusion"] == manifest.fusion.to_json()
    kept = {path.name for path in (tmp_path / "jobs" / "job" / "model").iterdir()}
    assert kept == set(manifest.model.files)
    found = run(
        "search", tmp_path / "jobs" / "job", photos / "5.png", "-k", "1", "--verify", "never", "--json", env=env
    )
    assert found.returncode == 0, found.stderr
    (hit,) = json.loads(found.stdout)[0]["hits"]
    assert hit["image_path"] == str(photos / "5.png")
    assert hit["similarity"] == pytest.approx(1, abs=1e-3)
