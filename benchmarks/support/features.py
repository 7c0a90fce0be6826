"""Make features that behave like those of a CNN: any number, of any dimension, the same for the same seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Half = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float32]

BLOCK: Final = 4_096
"""Rows that are made at once: 29 MB as float32 at 1,792 dimensions."""

FITTED_ROWS: Final = 223_869
"""How many real features the recipe was fitted to."""

# Blocks from here on are never stored, so their rows are queries that the index has not seen.
_FRESH = 1 << 32
_HALVINGS = 24


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the features are spread. The defaults come from calibration: benchmarks/index/feature_facts.py checks them.

    They are those of which indexes find about as much as of real features; a larger part of an image's own, or one
    that is alike in all directions, is nearer to the cosines and the spectrum of real ones, and harder for any index.

    What enters the rectifier is a bias of each dimension, plus the image's class, its group within the class, and
    itself: normal vectors in a space of as many directions, turned at random, whose variance falls with the number of
    the direction as `number ** -decay`, times `1 + (first - 1) / number` for the foremost. Of the variance,
    `class_share` is between classes and `group_share` between the groups of a class; an image's own is the rest. There
    are `classes` and `groups` of sizes that fall by Zipf's law with the exponent `zipf`. The own part is scaled by a
    factor of the group, log-normal with `looseness` and at most 1.5. Each sixth (`series`) of the classes and of the
    groups, by size, are series of takes of one thing, as data sets have them: their groups differ by `series_groups` of
    what others do, their images by `series_own`. After the rectifier comes the power 3/2, for the heavy tail of pooled
    features, and a gain of each dimension, log-normal with `gain_spread`.

    A collection of up to FITTED_ROWS is a sample of the one that was fitted to. A larger one has more classes, with as
    many groups and images in each as there; a `crowded` one has the same ones, and more images in each group.
    """

    classes: int = 600
    groups: int = 12_000
    zipf: float = 0.7
    class_share: float = 0.5
    group_share: float = 0.25
    class_decay: float = 0.9
    group_decay: float = 0.9
    own_decay: float = 1.0
    first: float = 3.0
    looseness: float = 0.35
    series: int = 6
    series_groups: float = 0.38
    series_own: float = 0.22
    bias: float = 0.1
    bias_spread: float = 0.15
    gain_spread: float = 0.42
    crowded: bool = False

    def counts(self, rows: int) -> tuple[int, int]:
        """How many classes and how many groups a collection of that many features has."""
        times = 1.0 if self.crowded else max(1.0, rows / FITTED_ROWS)
        return round(self.classes * times), round(self.groups * times)


