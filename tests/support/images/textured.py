"""Make pictures with as much in them as a photograph has: places to recognise, at several sizes."""

from pathlib import Path

import cv2
import numpy as np

from workers.images.encode import Image, encode_jpeg


def textured(seed: int, height: int = 240, width: int = 320) -> Image:
    """A picture of its own for each `seed`, RGB uint8 [height, width, 3]: soft colours, shapes of all sizes on it."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    picture = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    for size in (60, 30, 14, 7):
        for _ in range(1200 // size):
            x, y = int(random.integers(width)), int(random.integers(height))
            colour = tuple(int(value) for value in random.integers(0, 256, 3))
            axes = (int(random.integers(size // 3, size)), int(random.integers(size // 3, size)))
            if random.integers(2):
                cv2.ellipse(picture, (x, y), axes, int(random.integers(180)), 0, 360, colour, -1, cv2.LINE_AA)
            else:
                cv2.rectangle(picture, (x, y), (x + axes[0], y + axes[1]), colour, -1)
    return picture


def write_textured(folder: Path, count: int, height: int = 240, width: int = 320) -> list[Path]:
    """JPEGs of the pictures of the seeds 0 to `count` - 1, in a folder that is made: their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:02d}.jpg" for seed in range(count)]
    for seed, path in enumerate(paths):
        path.write_bytes(encode_jpeg(textured(seed, height, width), 90))
    return paths
