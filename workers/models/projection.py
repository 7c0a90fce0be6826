"""Make the embedding of the pooled levels of a fused model: less a mean, times a matrix, both learned for one job."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import FingerprintMismatch, ModelError
from shared.storage import files

_SOURCE = "it was learned from the images of its job and can't be made again: restore it from a copy of the job."


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """The mean of pooled levels, float32 [width], and the matrix, float32 [dim, width], that makes features of the
    rest.
    """

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]

    @property
    def width(self) -> int:
        return int(self.matrix.shape[1])

    @property
    def dim(self) -> int:
        return int(self.matrix.shape[0])

    def of(self, levels: NDArray[np.floating]) -> NDArray[np.float32]:
        """The features, float32 [n, dim] of any length, of pooled levels [n, width].

        Each row is computed by itself: its bytes are the same in any company. Levels that are all zero, or not finite,
        have no features, and their row is NaN.
        """
        features = np.full((len(levels), self.dim), np.nan, np.float32)
        for row, values in zip(features, np.asarray(levels, np.float32), strict=True):
            if np.isfinite(values).all() and values.any():
                # No BLAS: its threads, on a machine that is at work, take ten times as long for a vector.
                row[:] = np.einsum("ij,j->i", self.matrix, values - self.mean)
        return features

    def of_batch(self, levels: NDArray[np.floating]) -> NDArray[np.float32]:
        """The same by one product of matrices, many times faster for many rows; the last bits may depend on the others.

        It is for devices of their own, whose batches are large, and decide their bytes anyhow.
        """
        levels = np.asarray(levels, np.float32)
        good = np.isfinite(levels).all(axis=1) & levels.any(axis=1)
        features = np.full((len(levels), self.dim), np.nan, np.float32)
        features[good] = (levels[good] - self.mean) @ self.matrix.T
        return features

    def to_bytes(self) -> bytes:
        """The content of its file, the same for the same values: float32 [dim + 1, width], the mean first, as .npy."""
        into = io.BytesIO()
        np.save(into, np.concatenate([self.mean[None], self.matrix]).astype("<f4"))
        return into.getvalue()


def read_projection(path: Path, sha256: str) -> Projection:
    """The projection in the file of a job, which has this digest.

    Raises ModelError when it is missing or no projection, FingerprintMismatch when it is another one, or damaged.
    """
    try:
        found = files.sha256_of(path)
        if found != sha256:
            raise FingerprintMismatch(
                f"The projection {path} has the digest {found[:12]}, and the job's model was made with {sha256[:12]}: "
                f"{_SOURCE}"
            )
        with files.opened(path) as file:
            values = np.load(io.BytesIO(file.read()), allow_pickle=False)
    except FileNotFoundError:
        raise ModelError(f"The projection {path} of the job's model is missing; {_SOURCE}") from None
    except OSError as error:
        raise ModelError(f"The projection {path} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise ModelError(f"The projection {path} is no .npy file ({error}); {_SOURCE}") from None
    if values.dtype != np.float32 or values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
        raise ModelError(
            f"The projection {path} holds {values.dtype} {list(values.shape)}; finite float32 [dimensions + 1, width] "
            f"was expected; {_SOURCE}"
        )
    return Projection(values[0].copy(), np.ascontiguousarray(values[1:]))
