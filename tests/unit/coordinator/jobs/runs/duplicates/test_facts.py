"""Facts: which image of a job is best, and which are the same bytes."""

from pathlib import Path

import numpy as np
import pytest

from coordinator.jobs.runs.duplicates.facts import Facts, read_facts
from shared.job.opened import open_job
from shared.job.partition import ledger
from tests.support.compactions import remove
from tests.support.duplicates import encoded, photo_job
from tests.support.images.scenes import scene
from tests.support.make_job import make_job


@pytest.mark.slow
def test_equal_bytes_are_one_node_of_the_first_that_is_live(tmp_path: Path) -> None:
    one, other = encoded(scene(1, 40, 40)), encoded(scene(2, 40, 50))
    job = photo_job(tmp_path, {f"{place}.png": data for place, data in enumerate([one, other, one, one, other, one])})
    facts = read_facts(job, ledger.sealed(job))
    assert facts.nodes.tolist() == [0, 1, 0, 0, 1, 0]
    assert facts.pixels.tolist() == [1_600, 2_000, 1_600, 1_600, 2_000, 1_600]
    assert facts.hashed.all()
    assert facts.lossless.all()
    remove(job, 0, 1, 4)
    job = open_job(job)
    facts = read_facts(job, ledger.sealed(job))
    assert facts.nodes.tolist()[2:4] == [2, 2]
    assert facts.nodes[5] == 2
    assert facts.live.tolist() == [False, False, True, True, False, True]
    assert facts.places(np.array([5, 99])).tolist() == [5, -1]


def test_the_best_has_most_pixels_then_colour_then_bytes_then_sharpness_then_every_pixel() -> None:
    ids = np.arange(7)
    pixels, sizes = np.array([5, 9, 9, 9, 9, 9, 9]), np.array([99, 1, 7, 7, 7, 7, 50])
    lossless = np.array([True, False, False, False, True, False, True])
    facts = Facts(ids, ids >= 0, ids, pixels, sizes, lossless, ids >= 0)
    ranks = facts.ranks(np.array([9, 9, 0, 3, 0, 0, 9], np.float32), ids == 6)
    assert np.argsort(ranks).tolist() == [3, 4, 2, 5, 1, 6, 0]


def test_no_image_has_no_fact(tmp_path: Path) -> None:
    facts = read_facts(make_job(tmp_path / "job", sealed=[]).job, [])
    assert len(facts.ids) == 0
    assert facts.places(np.array([4])).tolist() == [-1]
