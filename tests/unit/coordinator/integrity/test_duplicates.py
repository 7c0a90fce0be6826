"""Damage to what was found out about duplicates is found, and repair removes what can be made anew."""

from pathlib import Path

import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.repair import repair
from coordinator.integrity.verify import verify
from coordinator.jobs.runs.duplicates.rejecting import reject
from coordinator.jobs.runs.duplicates.run import Asked, duplicates
from shared.job.index.duplicates import compared
from shared.settings import Settings
from tests.support.damage import cut, flip
from tests.support.duplicates import encoded, photo_job, work_here
from tests.support.images.scenes import scene

pytestmark = pytest.mark.slow


def test_every_file_is_checked_and_what_can_be_made_anew_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = scene(1)
    job = photo_job(tmp_path, {"0.png": encoded(one), "1.jpg": encoded(one, ".jpg"), "2.png": encoded(scene(2))})
    work_here(monkeypatch)
    asked = Asked(job, Settings())
    first = duplicates(asked, lambda event: None).to_json()
    reject(job, [[0, 2]])

    def bad() -> list[str]:
        return [found.path for found in verify(job, Checked()) if found.bad and "duplicates" in found.path]

    assert not [found.path for found in verify(job, Checked()) if "duplicates" in found.path]
    with monkeypatch.context() as patch:
        patch.setattr(compared, "COMPARED_BY", "another version's features")
        assert bad() == [], "what another version compared is not damaged"
    made = [*job.duplicates_files("neighbours"), *job.duplicates_files("compared")]
    assert len(made) == 2
    for path in made:
        for damage in (cut, flip):
            data = path.read_bytes()
            damage(path)
            assert bad() == [path.relative_to(job.path).as_posix()]
            path.write_bytes(data)
    for path in made:
        cut(path)
    for _ in repair(job, Checked()):
        pass
    assert not any(path.exists() for path in made)
    assert duplicates(asked, lambda event: None).to_json() == first
    for decided in (job.rejected(1), job.decided(1)):
        decided.write_bytes(b"{\n")
        assert bad() == ["duplicates"]
        decided.unlink()
