import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.sources.listing import PathDigest, partitions_of
from shared.job.manifest import Partition

path_lists = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=60)


@given(path_lists, st.integers(1, 70))
def test_partitions_cover_each_path_once_in_order(paths: list[str], size: int) -> None:
    cut = list(partitions_of(paths, size))
    assert [path for _, part in cut for path in part] == paths
    assert [image for partition, _ in cut for image in range(partition.start, partition.stop)] == list(
        range(len(paths))
    )
    assert [partition.number for partition, _ in cut] == list(range(len(cut)))
    assert all(len(part) == len(partition) for partition, part in cut)
    assert all(len(part) == size for _, part in cut[:-1])


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (0, 5, []),
        (1, 5, [Partition(0, 0, 1)]),
        (5, 5, [Partition(0, 0, 5)]),
        (6, 5, [Partition(0, 0, 5), Partition(1, 5, 6)]),
        (3, 1, [Partition(0, 0, 1), Partition(1, 1, 2), Partition(2, 2, 3)]),
    ],
)
def test_the_boundaries(count: int, size: int, expected: list[Partition]) -> None:
    assert [partition for partition, _ in partitions_of(map(str, range(count)), size)] == expected


def test_one_partition_is_held_at_a_time() -> None:
    pulled = 0

    def endless() -> object:
        nonlocal pulled
        while True:
            pulled += 1
            yield str(pulled)

    cut = partitions_of(endless(), 10)  # type: ignore[arg-type]
    next(cut)
    next(cut)
    assert pulled == 20


@given(path_lists)
def test_the_digest_passes_the_paths_on_and_counts_them(paths: list[str]) -> None:
    digest = PathDigest()
    assert list(digest.feed(paths)) == paths
    assert digest.count == len(paths)
    assert digest.hexdigest() == hashlib.sha256("".join(f"{path}\0" for path in paths).encode()).hexdigest()


@given(path_lists, path_lists)
def test_two_lists_have_one_digest_only_when_they_are_the_same(first: list[str], second: list[str]) -> None:
    digests = []
    for paths in (first, second):
        digest = PathDigest()
        assert len(list(digest.feed(paths))) == len(paths)
        digests.append(digest.hexdigest())
    assert (digests[0] == digests[1]) == (first == second)


def test_paths_do_not_run_together() -> None:
    digests = set()
    for paths in (["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["c", "ab"], []):
        digest = PathDigest()
        list(digest.feed(paths))
        digests.add(digest.hexdigest())
    assert len(digests) == 6
