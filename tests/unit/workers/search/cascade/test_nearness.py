from dataclasses import replace

import pytest

from shared.models import DEFAULT_MODEL, resolve_model
from shared.models.fusion import Fusion
from workers.search.cascade.nearness import COPIES, FUSED_STANDS_OUT, RANKS, STANDS_OUT, bound_of, near


def ranks(*first: float, behind: float = 0.4) -> list[float]:
    return [*first, *(behind - number / 1000 for number in range(RANKS - len(first)))]


@pytest.mark.parametrize(
    ("similarities", "count"),
    [
        (ranks(), 0),
        (ranks(0.7), 1),
        (ranks(0.7, 0.69, 0.42), 2),
        (ranks(0.4 + STANDS_OUT / 2), 0),
        # Clothing on a hanger: all are near each other, and none stands out.
        (ranks(0.85, 0.84, behind=0.83), 0),
        # As many copies as there are ranks: none stands out, and all are as near as copies are.
        ([0.999] * RANKS, RANKS),
        (ranks(*[COPIES + 0.01] * 12), 12),
    ],
)
def test_what_stands_out_from_the_ranks_behind_is_near_and_so_are_copies(similarities: list[float], count: int) -> None:
    assert near(similarities) == count


@pytest.mark.parametrize("count", range(5))
def test_of_a_few_images_all_are_compared(count: int) -> None:
    assert near([0.1] * count) == count


def test_an_image_of_a_fused_job_has_to_stand_out_farther() -> None:
    plain = resolve_model(DEFAULT_MODEL)
    fused = replace(plain, fusion=Fusion(("head",), 3, "0" * 64))
    found = ranks(0.4 + (STANDS_OUT + FUSED_STANDS_OUT) / 2)
    assert (near(found, bound_of(plain)), near(found, bound_of(fused))) == (1, 0)
