"""Find the pairs of different photographs that are hardest to tell apart: by the model, and by their surroundings."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.truth.queries.collection import Photo, pixels_of
from benchmarks.truth.queries.drawing import resized
from workers.images.encode import Image

Floats = npt.NDArray[np.float32]
Pairs = npt.NDArray[np.int64]

_BLOCK: Final = 256
_SIDE: Final = 96
_EDGE: Final = 14
_COLOURS: Final = 16
_DIRECTIONS: Final = 16


def nearest_pairs(
    vectors: Floats, count: int, without: frozenset[tuple[int, int]] = frozenset()
) -> tuple[Pairs, Floats]:
    """The `count` pairs of rows of `vectors` (float32 [n, d], unit length) with the largest products, exactly.

    int64 [count, 2], the smaller row first, and their products, the largest first; fewer where there are fewer pairs.
    Pairs in `without` are left out.
    """
    rows = len(vectors)
    room = count + len(without)
    found = np.empty((0, 2), np.int64)
    alike = np.empty(0, np.float32)
    for start in range(0, rows, _BLOCK):
        products = vectors[start : start + _BLOCK] @ vectors[start:].T
        # Of each pair only the half with the smaller row first.
        products[np.tril_indices(len(products), 0, products.shape[1])] = -np.inf
        least = alike[-1] if len(alike) == room else -np.inf
        first, second = np.nonzero(products > least)
        found = np.concatenate([found, np.stack([first + start, second + start], axis=1)])
        alike = np.concatenate([alike, products[first, second]])
        order = np.argsort(-alike, kind="stable")[:room]
        found, alike = found[order], alike[order]
    stay = np.array([tuple(pair) not in without for pair in found.tolist()], bool)[: len(found)]
    return found[stay][:count], alike[stay][:count]


def surroundings(image: Image) -> Floats:
    """What is around the thing in a photograph, float32 [d] of unit length: the colours and directions of its edge.

    Two photographs of different things on one floor, or on one hanger before one wall, come out alike.
    """
    small = resized(image, _SIDE, _SIDE)
    edge = np.ones((_SIDE, _SIDE), bool)
    edge[_EDGE:-_EDGE, _EDGE:-_EDGE] = False
    colours = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.int64)[edge]
    parts: list[Any] = [np.bincount(colours[:, channel] * _COLOURS // 256, minlength=_COLOURS) for channel in range(3)]
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
    down, across = np.gradient(grey)
    bins = ((np.arctan2(down, across) % np.pi) / np.pi * _DIRECTIONS).astype(np.int64) % _DIRECTIONS
    strength = np.bincount(bins[edge], np.hypot(down, across)[edge], minlength=_DIRECTIONS)
    parts.append(strength * (len(colours) / max(1e-6, float(strength.sum()))))
    # Square roots of shares: products of these compare histograms without the largest bin deciding alone.
    found = np.sqrt(np.concatenate(parts).astype(np.float32))
    return np.asarray(found / np.linalg.norm(found), np.float32)


def all_surroundings(photos: Sequence[Photo]) -> Floats:
    """`surroundings` of each photograph, float32 [n, d]."""
    return np.stack([surroundings(pixels_of(photo.data())) for photo in photos])


def false_among(pairs: Pairs, alike: Floats, names: Sequence[str], said: Iterable[str]) -> dict[str, Any]:
    """How many of the pairs are called the same, and which; `said` is the proof of each in their order, "" for none."""
    wrong = [
        {"query": names[first], "stored": names[second], "proof": proof, "alike": round(value, 4)}
        for (first, second), value, proof in zip(pairs.tolist(), alike.tolist(), said, strict=True)
        if proof
    ]
    return {
        "pairs": len(pairs),
        "alike": [round(float(alike[place]), 4) for place in (-1, 0)] if len(alike) else [],
        "false": len(wrong),
        "wrong": wrong,
    }
