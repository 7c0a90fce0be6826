"""Count the cells of two aligned grey thumbnails that show the same: what has no structure proves nothing."""

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


@dataclass(frozen=True, slots=True)
class Cells:
    """How many cells were `compared`, and how many of these are `aligned`: they show the same on both sides."""

    compared: int
    aligned: int

    @property
    def share(self) -> float:
        """The share of the compared cells that are aligned; 0 where none was compared."""
        return self.aligned / self.compared if self.compared else 0.0


def aligned_cells(
    query: NDArray[np.uint8],
    hit: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    query_size: tuple[int, int],
    hit_size: tuple[int, int],
) -> Cells:
    """Compare the thumbnails `query` and `hit` (uint8 [h, w]) in cells of the region that both show.

    `matrix`, float64 [2, 3], brings pixels of the query to those of the hit; the sizes are (width, height) of both
    images. A cell is compared if it lies in the region and has structure on either side. Where the
    query is much coarser than the hit, none is.
    """
    between = _between(query, hit, matrix, query_size, hit_size)
    scale = np.sqrt(abs(np.linalg.det(between[:, :2])))
    if scale > _COARSEST:
        return Cells(0, 0)
    if scale > 1:
        hit = _resized(hit, float(1 / scale))
    else:
        query = _resized(query, float(scale))
    between = _between(query, hit, matrix, query_size, hit_size)
    # From outer corners to centres of pixels, as OpenCV counts.
    centred = np.column_stack([between[:, :2], between[:, 2] + between[:, :2].sum(axis=1) / 2 - 0.5])
    size = (hit.shape[1], hit.shape[0])
    warped = cv2.warpAffine(query, centred, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    ours = np.asarray(warped, np.uint8)
    inside = np.asarray(cv2.warpAffine(np.ones_like(query), centred, size, flags=cv2.INTER_NEAREST), np.uint8)
    whole = _cells(inside).min(axis=(1, 3)).reshape(-1) > 0
    first, second = _structure(ours)[whole], _structure(hit)[whole]
    if not len(first):
        return Cells(0, 0)
    spread, other = first.std(axis=1), second.std(axis=1)
    compared = np.maximum(spread, other) >= _TEXTURE
    agreement = (first * second).mean(axis=1) / np.maximum(spread * other, 1e-6)
    both = np.minimum(spread, other) >= _TEXTURE / 2
    return Cells(int(compared.sum()), int((compared & both & (agreement > _CORRELATED)).sum()))


def _between(
    query: NDArray[np.uint8],
    hit: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    query_size: tuple[int, int],
    hit_size: tuple[int, int],
) -> NDArray[np.float64]:
    """`matrix` between the thumbnails in the place of the images: float64 [2, 3]."""
    to_image = np.array([query_size[0] / query.shape[1], query_size[1] / query.shape[0], 1.0])
    to_thumbnail = np.array([[hit.shape[1] / hit_size[0]], [hit.shape[0] / hit_size[1]]])
    return np.asarray(matrix * to_image * to_thumbnail, np.float64)


def _resized(grey: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale > 0.9:
        return grey
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _cells(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole cells of `grey`: uint8 [rows, CELL, columns, CELL]."""
    rows, columns = grey.shape[0] // CELL, grey.shape[1] // CELL
    return grey[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)


def _structure(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How far each pixel of each cell is from the plane that fits the cell best: float32 [cells, CELL * CELL].

    Light that falls from one side, and the soft edge of a garment, make slopes that lie alike in many photographs.
    """
    flat = _cells(grey).transpose(0, 2, 1, 3).reshape(-1, CELL * CELL).astype(np.float32)
    return np.asarray(flat - (flat @ _PLANE.T) @ _PLANE, np.float32)


def _plane() -> NDArray[np.float32]:
    """An orthonormal basis of the planes over a cell: float32 [3, CELL * CELL]."""
    step = np.arange(CELL) - (CELL - 1) / 2
    basis = np.stack([np.ones(CELL * CELL), np.tile(step, CELL), np.repeat(step, CELL)])
    return np.asarray(basis / np.linalg.norm(basis, axis=1, keepdims=True), np.float32)


_PLANE = _plane()
