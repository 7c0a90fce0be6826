import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.vectors import narrow, widen

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FINITE = EVERY[np.isfinite(EVERY)]


def test_every_finite_float16_widens_to_the_bits_that_numpy_gives() -> None:
    assert widen(FINITE).tobytes() == FINITE.astype(np.float32).tobytes()
    assert widen(FINITE.reshape(-1, 2)).shape == (len(FINITE) // 2, 2)


def test_every_float16_up_to_2_and_what_lies_between_two_of_them_narrows_to_the_bits_that_numpy_gives() -> None:
    small = np.sort(FINITE[np.abs(FINITE) <= 2]).astype(np.float32)
    between = (small[:-1] + small[1:]) / 2  # The ties.
    beside = np.concatenate([np.nextafter(between, np.float32(-9)), np.nextafter(between, np.float32(9))])
    values = np.concatenate([small, between, beside])
    assert narrow(values).tobytes() == values.astype(np.float16).tobytes()


@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 9)), elements=st.floats(-2, 2, width=32)))
def test_any_float32_up_to_2_narrows_as_numpy_does(values: np.ndarray) -> None:
    assert narrow(values).tobytes() == values.astype(np.float16).tobytes()
    assert narrow(values).shape == values.shape
    assert narrow(values[:, ::-1]).tobytes() == values[:, ::-1].astype(np.float16).tobytes()


def test_more_than_one_piece_is_narrowed_in_order() -> None:
    values = np.linspace(-1, 1, 40_001, dtype=np.float32)
    assert narrow(values).tobytes() == values.astype(np.float16).tobytes()
