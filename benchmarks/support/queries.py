"""The queries of an index benchmark: images that are not in the collection, altered copies of others, and the truth."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.support.features import BLOCK, Features, Floats

COSINES: Final = (0.99, 0.946, 0.886, 0.832)
"""How similar the altered copies are to their originals: c1 to c4."""

K: Final = 10

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """`vectors` float32 [q, d]: the `fresh` first are new images, the others altered copies, as many of each cosine.

    `originals` int64 [q - fresh] are the ids of what the copies were made of, `truth` int64 [q, 10] the ten nearest of
    each query by exact search (empty as long as no one searched).
    """

    vectors: Floats
    fresh: int
    originals: Ids
    truth: Ids

    @classmethod
    def make(cls, source: Features, fresh: int, copies: int) -> "Queries":
        """`fresh` new images and `copies` altered copies a cosine, of images from all over the collection."""
        # The copies are made of the first rows of a block, each cosine of another one.
        numbers = [(source.rows // BLOCK) * part // len(COSINES) for part in range(len(COSINES))]
        made = [source.copies(number, copies, cosine) for number, cosine in zip(numbers, COSINES, strict=True)]
        originals = np.concatenate([number * BLOCK + np.arange(copies) for number in numbers])
        vectors = np.concatenate([source.fresh(fresh), *made])
        return cls(vectors, fresh, originals, np.empty((0, K), np.int64))

    @classmethod
    def load(cls, path: Path) -> "Queries":
        with np.load(path) as arrays:
            return cls(arrays["vectors"], int(arrays["fresh"]), arrays["originals"], arrays["truth"])

    def save(self, path: Path) -> None:
        np.savez(path, vectors=self.vectors, fresh=self.fresh, originals=self.originals, truth=self.truth)

    def with_truth(self, truth: Ids) -> "Queries":
        return replace(self, truth=truth)

    def judged(self, found: Ids) -> dict[str, Any]:
        """recall@10 on the new images, and accuracy@10 of the copies by cosine, of the ids found for each query."""
        recall = recall_at_10(found[: self.fresh], self.truth[: self.fresh])
        hit = (found[self.fresh :, :K] == self.originals[:, None]).any(axis=1)
        by_cosine = hit.reshape(len(COSINES), -1).mean(axis=1)
        accuracy = {f"{cosine:g}": round(float(share), 4) for cosine, share in zip(COSINES, by_cosine, strict=True)}
        return {"recall_at_10": round(recall, 4), "accuracy_at_10": accuracy}


def recall_at_10(found: Ids, truth: Ids) -> float:
    """The share of the true ids, int64 [q, 10], that are among the first ten found, int64 [q, 10 or more]."""
    return float(np.mean([np.isin(right, got[:K]).mean() for got, right in zip(found, truth, strict=True)]))
