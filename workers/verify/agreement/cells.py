"""Compare the cells of two aligned grey thumbnails: which show the same; what has no structure proves nothing."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CELL = 9
_CORRELATED = 0.5
# Standard deviation of a cell from its plane, in grey values of 255: below it what the cell shows is noise.
_TEXTURE = 4.0
# Thumbnails are compared as the coarser of the two is. If a side of the query has less than half of the hit's pixels,
# few cells are left, and they are too smooth: 22 of 27 have agreed between two garments on one floor.
_COARSEST = 2.1

Size = tuple[int, int]


@dataclass(frozen=True, eq=False, slots=True)
class Cells:
    """The cells of a hit that a transform lays over a query, in rows and columns over the whole hit.

    Attributes
    ----------
    is_compared, is_aligned
        bool [rows, columns]: which cells were compared, and which of these are aligned: they show the same.
    query, hit
        float32 [rows, columns]: the mean brightness of each cell, 0 to 255. It counts where the cell was compared.
    """

    is_compared: NDArray[np.bool_]
    is_aligned: NDArray[np.bool_]
    query: NDArray[np.float32]
    hit: NDArray[np.float32]

    @property
    def compared(self) -> int:
        """How many cells were compared."""
        return int(self.is_compared.sum())

    @property
    def aligned(self) -> int:
        """How many of the compared cells are aligned."""
        return int(self.is_aligned.sum())

    @property
    def share(self) -> float:
        """The share of the compared cells that are aligned; 0 where none was compared."""
        return self.aligned / self.compared if self.compared else 0.0


def aligned_cells(
    query: NDArray[np.uint8],
    hit: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    query_size: Size,
    hit_size: Size,
) -> Cells:
    """Compare the thumbnails `query` and `hit` (uint8 [h, w]) in cells of the region that both show.

    `matrix`, float64 [2, 3], or [3, 3] with a perspective, brings pixels of the query to those of the hit; the sizes
    are (width, height) of both images. A cell is compared if it lies in the region and has structure on either side.
    Where the query is much coarser than the hit, none is.
    """
    scale = _scale(_between(query, hit, matrix, query_size, hit_size), query)
    if scale > _COARSEST:
        return _none()
    if scale > 1:
        hit = _resized(hit, 1 / scale)
    else:
        query = _resized(query, scale)
    between = _between(query, hit, matrix, query_size, hit_size)
    # From outer corners to centres of pixels, as OpenCV counts.
    centred = _moved(-0.5) @ between @ _moved(0.5)
    size = (hit.shape[1], hit.shape[0])
    warped = cv2.warpPerspective(query, centred, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    ours = np.asarray(warped, np.uint8)
    inside = np.asarray(cv2.warpPerspective(np.ones_like(query), centred, size, flags=cv2.INTER_NEAREST), np.uint8)
    whole = _cells(inside).min(axis=(1, 3), initial=1) > 0
    if not whole.any():
        return _none()
    first, second = _structure(ours), _structure(hit)
    spread, other = first.std(axis=2), second.std(axis=2)
    compared = whole & (np.maximum(spread, other) >= _TEXTURE)
    agreement = (first * second).mean(axis=2) / np.maximum(spread * other, 1e-6)
    both = np.minimum(spread, other) >= _TEXTURE / 2
    return Cells(compared, compared & both & (agreement > _CORRELATED), _means(ours), _means(hit))


def _none() -> Cells:
    nothing, dark = np.zeros((0, 0), bool), np.zeros((0, 0), np.float32)
    return Cells(nothing, nothing, dark, dark)


def _between(
    query: NDArray[np.uint8],
    hit: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    query_size: Size,
    hit_size: Size,
) -> NDArray[np.float64]:
    """`matrix` between the thumbnails in the place of the images: float64 [3, 3]."""
    whole = matrix if len(matrix) == 3 else np.vstack([matrix, [0, 0, 1]])
    to_image = np.diag([query_size[0] / query.shape[1], query_size[1] / query.shape[0], 1.0])
    to_thumbnail = np.diag([hit.shape[1] / hit_size[0], hit.shape[0] / hit_size[1], 1.0])
    return np.asarray(to_thumbnail @ whole @ to_image, np.float64)


def _scale(between: NDArray[np.float64], query: NDArray[np.uint8]) -> float:
    """How much longer a step becomes in the middle of the query."""
    x, y, depth = between @ (query.shape[1] / 2, query.shape[0] / 2, 1)
    linear = (between[:2, :2] - np.outer([x / depth, y / depth], between[2, :2])) / depth
    return float(np.sqrt(abs(np.linalg.det(linear))))


def _moved(by: float) -> NDArray[np.float64]:
    return np.array([[1, 0, by], [0, 1, by], [0, 0, 1]], np.float64)


def _resized(grey: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale > 0.9:
        return grey
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _cells(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole cells of `grey`: uint8 [rows, CELL, columns, CELL]."""
    rows, columns = grey.shape[0] // CELL, grey.shape[1] // CELL
    return grey[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)


def _means(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(_cells(grey).mean(axis=(1, 3), dtype=np.float32), np.float32)


def _structure(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How far each pixel of each cell is from the plane that fits the cell best: float32 [rows, columns, CELL * CELL].

    Light that falls from one side, and the soft edge of a garment, make slopes that lie alike in many photographs.
    """
    cells = _cells(grey).transpose(0, 2, 1, 3)
    flat = cells.reshape(*cells.shape[:2], CELL * CELL).astype(np.float32)
    return np.asarray(flat - (flat @ _PLANE.T) @ _PLANE, np.float32)


def _plane() -> NDArray[np.float32]:
    """An orthonormal basis of the planes over a cell: float32 [3, CELL * CELL]."""
    step = np.arange(CELL) - (CELL - 1) / 2
    basis = np.stack([np.ones(CELL * CELL), np.tile(step, CELL), np.repeat(step, CELL)])
    return np.asarray(basis / np.linalg.norm(basis, axis=1, keepdims=True), np.float32)


_PLANE = _plane()
