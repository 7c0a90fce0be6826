"""Which of two embeddings finds more: by more than chance, and never for copies that tie."""

import numpy as np
import pytest

from workers.evaluate.fusion.measuring import found_first, is_better

IMAGES = np.eye(4, dtype=np.float32)


def test_the_original_has_to_be_nearer_than_all_others() -> None:
    copies = np.array([[1, 0, 0, 0], [0.6, 0.8, 0, 0], [0.5, 0.5, 0.5, 0.5], [np.nan] * 4], np.float32)
    found = found_first(IMAGES, copies, np.array([0, 0, 1, 3]))
    # The first is found, the second is nearer to another, the third as near to all, the last has no direction.
    assert found.tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("gained", "lost", "better"),
    [(0, 0, False), (4, 0, False), (5, 0, True), (10, 10, False), (24, 12, False), (25, 12, True), (0, 30, False)],
)
def test_better_is_what_chance_would_not_give(gained: int, lost: int, better: bool) -> None:
    both = np.ones(100, np.bool_)
    plain = np.concatenate([both, np.zeros(gained, np.bool_), np.ones(lost, np.bool_)])
    fused = np.concatenate([both, np.ones(gained, np.bool_), np.zeros(lost, np.bool_)])
    assert is_better(fused, plain) == better
