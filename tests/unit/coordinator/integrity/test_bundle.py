"""Every byte of a bundle is compared, and repair does not touch one."""

from pathlib import Path

import pytest

from coordinator.integrity.findings import Checked, Kind
from coordinator.integrity.repair import repair
from coordinator.integrity.verify import verify
from shared.errors import JobError
from shared.job.opened import OpenJob
from tests.support.bundles import bundle_of
from tests.support.damage import DAMAGES, cut, empty, flip, snapshot
from tests.support.source_jobs import job_of_a_list

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(tmp_path: Path) -> OpenJob:
    return bundle_of(job_of_a_list(tmp_path, index=True), tmp_path / "bundle", thumbnails=32)


def test_a_whole_bundle_has_no_finding(bundle: OpenJob) -> None:
    checked = Checked()
    assert not list(verify(bundle, checked))
    assert checked.files == len(list(bundle.files()))
    assert checked.bytes == sum(path.stat().st_size for path, _ in bundle.files())


def test_damage_to_any_file_is_found_with_what_to_do(bundle: OpenJob) -> None:
    for path, _ in list(bundle.files()):
        data = path.read_bytes()
        damages = (cut, empty) if path == bundle.spec else DAMAGES.values()
        for damage in damages if data else ():  # No thumbnail could be made, so their files are empty.
            damage(path)
            findings = [found for found in verify(bundle, Checked()) if found.bad]
            assert [found.path for found in findings] == [path.relative_to(bundle.path).as_posix()], (path, damage)
            path.write_bytes(data)
        path.unlink()
        if path != bundle.spec:
            (finding,) = verify(bundle, Checked())
            assert finding.kind == Kind.DAMAGE
            assert finding.sentence == "It is missing. Copy the bundle anew, or export the job again."
        path.write_bytes(data)
    assert not list(verify(bundle, Checked()))


def test_what_was_not_exported_is_named(bundle: OpenJob) -> None:
    bundle.seal(9).write_text("{}\n")
    (bundle.path / "notes.txt").write_text("mine")
    found = {finding.path: finding for finding in verify(bundle, Checked())}
    assert found["ledger/0009.json"].kind == Kind.LEFTOVER
    assert found["."].kind == Kind.FOREIGN


def test_repair_leaves_a_bundle_as_it_is(bundle: OpenJob) -> None:
    flip(bundle.img_emb(1))
    before = snapshot(bundle.path)
    with pytest.raises(JobError, match=r"is a bundle of the job .*: it is for searching, and can't be repaired"):
        list(repair(bundle, Checked()))
    assert snapshot(bundle.path) == before
