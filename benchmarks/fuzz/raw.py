"""Make a camera's RAW tag by tag: a DNG of samples behind coloured filters, with a preview or none."""

import struct
from typing import Any

import numpy as np

WIDTH, HEIGHT = 320, 240
LARGE, SMALL = (576, 432), (160, 120)
COLOURS = {"red": (210, 40, 30), "green": (30, 190, 50), "blue": (20, 60, 220), "white": (230, 230, 230)}
_LETTERS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 10: "i"}


def _table(tags: dict[int, tuple[int, list[int]]], at: int) -> bytes:
    """A directory of a little-endian TIFF that is at byte `at`."""
    entries, beside, base = b"", b"", at + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        body = struct.pack(f"<{len(values)}{_LETTERS[kind]}", *values)
        count = len(values) // 2 if kind in (5, 10) else len(values)
        if len(body) > 4:
            beside, body = beside + body + bytes(len(body) % 2), struct.pack("<I", base + len(beside))
        entries += struct.pack("<HHI", tag, kind, count) + body.ljust(4, b"\0")
    return struct.pack("<H", len(tags)) + entries + bytes(4) + beside


def quarters(size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture [h, w, 3] of four colours."""
    width, height = size
    colours = np.array(list(COLOURS.values()), np.uint8).reshape(2, 2, 3)
    return np.repeat(np.repeat(colours, height // 2, 0), width // 2, 1)


def dng(
    preview: bytes | None = None,
    orientation: int = 1,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    claims: dict[int, int] | None = None,
) -> bytes:
    """A DNG of 16 bits; with a preview its samples are in a table below the first, as cameras have it.

    `claims` are other values than the right ones: {256: 40_000} for the width of the samples, say.
    """
    width, height = size
    light = (quarters(size).astype(np.float64) / 255) ** 2.2 * 40_000
    samples = np.empty((height, width), "<u2")
    for (down, across), channel in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
        samples[down::2, across::2] = light[down::2, across::2, channel]
    body = samples.tobytes() + (preview or b"")
    body += bytes(len(body) % 2)
    whole = [0, 10_000]
    one = [10_000, 10_000]
    camera: dict[int, tuple[int, list[int]]] = {
        271: (2, list(b"Test\0")), 272: (2, list(b"Maker\0")), 274: (3, [orientation]), 50706: (1, [1, 4, 0, 0]),
        50707: (1, [1, 1, 0, 0]), 50708: (2, list(b"Test Maker\0")), 50728: (5, [1] * 6), 50778: (3, [21]),
        50721: (10, [*one, *whole, *whole, *whole, *one, *whole, *whole, *whole, *one]),
    }  # fmt: skip
    sensor: dict[int, tuple[int, list[int]]] = {
        254: (4, [0]), 256: (4, [width]), 257: (4, [height]), 258: (3, [16]), 259: (3, [1]), 262: (3, [32803]),
        273: (4, [8]), 277: (3, [1]), 278: (4, [height]), 279: (4, [samples.nbytes]), 33421: (3, [2, 2]),
        33422: (1, [0, 1, 1, 2]), 50714: (4, [0]), 50717: (4, [65_535]),
    }  # fmt: skip
    for tag, value in (claims or {}).items():
        sensor[tag] = (4, [value])
    start = 8 + len(body)
    if preview is None:
        return b"II*\0" + struct.pack("<I", start) + body + _table(camera | sensor, start)
    below = _table(sensor, start)
    first = start + len(below) + len(below) % 2
    camera |= {
        254: (4, [1]), 256: (4, [SMALL[0]]), 257: (4, [SMALL[1]]), 258: (3, [8, 8, 8]), 259: (3, [7]), 262: (3, [6]),
        273: (4, [8 + samples.nbytes]), 277: (3, [3]), 278: (4, [SMALL[1]]), 279: (4, [len(preview)]),
        330: (4, [start]),
    }  # fmt: skip
    return (b"II*\0" + struct.pack("<I", first) + body + below).ljust(first, b"\0") + _table(camera, first)
