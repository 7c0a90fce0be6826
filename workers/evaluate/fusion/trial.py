"""Try fusion on some images of a job that is to be made: learn it from one half, and measure it on the other."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.images.location import Location
from shared.models.fusion import LEAST_IMAGES, FusionTrial
from workers.evaluate.fusion.learning import learn
from workers.evaluate.fusion.measuring import found_first, is_better
from workers.evaluate.fusion.sampling import Limits, Pixels, copies_of_all
from workers.models.embedder import Embedder, has_direction
from workers.models.projection import Projection

MOST_COPIED: Final = 96
"""Of how many images copies are made, at most. From those of one half is learned; more teach little."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a trial, and the projection that was learned; None where it was not kept."""

    trial: FusionTrial
    projection: Projection | None = None


@dataclass(frozen=True, slots=True)
class Models:
    """`plain` gives the embeddings of a model as it is, `levels` its pooled levels; both take the same images."""

    plain: Embedder
    levels: Embedder


def try_fusion(
    sample: Iterable[tuple[Location, Pixels]],
    limits: Limits,
    models: Models,
    threads: int,
    report: Callable[[str, int], None],
) -> Tried:
    """Whether the levels of a model, projected, find more altered copies of `sample` than the model as it is, by more
    than chance.

    The images come in an order of chance. Copies are made of the first ones. The projection is learned from one half of
    these, and from the images of which no copies are made; it is measured by the copies of the other half, among all
    images. `report` gets what is counted, "images" or "copies", and how many there are so far.
    """
    locations, shown, seen = _embedded(sample, models, report)
    if len(locations) < LEAST_IMAGES:
        takes = f"as it takes {LEAST_IMAGES} images that can be read and differ, and {len(locations)} do"
        return _not_measured(len(locations), takes)
    half = min(MOST_COPIED, len(locations)) // 2
    learned, asked = _Copies(), _Copies()
    for place, copies in copies_of_all(locations[: 2 * half], limits, threads):
        into, plain = (learned, None) if place < half else (asked, models.plain)
        into.add(place, copies, models.levels, plain)
        report("copies", len(learned.originals) + len(asked.originals))
    if not learned.originals or not asked.originals:
        return _not_measured(len(locations), "as no altered copies of the images could be made")
    # Of the images that it is measured on, nothing is learned.
    others = np.concatenate([np.arange(half), np.arange(2 * half, len(locations))])
    projection = learn(shown[others], np.concatenate(learned.levels), np.array(learned.originals))
    if not projection.dim:
        return _not_measured(len(locations), "as the images do not differ")
    originals = np.array(asked.originals)
    before = found_first(seen, np.concatenate(asked.plain), originals)
    after = found_first(_unit(projection.of(shown)), _unit(projection.of(np.concatenate(asked.levels))), originals)
    found = FusionTrial(
        kept=is_better(after, before),
        images=len(locations),
        copies=len(originals),
        plain=float(before.mean()),
        fused=float(after.mean()),
    )
    if found.kept:
        return Tried(found, projection)
    more = after.sum() > before.sum()
    return Tried(replace(found, reason="as chance may give that" if more else "as that is no gain"))


def _not_measured(count: int, reason: str) -> Tried:
    return Tried(FusionTrial(kept=False, images=count, reason=reason))


class _Copies:
    """Altered copies of images, once the models have seen them: of each the place of its original, and its vectors."""

    def __init__(self) -> None:
        self.originals: list[int] = []
        self.levels: list[Vectors] = []
        self.plain: list[Vectors] = []

    def add(self, original: int, copies: Sequence[Pixels], levels: Embedder, plain: Embedder | None) -> None:
        """Take up the copies of an image; those without features are none, and the plain ones only if asked for."""
        if not copies:
            return
        found = levels.embed(np.stack(copies))
        good = has_direction(found)
        self.originals += [original] * int(good.sum())
        self.levels.append(found[good])
        if plain is not None:
            self.plain.append(plain.embed(np.stack(copies))[good])


def _embedded(
    sample: Iterable[tuple[Location, Pixels]], models: Models, report: Callable[[str, int], None]
) -> tuple[list[Location], Vectors, Vectors]:
    """The images that both models see something in, with the pooled levels and the plain embedding of each."""
    locations: list[Location] = []
    shown, seen = [np.empty((0, models.levels.dim), np.float32)], [np.empty((0, models.plain.dim), np.float32)]
    stream = iter(sample)
    while batch := list(islice(stream, models.levels.batch_size)):
        pixels = np.stack([one for _, one in batch])
        levels, plain = models.levels.embed(pixels), models.plain.embed(pixels)
        good = has_direction(levels) & has_direction(plain)
        locations += [location for (location, _), fine in zip(batch, good.tolist(), strict=True) if fine]
        shown.append(levels[good])
        seen.append(plain[good])
        report("images", len(locations))
    return locations, np.concatenate(shown), np.concatenate(seen)


def _unit(features: Vectors) -> Vectors:
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Vectors = features / np.linalg.norm(features, axis=1, keepdims=True)
    return found
