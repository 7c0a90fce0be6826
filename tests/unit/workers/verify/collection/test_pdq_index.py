"""The look-up of PDQs: it finds what a comparison with every hash finds, within as many bits."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from shared.errors import CorruptFile
from workers.verify.collection.pdq_index import MOST_BITS, PdqIndex
from workers.verify.pdq import distances

Hashes = npt.NDArray[np.uint8]


def flipped(value: Hashes, bits: npt.NDArray[np.intp]) -> Hashes:
    changed = np.unpackbits(value)
    changed[bits] ^= 1
    return np.packbits(changed)


@pytest.fixture(scope="module")
def hashes() -> Hashes:
    """4,000 hashes: strangers, and around the first of them others at each distance from 0 to 40."""
    rng = np.random.default_rng(0)
    found = rng.integers(0, 256, (4_000, 32), dtype=np.uint8)
    for number in range(1, 821):
        found[number] = flipped(found[0], rng.permutation(256)[: (number - 1) % 41])
    return found


def brute(hashes: Hashes, quality: Hashes, query: Hashes, within: int, most: int) -> list[tuple[int, int]]:
    far = distances(hashes, query)
    rows = np.flatnonzero((far <= within) & (quality >= 50))
    rows = rows[np.lexsort((rows, far[rows]))][:most]
    return list(zip(rows.tolist(), far[rows].tolist(), strict=True))


def found(index: PdqIndex, query: Hashes, within: int = MOST_BITS, most: int = 100) -> list[tuple[int, int]]:
    rows, far = index.find(query, 90, within, most)
    return list(zip(rows.tolist(), far.tolist(), strict=True))


@pytest.mark.parametrize("within", [0, 1, 15, 30, 31])
def test_it_finds_what_a_comparison_with_every_hash_finds(hashes: Hashes, within: int) -> None:
    rng = np.random.default_rng(within)
    quality = np.where(np.arange(len(hashes)) % 9 == 0, 49, 50).astype(np.uint8)
    index = PdqIndex.build(hashes, quality)
    assert len(index) == int((quality >= 50).sum())
    queries = [hashes[0], *hashes[[5, 40, 900]], *(flipped(hashes[0], rng.permutation(256)[:9]) for _ in range(20))]
    counts = []
    for query in queries:
        expected = brute(hashes, quality, query, within, 10_000)
        assert found(index, query, within, 10_000) == expected
        counts.append(len(expected))
    assert max(counts) >= (500 if within == MOST_BITS else 10)


def test_a_hash_whose_parts_all_differ_in_one_bit_or_two_is_found_up_to_31(hashes: Hashes) -> None:
    """What the pigeonhole leaves least: 15 parts that differ in two bits, and one in one."""
    bits = np.array([16 * part + bit for part in range(16) for bit in (3, 11)])
    far = np.stack([flipped(hashes[0], np.delete(bits, left)) for left in range(32)])
    index = PdqIndex.build(far, np.full(32, 90, np.uint8))
    assert found(index, hashes[0]) == [(row, 31) for row in range(32)]
    beyond = PdqIndex.build(flipped(hashes[0], bits)[None], np.array([90], np.uint8))
    assert found(beyond, hashes[0]) == []


def test_as_many_are_given_as_are_wanted_the_nearest_and_then_the_lowest_rows(hashes: Hashes) -> None:
    index = PdqIndex.build(hashes, np.full(len(hashes), 90, np.uint8))
    for most in (1, 2, 21, 22, 100):
        assert found(index, hashes[0], most=most) == brute(
            hashes, np.full(len(hashes), 90, np.uint8), hashes[0], MOST_BITS, most
        )


def test_thousands_of_equal_pictures_are_one_hash_and_those_that_are_asked_for_come_in_order(hashes: Hashes) -> None:
    many = np.concatenate([hashes[:5], np.repeat(hashes[2_000][None], 50_000, axis=0), hashes[5:9]])
    index = PdqIndex.build(many, np.full(len(many), 100, np.uint8))
    assert len(index.hashes) == 9
    assert len(index.members) == 9 * 16
    assert found(index, hashes[2_000], most=7) == [(row, 0) for row in range(5, 12)]


def test_pictures_that_show_nothing_neither_answer_nor_are_found(hashes: Hashes) -> None:
    index = PdqIndex.build(hashes[:9], np.array([49, *[50] * 8], np.uint8))
    assert 0 not in [row for row, _ in found(index, hashes[0])]
    rows, far = index.find(hashes[1], 49)
    assert (len(rows), len(far)) == (0, 0)
    assert len(index.find(hashes[1], 50)[0]) > 0
    empty = PdqIndex.build(hashes[:0], np.empty(0, np.uint8))
    assert found(empty, hashes[0]) == []


def test_what_was_saved_is_mapped_and_finds_the_same(hashes: Hashes, tmp_path: Path) -> None:
    index = PdqIndex.build(hashes, np.full(len(hashes), 90, np.uint8))
    index.save(tmp_path)
    mapped = PdqIndex.open(tmp_path)
    for query in hashes[:50]:
        assert found(mapped, query) == found(index, query)
    np.save(tmp_path / "members.npy", index.members[:-1])
    with pytest.raises(CorruptFile, match="don't fit together"):
        PdqIndex.open(tmp_path)
    (tmp_path / "rows.npy").unlink()
    with pytest.raises(CorruptFile, match="make it anew"):
        PdqIndex.open(tmp_path)


@pytest.mark.parametrize("within", [-1, 32])
def test_a_distance_within_which_some_would_be_missed_is_refused(hashes: Hashes, within: int) -> None:
    index = PdqIndex.build(hashes[:3], np.full(3, 90, np.uint8))
    with pytest.raises(ValueError, match="0 to 31 bits"):
        index.find(hashes[0], 90, within)


def test_hashes_of_another_shape_are_refused(hashes: Hashes) -> None:
    with pytest.raises(ValueError, match="uint8"):
        PdqIndex.build(hashes[:, :16].copy(), np.full(len(hashes), 90, np.uint8))
    with pytest.raises(ValueError, match="a quality each"):
        PdqIndex.build(hashes, np.full(3, 90, np.uint8))
