"""A trial of fusion, kept and not kept, on made pictures and models that cost nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.images.location import Location
from workers.evaluate.fusion import learning, trial
from workers.evaluate.fusion.sampling import Limits, Pixels
from workers.evaluate.fusion.trial import Models, Tried, try_fusion

SIZE, EACH = 4, 3
LIMITS = Limits(SIZE, 10**6, 10**6, "reduced")
RANDOM = np.random.default_rng(5)


@dataclass
class Values:
    """An embedder of the values of a picture, of which the first ones count `weight` times as much."""

    weight: float
    fingerprint: str = "values@1"
    dim: int = SIZE * SIZE * 3
    image_size: int = SIZE
    batch_size: int = 8

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = images.reshape(len(images), -1).astype(np.float32) - 128
        values[:, : self.dim // 3] *= self.weight
        with np.errstate(invalid="ignore"):
            found: NDArray[np.float32] = values / np.linalg.norm(values, axis=1, keepdims=True)
        return found


Run = Callable[..., tuple[Tried, list[str]]]


def pictures(count: int) -> list[tuple[Location, Pixels]]:
    """Pictures of noise; one of nothing but the value 128 has no direction."""
    made = RANDOM.integers(108, 149, (count, SIZE, SIZE, 3), dtype=np.uint8)
    return [(Location(f"{number}.png"), pixels) for number, pixels in enumerate(made)]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Tries images whose altered copies differ in the first third of their values."""

    def run(images: list[tuple[Location, Pixels]], levels: Values, each: int = EACH) -> tuple[Tried, list[str]]:
        by_location = dict(images)

        def altered(locations: Sequence[Location], limits: Limits, threads: int) -> Iterator[tuple[int, list[Pixels]]]:
            for place, location in enumerate(locations):
                flat = np.repeat(by_location[location].reshape(1, -1), each, axis=0)
                flat[:, : flat.shape[1] // 3] = RANDOM.integers(0, 256, (each, flat.shape[1] // 3))
                yield place, list(flat.reshape(each, SIZE, SIZE, 3))

        monkeypatch.setattr(trial, "copies_of_all", altered)
        told: list[str] = []
        models = Models(Values(1.0), levels)
        found = try_fusion(iter(images), LIMITS, models, 2, lambda what, count: told.append(f"{count} {what}"))
        return found, told

    return run


def test_it_is_kept_where_it_finds_more(tried: Run) -> None:
    found, told = tried(pictures(100), Values(1.0))
    facts = found.trial
    assert facts.kept
    assert (facts.images, facts.copies, facts.reason) == (100, 48 * EACH, "")
    assert (facts.fused or 0) > (facts.plain or 0) + 0.2
    assert found.projection is not None
    assert found.projection.width == Values.dim
    assert told[-1] == f"{96 * EACH} copies"
    assert "100 images" in told


def test_it_is_not_kept_where_the_levels_know_less(tried: Run) -> None:
    """The levels see nothing but what alterations change."""
    found, _ = tried(pictures(100), Values(1e6))
    assert (found.trial.kept, found.projection) == (False, None)
    assert (found.trial.fused or 0) <= (found.trial.plain or 0)
    assert found.trial.reason == "as that is no gain"


def test_what_chance_may_give_is_not_kept(tried: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "is_better", lambda after, before: False)
    found, _ = tried(pictures(70), Values(1.0))
    assert (found.trial.kept, found.projection) == (False, None)
    assert found.trial.reason == "as chance may give that"


def test_nothing_is_learned_of_the_images_that_it_is_measured_on(tried: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[tuple[int, set[int]]] = []

    def learn(images: NDArray[np.float32], copies: NDArray[np.float32], originals: NDArray[np.intp]) -> object:
        taught.append((len(images), set(originals.tolist())))
        return real(images, copies, originals)

    real = learning.learn
    monkeypatch.setattr(trial, "learn", learn)
    tried(pictures(110), Values(1.0))
    assert taught == [(110 - 48, set(range(48)))]


@pytest.mark.parametrize(("count", "black", "said"), [(63, 0, "and 63 do"), (70, 10, "and 60 do"), (0, 0, "and 0 do")])
def test_too_few_images_are_said_and_not_tried(tried: Run, count: int, black: int, said: str) -> None:
    images = pictures(count)
    for _, pixels in images[:black]:
        pixels[:] = 128
    found, told = tried(images, Values(1.0))
    assert (found.trial.kept, found.projection, found.trial.images) == (False, None, count - black)
    assert str(found.trial) == (
        f"Fusion: not measured, as it takes 64 images that can be read and differ, {said}: not kept"
    )
    assert not any("copies" in one for one in told)


def test_images_of_which_no_copies_can_be_made_are_said(tried: Run) -> None:
    found, _ = tried(pictures(70), Values(1.0), 0)
    assert found.trial.reason == "as no altered copies of the images could be made"
    same = [(location, np.full((SIZE, SIZE, 3), 200, np.uint8)) for location, _ in pictures(70)]
    found, _ = tried(same, Values(1.0))
    assert not found.trial.kept
