"""Tiny images that differ from each other, as files of a folder."""

from pathlib import Path

import cv2
import numpy as np


def png(seed: int) -> bytes:
    """The bytes of an image of 8 x 8 pixels, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    done, encoded = cv2.imencode(".png", pixels)
    assert done
    return encoded.tobytes()


def tile(path: Path, seed: int) -> Path:
    """Write such an image, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(seed))
    return path
