"""The projection of a fused model: each row by itself, whole or refused."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

from shared.errors import FingerprintMismatch, ModelError
from workers.models.projection import Projection, read_projection

RANDOM = np.random.default_rng(3)
MADE = Projection(RANDOM.normal(size=40).astype(np.float32), RANDOM.normal(size=(7, 40)).astype(np.float32))


def written(path: Path, data: bytes) -> tuple[Path, str]:
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def test_it_takes_the_mean_away_and_multiplies() -> None:
    levels = RANDOM.normal(size=(5, 40)).astype(np.float32)
    found = MADE.of(levels)
    expected = (levels.astype(np.float64) - MADE.mean) @ MADE.matrix.T.astype(np.float64)
    assert (found.dtype, found.shape, MADE.width, MADE.dim) == (np.float32, (5, 7), 40, 7)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_bytes_of_a_row_do_not_depend_on_the_others() -> None:
    levels = RANDOM.normal(size=(64, 40)).astype(np.float32)
    together = MADE.of(levels)
    for size in (1, 3, 8):
        parts = [MADE.of(levels[start : start + size]) for start in range(0, len(levels), size)]
        assert np.concatenate(parts).tobytes() == together.tobytes()


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_levels_without_features_have_none_in_the_projection_either(value: float) -> None:
    levels = np.ones((2, 40), np.float32)
    levels[0] = value
    found = MADE.of(levels)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def test_a_batch_at_once_gives_the_same_but_for_rounding() -> None:
    levels = RANDOM.normal(size=(9, 40)).astype(np.float32)
    levels[2], levels[5, 3], levels[7, 0] = 0, np.nan, np.inf
    np.testing.assert_allclose(MADE.of_batch(levels), MADE.of(levels), atol=1e-4)
    assert np.isnan(MADE.of_batch(levels)).all(axis=1).tolist() == [row in (2, 5, 7) for row in range(9)]


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    found = read_projection(*written(tmp_path / "p.npy", MADE.to_bytes()))
    np.testing.assert_array_equal(found.mean, MADE.mean)
    np.testing.assert_array_equal(found.matrix, MADE.matrix)
    assert found.to_bytes() == MADE.to_bytes()


def test_a_file_that_was_cut_or_changed_is_refused(tmp_path: Path) -> None:
    path, digest = written(tmp_path / "p.npy", MADE.to_bytes())
    changed = bytearray(MADE.to_bytes())
    changed[-1] ^= 1
    for data in (MADE.to_bytes()[:-4], bytes(changed), b""):
        path.write_bytes(data)
        with pytest.raises(FingerprintMismatch, match=r"has the digest .* can't be made again: restore it"):
            read_projection(path, digest)
    path.unlink()
    with pytest.raises(ModelError, match="is missing; it was learned from the images of its job"):
        read_projection(path, digest)


@pytest.mark.parametrize(
    "values",
    [
        np.ones((3, 4)),
        np.ones(4, np.float32),
        np.ones((1, 4), np.float32),
        np.full((3, 4), np.nan, np.float32),
    ],
)
def test_another_array_is_refused_though_its_digest_is_right(values: np.ndarray, tmp_path: Path) -> None:
    into = io.BytesIO()
    np.save(into, values)
    with pytest.raises(ModelError, match=r"finite float32 \[dimensions \+ 1, width\] was expected"):
        read_projection(*written(tmp_path / "p.npy", into.getvalue()))


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    into = io.BytesIO()
    np.save(into, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for data in (b"no array", into.getvalue()):
        with pytest.raises(ModelError, match=r"is no \.npy file"):
            read_projection(*written(tmp_path / "p.npy", data))
