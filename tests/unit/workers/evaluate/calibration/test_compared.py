"""Altered copies of real pictures are compared with their originals and others; what shows the same is not false."""

from pathlib import Path

import pytest

from shared.job.index.calibration import UNALTERED
from shared.job.opened import OpenJob
from shared.settings import Settings
from tests.support.duplicates import encoded, photo_job
from tests.support.images.scenes import resized, scene
from workers.evaluate.calibration import compared
from workers.evaluate.calibration.asked import Related
from workers.evaluate.calibration.compared import Comparing
from workers.images.alterations import MEASURED

pytestmark = pytest.mark.slow


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """Images 0 to 4: a picture, another one, the first one smaller, a part of it, and another one."""
    one = scene(1)
    files = {
        "0.png": encoded(one),
        "1.png": encoded(scene(2)),
        "2.jpg": encoded(resized(one, 200, 240), ".jpg"),
        "3.png": encoded(one[60:300, 40:260]),
        "4.png": encoded(scene(3)),
    }
    return photo_job(tmp_path, files)


def test_copies_are_proven_and_what_shows_the_same_is_told_from_false(job: OpenJob) -> None:
    near = [(2, 9.0), (3, 8.0), (1, 7.0), (4, 1.0)]
    found, related = Comparing(job, Settings()).verdicts({0: near}, 8)
    assert [row.alteration for row in found.rows] == [UNALTERED, *MEASURED]
    assert related == {(0, 2): Related.SAME, (0, 3): Related.UNCLEAR}
    assert (found.copies, found.proven, found.false) == (6, 6, 0)
    # Of the three that stand out farthest one is a stranger; the fourth was not compared.
    assert (found.images, found.unclear, found.strangers) == (1, 1, 6)
    rows = {row.alteration: row for row in found.rows}
    assert rows[UNALTERED].same_bytes == 1
    assert (rows["half size"].same_pixels, rows["crop 20 %"].same_picture) == (1, 1)


def test_a_false_verdict_is_counted_once_for_each_copy(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    # What every picture is taken for: the same; that others are related to the original is not believed here.
    monkeypatch.setattr(compared, "relation_of", lambda itself, other: None)
    monkeypatch.setattr(compared, "verify", lambda query, hit: object())
    found, _ = Comparing(job, Settings()).verdicts({0: [(1, 9.0), (4, 8.0)]}, 8)
    assert (found.false, found.strangers) == (6, 12)
    assert all(row.false_picture == 1 for row in found.altered)


def test_images_that_are_gone_or_changed_are_passed_over(job: OpenJob, tmp_path: Path) -> None:
    (tmp_path / "photos" / "4.png").unlink()
    (tmp_path / "photos" / "1.png").write_bytes(encoded(scene(7)))
    strangers = {0: [(4, 9.0), (3, 8.0)], 1: [(0, 5.0)], 4: [(0, 5.0)]}
    found, _ = Comparing(job, Settings()).verdicts(strangers, 8)
    assert (found.images, found.strangers, found.reason) == (1, 0, "")
    none, related = Comparing(job, Settings()).verdicts({4: strangers[4]}, 8)
    assert (none.copies, related) == (0, {})
    assert "4.png" in none.reason


def test_those_that_are_passed_come_last(job: OpenJob) -> None:
    def compared_first(passed: int) -> int:
        """The one whose copies are compared: image 2 shows what image 0 does, and not what image 1 does."""
        _, related = Comparing(job, Settings()).verdicts({own: [(2, 1.0)] for own in (0, 1)}, 1, passed)
        return 0 if (0, 2) in related else 1

    first, second = compared_first(0), compared_first(1)
    assert {first, second} == {0, 1}
    assert compared_first(2) == first


def test_pairs_are_looked_at_and_those_that_cannot_be_are_left_out(job: OpenJob, tmp_path: Path) -> None:
    (tmp_path / "photos" / "1.png").unlink()
    pairs = [(0, 2), (0, 3), (0, 4), (0, 1), (1, 0)]
    assert Comparing(job, Settings()).related(pairs) == {(0, 2): Related.SAME, (0, 3): Related.UNCLEAR}


@pytest.mark.parametrize("count", [1, 2, 3, 10, 48])
def test_originals_are_spread_over_all_and_each_is_taken_once(count: int) -> None:
    spread = list(compared._spread(count))
    assert sorted(spread) == list(range(count))
    if count == 48:
        assert max(sorted(spread[:8])[place + 1] - sorted(spread[:8])[place] for place in range(7)) <= 12
