"""Which PDQs of a job are near to those of a query, with an index and without, and after every change of the job."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.job.partition.features.marker import remove_features
from shared.job.partition.features.record import ImageFeatures
from tests.support.featured import made_up, seal_featured
from tests.support.make_job import make_job
from workers.search.cascade.lookup import pdqs
from workers.search.cascade.lookup.pdqs import PdqLookup, bytes_of, read_lookup
from workers.search.searcher import Searcher
from workers.verify.collection.pdq_index import PdqIndex

EVERY = np.arange(60)
ROOM = 1 << 30


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    return make_job(tmp_path / "job", sealed=[]).job


def read(job: JobDir, former: PdqLookup | None = None, most: int = ROOM) -> PdqLookup:
    opened = open_job(job)
    return read_lookup(JobFiles.of(job), opened, Searcher.open_parts(JobFiles.of(job)), former, most)


def hash_of(image: int, bits: int = 0) -> NDArray[np.uint8]:
    """The PDQ of a made-up image, of which so many bits are turned over."""
    found = np.frombuffer(ImageFeatures.from_bytes(made_up(image)).pdq, np.uint8)
    flipped = np.unpackbits(found)
    flipped[np.random.default_rng(bits).permutation(256)[:bits]] ^= 1
    return np.packbits(flipped)[None]


def found(lookup: PdqLookup, image: int, bits: int = 0, among: NDArray[np.int64] = EVERY) -> list[int]:
    return lookup.near(hash_of(image, bits), 90, 10, among).tolist()


@pytest.mark.parametrize("small", [0, 1_000])
def test_an_image_is_found_within_31_bits_and_in_any_of_the_turns(
    job: OpenJob, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(pdqs, "SMALL", small)
    for number in (0, 1, 2):
        seal_featured(job, number, failed=[3], without=[4])
    lookup = read(job)
    assert (lookup.index is None) is (small > 0)
    assert len(lookup) == 60 - len([*range(0, 60, 7), 3, 4]), "what says nothing, failed, or has none is not looked up"
    assert found(lookup, 5) == found(lookup, 5, 31) == [5]
    assert found(lookup, 5, 32) == []
    assert [found(lookup, image) for image in (3, 4, 7)] == [[], [], []]
    both = np.concatenate([hash_of(30, 20), hash_of(5, 3), hash_of(30, 9)])
    assert lookup.near(both, 90, 10, EVERY).tolist() == [5, 30], "the nearest first, each once"
    assert lookup.near(both, 90, 1, EVERY).tolist() == [5]
    assert lookup.near(both, 49, 10, EVERY).tolist() == [], "a query with nothing to see"
    assert lookup.near(both, 90, 10, np.array([4, 30])).tolist() == [30]
    assert lookup.near(both, 90, 10, EVERY[:0]).tolist() == []


def test_copies_that_may_not_be_found_do_not_take_the_place_of_one_that_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdqs, "AT_ONCE", 4)
    logos = np.repeat(hash_of(5), 200, axis=0)
    index = PdqIndex.build(logos, np.full(200, 90, np.uint8))
    lookup = PdqLookup(index, np.arange(1_000, 1_200))
    assert lookup.near(hash_of(5), 90, 3, np.array([7, 1_199])).tolist() == [1_199]
    assert lookup.near(hash_of(5), 90, 3, np.arange(1_100, 1_200)).tolist() == [1_100, 1_101, 1_102]


def test_what_came_since_is_found_beside_the_index_until_it_is_made_anew(
    job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdqs, "SMALL", 10)
    seal_featured(job, 0)
    first = read(job)
    assert len(first) == 21
    seal_featured(job, 1)
    seal_featured(job, 2)
    second = read(job, first)
    assert second.index is first.index
    assert [found(second, image) for image in (5, 30, 51)] == [[5], [30], [51]]
    assert second.is_outgrown
    third = read(job)
    assert not third.is_outgrown
    assert len(third) == len(second)
    assert [found(third, image) for image in (5, 30, 51)] == [[5], [30], [51]]


def test_a_partition_that_is_gone_or_another_by_now_makes_the_index_old(
    job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdqs, "SMALL", 10)
    for number in (0, 1, 2):
        seal_featured(job, number)
    first = read(job)
    remove_features(job, 1)
    second = read(job, first)
    assert second.is_outgrown
    assert not second.is_whole
    third = read(job)
    assert found(third, 30) == []
    assert found(third, 51) == [51]


def test_a_damaged_table_costs_its_own_images_and_no_others(job: OpenJob) -> None:
    for number in (0, 1, 2):
        seal_featured(job, number)
    table = job.features_files(1)[0]
    data = bytearray(table.read_bytes())
    data[-5] ^= 1
    table.write_bytes(data)
    lookup = read(job)
    assert [found(lookup, image) for image in (5, 30, 51)] == [[5], [], [51]]
    assert not lookup.is_whole


def test_a_job_without_features_or_without_room_has_none(job: OpenJob) -> None:
    seal_featured(job, 0)
    most = bytes_of(25, 0)
    assert len(read(job, most=most)) == 0
    assert len(read(job, most=most + 1)) == 21
    remove_features(job, 0)
    assert len(read(job)) == 0
