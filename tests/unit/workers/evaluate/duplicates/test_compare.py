"""Pairs are compared by what they show; what can't be read is said, and what was compared stays."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import SourceError
from shared.job.index.duplicates.compared import COMPARED_BY, Compared, Pair, ask, read_compared
from shared.job.opened import OpenJob
from shared.job.partition.features.wanted import want_features
from shared.messages.verdicts import SAME_PICTURE, SAME_PIXELS, Evidence
from shared.processes.control import Control, Stopped
from tests.support.controls import UNWATCHED
from tests.support.damage import flip
from tests.support.duplicates import encoded, photo_job
from tests.support.embedders import no_after, yes
from tests.support.images.scenes import resized, scene
from workers.embed.add_features import add_features
from workers.evaluate.duplicates.compare import compare_pairs
from workers.evaluate.duplicates.pictures import sharpness
from workers.verify.features import FEATURES_VERSION

pytestmark = pytest.mark.slow


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """Images 0 to 4: a picture, its half in size as a JPEG, a crop of it, another picture, and the crop mirrored."""
    one, other = scene(1, 480, 400), scene(2, 480, 400)
    crop = one[100:400, 60:340]
    return photo_job(
        tmp_path,
        {
            "0.png": encoded(one),
            "1.jpg": encoded(resized(one, 200, 240), ".jpg"),
            "2.png": encoded(crop),
            "3.png": encoded(other),
            "4.png": encoded(crop[:, ::-1]),
        },
    )


PAIRS = [Pair(0, hit) for hit in (1, 2, 3, 4)]


def compared(job: OpenJob, pairs: list[Pair] = PAIRS, attempt: int = 1, **alone: bool) -> dict[Pair, Compared]:
    batch = ask(job, pairs, attempt, **alone)
    compare_pairs(job, batch, UNWATCHED, 2)
    rows, found = read_compared(job.compared_pairs(batch))
    assert found == attempt
    return {row.pair: row for row in rows}


def test_each_pair_has_the_verdict_that_it_deserves_and_its_evidence(job: OpenJob) -> None:
    found = compared(job)
    assert [found[pair].verdict for pair in PAIRS] == [SAME_PIXELS, SAME_PICTURE, None, SAME_PICTURE]
    crop, mirrored = (Evidence.from_json(json.loads(found[Pair(0, hit)].evidence or "")) for hit in (2, 4))
    assert crop.hit_overlap > 0.95
    assert crop.query_overlap == pytest.approx(300 * 280 / (480 * 400), abs=0.05)
    assert (crop.mirrored, mirrored.mirrored) == (False, True)
    assert found[Pair(0, 3)].evidence is None


def test_evidence_is_in_pixels_of_the_images_however_large_they_are(tmp_path: Path) -> None:
    one = resized(scene(3, 480, 400), 1_500, 1_250)
    job = photo_job(tmp_path, {"0.jpg": encoded(one, ".jpg"), "1.jpg": encoded(one[150:1_050, 200:1_300], ".jpg")})
    evidence = Evidence.from_json(json.loads(compared(job, [Pair(0, 1)])[Pair(0, 1)].evidence or ""))
    assert np.allclose(evidence.query_quad, [(200, 150), (1_300, 150), (1_300, 1_050), (200, 1_050)], atol=6)
    assert np.allclose(evidence.hit_quad, [(0, 0), (1_100, 0), (1_100, 900), (0, 900)], atol=6)


def test_stored_features_give_the_same_verdicts_though_no_image_is_in_reach(job: OpenJob, tmp_path: Path) -> None:
    made = compared(job)
    want_features(job)
    assert add_features(job, job.partition(0), UNWATCHED, 2)
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    assert compared(job, attempt=2) == made
    assert {pair: row.evidence for pair, row in made.items() if row.verdict}.keys() == {PAIRS[0], PAIRS[1], PAIRS[3]}
    flip(job.features_files(0)[1], 200)
    with pytest.raises(SourceError, match="out of reach"):
        compared(job, attempt=3)
    (tmp_path / "elsewhere").rename(tmp_path / "photos")
    assert compared(job, attempt=3) == made


def test_a_question_for_pixels_alone_says_nothing_of_pictures(job: OpenJob) -> None:
    found = compared(job, pixels_alone=True)
    assert [found[pair].verdict for pair in PAIRS] == [SAME_PIXELS, None, None, None]
    assert all(row.pixels_alone for row in found.values())


def test_the_pixels_say_which_is_sharper_only_where_nothing_else_does(tmp_path: Path) -> None:
    one = scene(1, 480, 400)
    blurred = np.asarray(cv2.GaussianBlur(one, (0, 0), 1.5), np.uint8)
    files = {"0.bmp": encoded(blurred, ".bmp"), "1.bmp": encoded(one, ".bmp"), "2.png": encoded(one)}
    found = compared(photo_job(tmp_path, files), [Pair(0, 1), Pair(0, 2)])
    assert 0 < (found[Pair(0, 1)].query_sharpness or 0) < (found[Pair(0, 1)].hit_sharpness or 0)
    assert found[Pair(0, 2)].verdict == SAME_PIXELS
    assert found[Pair(0, 2)].query_sharpness is None


def test_a_copy_that_lost_its_colours_is_said_to_be_grey(tmp_path: Path) -> None:
    one = scene(1, 480, 400)
    grey = np.repeat(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)
    toned = np.clip(grey * np.array([1.1, 0.95, 0.75]), 0, 255).astype(np.uint8)
    paler = np.asarray(0.6 * one + 0.4 * grey, np.uint8)
    pictures = [one, grey, toned, paler, grey[:, ::-1], one[60:420, 50:350]]
    job = photo_job(tmp_path, {f"{number}.png": encoded(picture) for number, picture in enumerate(pictures)})
    found = compared(job, [Pair(0, other) for other in (1, 2, 3, 4, 5)] + [Pair(1, 0), Pair(1, 4), Pair(1, 5)])
    assert None not in [row.verdict for row in found.values()]
    lost = {pair: (row.query_is_grey, row.hit_is_grey) for pair, row in found.items()}
    assert [pair.hit for pair, row in lost.items() if pair.query == 0 and row == (False, True)] == [1, 2, 4]
    assert lost[Pair(0, 3)] == (False, False), "it is paler, and has its colours"
    assert (lost[Pair(1, 0)], lost[Pair(1, 4)]) == ((True, False), (False, False))
    assert lost[Pair(1, 5)] == (False, False), "a part says nothing of the colours of the whole"


def test_an_image_that_is_gone_or_changed_is_said_and_proves_nothing(job: OpenJob, tmp_path: Path) -> None:
    (tmp_path / "photos" / "1.jpg").unlink()
    (tmp_path / "photos" / "2.png").write_bytes(encoded(scene(9)))
    found = compared(job)
    assert "1.jpg" in (found[Pair(0, 1)].unread or "")
    assert "another one than was embedded" in (found[Pair(0, 2)].unread or "")
    assert [found[Pair(0, hit)].verdict for hit in (1, 2)] == [None, None]
    assert found[Pair(0, 4)].verdict == SAME_PICTURE
    assert all(row.unread for row in compared(job, [Pair(1, 0), Pair(1, 3)]).values())


def test_images_whose_folder_is_away_are_not_taken_for_gone(job: OpenJob, tmp_path: Path) -> None:
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    batch = ask(job, PAIRS, 1)
    with pytest.raises(SourceError, match="out of reach"):
        compare_pairs(job, batch, UNWATCHED, 2)
    assert job.duplicates_files("compared") == []
    (tmp_path / "elsewhere").rename(tmp_path / "photos")
    assert compare_pairs(job, batch, UNWATCHED, 2) == 3


def test_what_was_compared_is_not_compared_again_and_a_damaged_file_is(job: OpenJob, tmp_path: Path) -> None:
    found = compared(job)
    (path,) = job.duplicates_files("compared")
    written = path.read_bytes()
    (tmp_path / "photos" / "1.jpg").unlink()
    assert compared(job) == found
    (tmp_path / "photos" / "1.jpg").write_bytes(encoded(resized(scene(1, 480, 400), 200, 240), ".jpg"))
    path.write_bytes(written[: len(written) // 2])
    assert compared(job) == found


def test_a_worker_that_is_stopped_or_lost_its_lease_writes_nothing(job: OpenJob) -> None:
    batch = ask(job, PAIRS, 1)
    for control in (Control(no_after(0), yes, lambda share: None), Control(yes, no_after(0), lambda share: None)):
        with pytest.raises(Stopped):
            compare_pairs(job, batch, control, 1)
        assert job.duplicates_files("compared") == []


def test_pairs_that_were_compared_by_other_features_are_compared_again() -> None:
    assert f"{FEATURES_VERSION} both stored, colours" == COMPARED_BY


def test_the_sharper_of_two_copies_has_more_sharpness() -> None:
    sharp = scene(4)
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 2.0), np.uint8)
    assert sharpness(sharp) > sharpness(blurred) > sharpness(np.full((50, 50, 3), 7, np.uint8)) == 0
    assert sharpness(np.zeros((1, 5, 3), np.uint8)) == 0
