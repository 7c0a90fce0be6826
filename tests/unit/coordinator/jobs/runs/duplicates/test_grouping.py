"""Groups: each member is proven to show what the kept one shows, nothing chains, and no order matters."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.jobs.runs.duplicates.grouping import Nodes, Pair, add_similar, pair, settled


def rank(node: int) -> int:
    return node


def all_settled(truth: set[Pair], asked: set[Pair], rejected: frozenset[Pair] = frozenset()) -> list[Nodes]:
    """The groups, where `asked` are compared first and what is wanted after that has the answers of `truth`."""
    proofs = {one: one in truth for one in asked}
    while True:
        found = settled(proofs, rank, rejected)
        if not found.wanted:
            return found.groups
        assert not proofs.keys() & set(found.wanted)
        proofs |= {one: one in truth for one in found.wanted}


def settled_proofs(truth: set[Pair], asked: list[Pair]) -> dict[Pair, bool]:
    """All that has to be compared, where `asked` are compared first, in their order."""
    proofs = {one: one in truth for one in asked}
    while wanted := settled(proofs, rank).wanted:
        proofs |= {one: one in truth for one in reversed(wanted)}
    return proofs


def test_copies_of_one_picture_are_one_group_though_each_was_compared_with_few() -> None:
    every = {(one, other) for one in range(6) for other in range(one + 1, 6)}
    chain = {(node, node + 1) for node in range(5)}
    assert all_settled(every, chain) == [Nodes(0, [1, 2, 3, 4, 5])]


def test_crops_that_share_nothing_join_through_the_whole_picture_that_is_kept() -> None:
    whole, left, right = 0, 1, 2
    assert all_settled({(whole, left), (whole, right)}, {(0, 1), (0, 2), (1, 2)}) == [Nodes(whole, [left, right])]


def test_strangers_do_not_chain_through_a_picture_that_is_not_kept() -> None:
    # 0 is a crop with more pixels than the whole picture 1; 2 is a crop of another part.
    (group,) = all_settled({(0, 1), (1, 2)}, {(0, 1), (1, 2)})
    assert (group.kept, group.proven) == (0, [1])
    assert group.beside == [(2, 1)]


def test_what_does_not_show_what_the_kept_one_shows_makes_groups_of_its_own() -> None:
    truth = {(0, 1), (1, 2), (2, 3), (3, 4)}
    assert all_settled(truth, truth) == [Nodes(0, [1]), Nodes(2, [3], beside=[(4, 3)])]


def test_a_rejected_pair_proves_nothing_and_is_never_in_one_group() -> None:
    every = {(0, 1), (0, 2), (1, 2)}
    assert all_settled(every, every, frozenset({(0, 1), (0, 2)})) == [Nodes(1, [2])]
    (group,) = all_settled(every, every, frozenset({(1, 2)}))
    assert (group.kept, group.proven, group.beside) == (0, [1], [(2, 0)])


@given(
    st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda one: one[0] != one[1]), max_size=30),
    st.randoms(use_true_random=False),
)
def test_each_member_is_proven_against_the_kept_one_whatever_the_order(drawn: set[Pair], random: Random) -> None:
    truth = {pair(*one) for one in drawn}
    groups = all_settled(truth, truth)
    shuffled = sorted(truth)
    random.shuffle(shuffled)
    assert groups == settled(settled_proofs(truth, shuffled), rank).groups
    nodes = [node for group in groups for node in (group.kept, *group.proven)]
    assert len(nodes) == len(set(nodes))
    for group in groups:
        assert group.proven
        assert all(pair(group.kept, node) in truth and node > group.kept for node in group.proven)
        assert all(pair(*one) in truth and one[0] not in nodes for one in group.beside)


def similar(
    pairs: dict[Pair, float], groups: list[Nodes] | None = None, rejected: frozenset[Pair] = frozenset()
) -> list[Nodes]:
    lower, upper = (np.array([one[side] for one in pairs], np.int64) for side in (0, 1))
    return add_similar(groups or [], lower, upper, np.array([*pairs.values()], np.float32), np.arange(50), rejected)


def test_no_group_grows_from_one_similar_image_to_the_next() -> None:
    assert similar({(0, 1): 0.99, (1, 2): 0.99, (2, 3): 0.99}) == [Nodes(0, similar=[1]), Nodes(2, similar=[3])]


def test_the_more_similar_come_first_and_equally_similar_ones_by_rank() -> None:
    assert similar({(0, 3): 0.97, (0, 2): 0.97, (0, 1): 0.99}) == [Nodes(0, similar=[1, 2, 3])]


def test_what_is_proven_stays_together_and_takes_what_is_similar_to_the_kept_one() -> None:
    proven = [Nodes(0, [1])]
    assert similar({(0, 2): 0.99, (1, 3): 0.99}, proven) == [Nodes(0, [1], [2])]


def test_similar_images_that_were_rejected_are_apart() -> None:
    assert similar({(0, 1): 0.99, (0, 2): 0.98}, rejected=frozenset({(0, 1)})) == [Nodes(0, similar=[2])]
    assert similar({(0, 1): 0.99, (0, 2): 0.98}, rejected=frozenset({(1, 2)})) == [Nodes(0, similar=[1])]


def test_nothing_makes_no_group() -> None:
    assert settled({}, rank).groups == []
    assert settled({(0, 1): False}, rank).groups == []
    assert similar({}) == []


@pytest.mark.parametrize("count", [2_000])
def test_thousands_of_copies_are_grouped_with_as_many_comparisons(count: int) -> None:
    chain = {(node, node + 1): True for node in range(count - 1)}
    wanted = settled(chain, rank).wanted
    assert len(wanted) == count - 2
    (group,) = settled(chain | dict.fromkeys(wanted, True), rank).groups
    assert group.proven == list(range(1, count))
