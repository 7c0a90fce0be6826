"""What a trial reads: what can be read, no bytes twice, and each image altered in every way."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.images.location import Location
from shared.images.paths import to_text
from workers.evaluate.fusion.sampling import Limits, copies_of, copies_of_all, read_sample
from workers.images.alterations import ALTERATIONS, HARDER

LIMITS = Limits(16, 10**6, 10**6, "reduced")
ALL = len(ALTERATIONS) + len(HARDER)


def photo(path: Path, seed: int = 0) -> Location:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (60, 50), interpolation=cv2.INTER_CUBIC))
    return Location(to_text(str(path)))


@pytest.mark.slow
def test_images_come_in_their_order_but_for_those_that_cannot_be_read_and_copies_of_their_bytes(tmp_path: Path) -> None:
    images = [photo(tmp_path / f"{number}.png", number) for number in range(6)]
    Path(images[1].path).write_bytes(b"no image")
    shutil.copy(images[0].path, images[2].path)
    Path(images[4].path).unlink()
    found = list(read_sample(images, LIMITS, 2))
    assert [location for location, _ in found] == [images[place] for place in (0, 3, 5)]
    assert {pixels.shape for _, pixels in found} == {(16, 16, 3)}
    assert [location for location, _ in read_sample(images, LIMITS, 2, 2)] == [images[0], images[3]]


def test_an_image_is_altered_in_every_way_and_one_that_is_gone_in_none(tmp_path: Path) -> None:
    here, gone = photo(tmp_path / "here.png"), Location(to_text(str(tmp_path / "gone.png")))
    copies = copies_of(here, LIMITS)
    assert (len(copies), {copy.shape for copy in copies}) == (ALL, {(16, 16, 3)})
    assert len({copy.tobytes() for copy in copies}) == ALL
    assert copies_of(gone, LIMITS) == []
    found = [(place, len(made)) for place, made in copies_of_all([here, gone] * 6, LIMITS, 2)]
    assert found == [(place, ALL * (place % 2 == 0)) for place in range(12)]