class Features:
    """A collection of `rows` features, L2-normalised float16 rows of `dim` values, block after block.

    A block depends on its own number, the seed, the recipe, the dimension and the number of groups alone, not on which
    others are made or in which order.
    """

    def __init__(self, dim: int, rows: int, seed: int = 0, recipe: Recipe | None = None) -> None:
        self.dim = dim
        self.rows = rows
        self.seed = seed
        self.recipe = recipe = recipe or Recipe()
        rng = np.random.default_rng([seed, dim])
        turn, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
        own_share = 1 - recipe.class_share - recipe.group_share
        self._own = _mixing(turn, own_share, recipe.own_decay, recipe.first)
        self._gain = np.exp(recipe.gain_spread * rng.standard_normal(dim)).astype(np.float32)
        bias = (recipe.bias + recipe.bias_spread * rng.standard_normal(dim)).astype(np.float32)
        classes, groups = recipe.counts(rows)
        class_centres = _normal(rng, classes, dim) @ _mixing(turn, recipe.class_share, recipe.class_decay, recipe.first)
        # By rank and not by lot: whether one of the few largest groups is a series changes what any index finds.
        in_series = _ranks(groups, recipe.groups) % recipe.series == 0
        class_shares = _shares(classes, recipe.classes, recipe.zipf)
        class_is_series = _ranks(classes, recipe.classes) % recipe.series == 0
        class_of = np.empty(groups, dtype=np.int64)
        for kind in (False, True):
            among = np.flatnonzero(class_is_series == kind)
            shares = class_shares[among] / class_shares[among].sum()
            class_of[in_series == kind] = among[_drawn(rng, shares, int(np.count_nonzero(in_series == kind)))]
        centres = _normal(rng, groups, dim) @ _mixing(turn, recipe.group_share, recipe.group_decay, recipe.first)
        centres *= np.where(in_series, recipe.series_groups, 1).astype(np.float32)[:, None]
        self._centres = bias + class_centres[class_of] + centres
        loose = np.minimum(np.exp(recipe.looseness * rng.standard_normal(groups)), 1.5)
        self._loose = (loose * np.where(in_series, recipe.series_own, 1)).astype(np.float32)
        self._sizes = _shares(groups, recipe.groups, recipe.zipf)

    def block(self, number: int) -> Half:
        """The block of that number, float16 [BLOCK, dim]; past the collection's end there are more like it."""
        return self._activated(self._inputs(number)).astype(np.float16)

    def blocks(self) -> Iterator[Half]:
        """The collection in blocks, the last of them cut."""
        for start in range(0, self.rows, BLOCK):
            yield self.block(start // BLOCK)[: self.rows - start]

    def fresh(self, count: int) -> Floats:
        """`count` features, float32 [count, dim], that no block has: images that are not in the collection."""
        needed = range(_FRESH, _FRESH - (-count // BLOCK))
        return np.concatenate([self.block(number) for number in needed])[:count].astype(np.float32)

    def copies(self, number: int, count: int, cosine: float) -> Floats:
        """Altered copies, float32 [count, dim], of the first rows of a block, at that cosine similarity to them.

        As an altered photograph does, a copy differs before the rectifier, in the directions in which images differ.
        """
        inputs = self._inputs(number)[:count]
        originals = self._activated(inputs)
        rng = np.random.default_rng([self.seed, self.dim, number, round(cosine * 1e6)])
        change = _normal(rng, count, self.dim) @ self._own
        least, most = np.zeros((count, 1), np.float32), np.full((count, 1), 16, np.float32)
        for _ in range(_HALVINGS):
            middle = (least + most) / 2
            near = np.einsum("ij,ij->i", self._activated(inputs + middle * change), originals)[:, None] > cosine
            least, most = np.where(near, middle, least), np.where(near, most, middle)
        return self._activated(inputs + most * change)

    def _inputs(self, number: int) -> Floats:
        """What enters the rectifier, float32 [BLOCK, dim]."""
        rng = np.random.default_rng([self.seed, self.dim, number])
        group = _drawn(rng, self._sizes, BLOCK)
        inputs = _normal(rng, BLOCK, self.dim) @ self._own
        inputs *= self._loose[group, None]
        inputs += self._centres[group]
        return inputs

    def _activated(self, inputs: Floats) -> Floats:
        values = np.maximum(inputs, 0)
        values *= np.sqrt(values)
        values *= self._gain
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return values


def _mixing(turn: npt.NDArray[np.float64], share: float, decay: float, first: float) -> Floats:
    """The matrix [d, d] that gives standard normal rows a falling spectrum, turned, with `share` as mean variance."""
    numbers = np.arange(1, len(turn) + 1)
    variance = numbers**-decay * (1 + (first - 1) / numbers)
    variance *= share * len(turn) / variance.sum()
    mixing: Floats = (np.sqrt(variance)[:, None] * turn).astype(np.float32)
    return mixing


def _normal(rng: np.random.Generator, rows: int, dim: int) -> Floats:
    return rng.standard_normal((rows, dim), dtype=np.float32)


def _shares(count: int, ranks: int, exponent: float) -> npt.NDArray[np.float64]:
    """What share of all each of `count` clusters has, by Zipf's law over their ranks."""
    sizes = _ranks(count, ranks) ** -exponent
    shares: npt.NDArray[np.float64] = sizes / sizes.sum()
    return shares


def _ranks(count: int, ranks: int) -> npt.NDArray[np.float64]:
    """The rank by size of each of `count` clusters, from 1, each as often as the others where there are more."""
    return np.ceil(np.arange(1, count + 1, dtype=np.float64) * (ranks / count))


def _drawn(rng: np.random.Generator, sizes: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """`count` numbers of clusters, each drawn by its size."""
    drawn = np.searchsorted(np.cumsum(sizes), rng.random(count))
    return np.minimum(drawn, len(sizes) - 1)  # The sizes add up to 1 but for rounding.
