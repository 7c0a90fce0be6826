import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.vectors import narrow, to_unit_vectors, widen

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


def drawn(rows: int = 50, dim: int = 33, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim))


def unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
def test_vectors_of_any_precision_and_byte_order_become_unit_float16(dtype: str) -> None:
    vectors = (drawn() * 7).astype(dtype)
    found, good = to_unit_vectors(vectors)
    assert good.all()
    assert (found.dtype, found.shape) == (np.float16, (50, 33))
    assert np.abs(found.astype(np.float64) - unit(vectors)).max() < 2.0**-12
    assert np.abs(np.linalg.norm(found.astype(np.float64), axis=1) - 1).max() < 1e-3


@pytest.mark.parametrize("scale", [1e-300, 1e-42, 1e-25, 1.0, 1e25, 1e38, 1e300])
def test_the_length_of_a_vector_is_lost_and_its_direction_is_not(scale: float) -> None:
    expected, _ = to_unit_vectors(drawn())
    found, good = to_unit_vectors(drawn() * scale)
    assert good.all()
    assert np.abs(found.astype(np.float32) - expected.astype(np.float32)).max() <= 2.0**-11


def test_subnormal_and_largest_float32_have_a_direction() -> None:
    vectors = np.array([[1e-45, 0, 0], [3e38, 3e38, 0]], dtype=np.float32)
    found, good = to_unit_vectors(vectors)
    assert good.all()
    assert found.astype(np.float32) == pytest.approx(np.array([[1, 0, 0], [0.7071, 0.7071, 0]]), abs=4e-4)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_zero_and_what_is_not_finite_have_none_and_the_others_are_not_touched_by_them(dtype: str, bad: float) -> None:
    vectors = drawn().astype(dtype)
    vectors[3] = 0
    vectors[7, 32] = bad
    vectors[8] = bad
    found, good = to_unit_vectors(vectors)
    assert np.flatnonzero(~good).tolist() == [3, 7, 8]
    others, _ = to_unit_vectors(np.delete(vectors, [3, 7, 8], axis=0))
    assert found.tobytes() == others.tobytes()


def test_float16_of_length_1_stays_as_it_is_to_the_bit() -> None:
    once, _ = to_unit_vectors(drawn(200, 1792))
    again, good = to_unit_vectors(once)
    assert good.all()
    assert again.tobytes() == once.tobytes()
    mixed = once.copy()
    mixed[5] *= 2
    mixed[6] = 0
    found, good = to_unit_vectors(mixed)
    assert np.delete(found, 5, axis=0).tobytes() == np.delete(once, [5, 6], axis=0).tobytes()


@given(st.integers(1, 70), st.integers(1, 40))
def test_a_vector_has_the_same_embedding_wherever_it_stands(dim: int, before: int) -> None:
    one = drawn(1, dim, seed=dim).astype(np.float32)
    together, _ = to_unit_vectors(np.concatenate([drawn(before, dim).astype(np.float32), one]))
    alone, _ = to_unit_vectors(one)
    assert together[-1].tobytes() == alone.tobytes()


def test_a_view_of_columns_is_read_as_what_it_shows() -> None:
    vectors = np.asfortranarray(drawn().astype(np.float32))
    found, _ = to_unit_vectors(vectors)
    assert found.tobytes() == to_unit_vectors(np.ascontiguousarray(vectors))[0].tobytes()


def test_no_vectors_are_no_embeddings_and_one_dimension_is_enough() -> None:
    found, good = to_unit_vectors(np.empty((0, 5), dtype=np.float32))
    assert (found.shape, good.shape) == ((0, 5), (0,))
    assert to_unit_vectors(np.array([[-4.0], [0.5]]))[0].tolist() == [[-1.0], [1.0]]
