"""Candidates: pairs of images by their neighbours, with those of equal embeddings or bytes as one."""

import numpy as np

from coordinator.jobs.runs.duplicates.candidates import Candidates, candidates_of, unasked
from coordinator.jobs.runs.duplicates.facts import Facts
from shared.job.index.duplicates.neighbours import Neighbours


def facts_of(count: int, removed: set[int] = frozenset(), nodes: dict[int, int] | None = None) -> Facts:  # type: ignore[assignment]
    """Images with the ids 100, 101, …; `nodes` are those that others stand for."""
    ids = np.arange(100, 100 + count)
    stands = np.arange(count)
    for place, node in (nodes or {}).items():
        stands[place] = node
    zeros = np.zeros(count, np.int64)
    live = np.array([place not in removed for place in range(count)])
    return Facts(ids, live, stands, zeros, zeros, zeros > 0, zeros > 0)


def found(embeddings: list[int], pairs: dict[tuple[int, int], float], first: int = 0) -> Neighbours:
    """A file that holds images from place `first` on, whose embeddings are numbered, and these pairs of places."""
    digests = np.array([[one, 7] for one in embeddings], np.uint64).reshape(-1, 2)
    sides = np.array(list(pairs), np.int64).reshape(-1, 2) + 100
    similarities = np.array(list(pairs.values()), np.float32)
    return Neighbours(np.arange(len(embeddings)) + 100 + first, digests, sides[:, 0], sides[:, 1], similarities)


def pairs(candidates: Candidates) -> dict[tuple[int, int], float]:
    sides = zip(candidates.lower.tolist(), candidates.upper.tolist(), strict=True)
    return dict(zip(sides, np.round(candidates.similarities.astype(float), 4).tolist(), strict=True))


def of(facts: Facts, *files: Neighbours, least: float = 0.5) -> dict[tuple[int, int], float]:
    ranks = facts.ranks(np.zeros(len(facts.ids), np.float32), np.zeros(len(facts.ids), np.bool_))
    return pairs(candidates_of(facts, files, ranks, least))


def test_a_pair_that_both_have_is_one_with_the_higher_similarity() -> None:
    files = found([1, 2, 3], {(0, 1): 0.7, (1, 0): 0.71, (1, 2): 0.6})
    assert of(facts_of(3), files) == {(0, 1): 0.71, (1, 2): 0.6}
    assert of(facts_of(3), files, least=0.65) == {(0, 1): 0.71}


def test_equal_embeddings_are_pairs_with_their_best_which_stands_for_all() -> None:
    files = found([1, 2, 1], {(1, 0): 0.8}), found([1], {}, first=3)
    assert of(facts_of(4), *files) == {(0, 1): 0.8, (0, 2): 1.0, (0, 3): 1.0}


def test_removed_images_are_in_no_pair_and_still_say_what_is_near_to_their_equals() -> None:
    files = found([1, 2, 1], {(0, 1): 0.8})
    assert of(facts_of(3, removed={0}), files) == {(1, 2): 0.8}
    assert of(facts_of(3, removed={0, 2}), files) == {}


def test_images_of_equal_bytes_are_one_node() -> None:
    files = found([1, 2, 1], {(0, 1): 0.8})
    assert of(facts_of(3, nodes={2: 0}), files) == {(0, 1): 0.8}


def test_neighbours_that_were_purged_or_never_asked_are_left_out() -> None:
    assert of(facts_of(2), found([1, 2], {(0, 1): 0.8, (0, 40): 0.9})) == {(0, 1): 0.8}
    assert of(facts_of(2), found([1, 2, 3], {(0, 2): 0.8})) == {}
    assert of(facts_of(0), found([1, 2], {(0, 1): 0.8})) == {}
    assert of(facts_of(2)) == {}


def test_those_that_no_file_holds_are_asked_unless_they_were_removed() -> None:
    facts = facts_of(5, removed={4})
    assert unasked(facts, [np.array([100, 102])]).tolist() == [101, 103]
    assert unasked(facts, []).tolist() == [100, 101, 102, 103]
