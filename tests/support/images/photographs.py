"""Photographs made of colour fields: JPEGs that a model and a decoder take for real ones."""

from pathlib import Path

import cv2
import numpy as np


def make_photos(folder: Path, count: int, size: tuple[int, int] = (240, 320)) -> list[Path]:
    """`count` distinct, photograph-like JPEGs: smooth random colour fields, the same for the same number."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        grain = rng.integers(0, 24, image.shape, dtype=np.uint16)
        image = np.minimum(image + grain, 255).astype(np.uint8)
        path = folder / f"photo_{number:05d}.jpg"
        cv2.imwrite(str(path), image)
        paths.append(path)
    return paths
