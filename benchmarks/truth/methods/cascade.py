"""The cascade in its plainest form: the candidates of the cosine, the likeliest first, verified by local features."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.support import machine
from benchmarks.truth.judge import Outcome, Scores
from benchmarks.truth.methods.compared import Compared
from benchmarks.truth.methods.method import Rule, Stored
from benchmarks.truth.pairs.pixels import Squares, laid, least, squares
from benchmarks.truth.progress import shown
from benchmarks.truth.queries.collection import Photo, Query, pixels_of
from shared.messages.verdicts import SAME_PICTURE, SAME_PIXELS, Evidence
from workers.images.encode import Image
from workers.verify.features import QUERY_KEYPOINTS, LocalFeatures, local_features
from workers.verify.pixels import same_pixels
from workers.verify.same_picture import verify


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A query as verification takes it: RGB uint8 [h, w, 3], many local features, its small square in eight ways."""

    pixels: Image
    features: LocalFeatures
    ways: Squares

    @classmethod
    def of(cls, data: bytes) -> "Asked":
        pixels = pixels_of(data)
        return cls(pixels, local_features(pixels, QUERY_KEYPOINTS), laid(squares([pixels]))[:, 0])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of a candidate, and what proves it."""

    word: str
    evidence: Evidence


class Features:
    """The local features of every photograph, as they are stored."""

    def __init__(self) -> None:
        self.every: list[LocalFeatures] = []
        self._squares: Squares = np.empty((0, 0), np.float32)
        self._known: dict[tuple[int, str, int], Verdict | None] = {}
        self.stored: Stored | None = None

    def of(self, photos: Sequence[Photo]) -> Stored:
        """Take the photographs up, once; the CPU is that of the features alone, of decoded photographs."""
        if self.stored is None:
            size, cpu = 0, 0.0
            for photo in shown(photos, "local features", lambda photo: photo.name):
                pixels = pixels_of(photo.data())
                began = time.process_time()
                data = local_features(pixels).to_bytes()
                cpu += time.process_time() - began
                size += len(data)
                # What a job would read back, and not what was computed: the stored form rounds.
                self.every.append(LocalFeatures.from_bytes(data))
            self._squares = squares(self.every).reshape(len(photos), -1)
            self.stored = Stored(size / len(photos), 1000 * cpu / len(photos))
        return self.stored

    def known(self, query: Query, asked: Asked, candidate: int) -> Verdict | None:
        """`verdict`, remembered: methods of other candidates ask for many of the same pairs."""
        key = query.original, query.kind, candidate
        if key not in self._known:
            self._known[key] = self.verdict(asked, candidate)
        return self._known[key]

    def verdict(self, asked: Asked, candidate: int) -> Verdict | None:
        """What is proven of a photograph: the same pixels, the same picture, or nothing."""
        stored = self.every[candidate]
        square = self._squares[candidate]
        # Most candidates are refused by the first step of `same_pixels`, which this is, with the squares at hand.
        if float((asked.ways @ square).max()) >= least(len(square)):
            evidence = same_pixels(asked.pixels, stored)
            if evidence is not None:
                return Verdict(SAME_PIXELS, evidence)
        evidence = verify(asked.features, stored)
        return None if evidence is None else Verdict(SAME_PICTURE, evidence)


class Cascade:
    """The first `candidates` of a cosine are verified in their order, and the first that is proven goes to the top."""

    asks_absent = True

    def __init__(self, cosine: Compared, features: Features, candidates: int) -> None:
        self.name = f"{cosine.name}, verified"
        self.about = f"{cosine.about}; the first {candidates} verified by stored local features, until one is proven"
        self._cosine, self._features, self._candidates = cosine, features, candidates

    def store(self, photos: Sequence[Photo]) -> Stored:
        cosine, features = self._cosine.store(photos), self._features.of(photos)
        return Stored(cosine.bytes_per_image + features.bytes_per_image, cosine.cpu_ms + features.cpu_ms)

    def judge(self, queries: Sequence[Query]) -> list[Rule]:
        scores = self._cosine.scores(queries)
        with ThreadPoolExecutor(machine.cores()) as threads:
            judged = threads.map(self._outcome, queries, scores, self._cosine.likely(queries))
            outcomes = list(shown(judged, self.name, lambda outcome: outcome.said or "nothing", len(queries)))
        return [Rule("verified", outcomes)]

    def ask(self, data: bytes, without: int | None) -> tuple[list[int], Verdict | None]:
        likely = self._cosine.likely_of(data, without)[: self._candidates]
        asked = Asked.of(data)
        return likely, next((verdict for verdict in self._verdicts(asked, likely) if verdict is not None), None)

    def _outcome(self, query: Query, score: Scores, likely: Sequence[int]) -> Outcome:
        asked, order = Asked.of(query.data), np.argsort(-score, kind="stable")
        verdict_of = partial(self._features.known, query, asked)
        first = next((place for place in likely[: self._candidates] if verdict_of(place) is not None), None)
        absent = (place for place in likely[: self._candidates + 1] if place != query.original)
        wrong = next((place for place in absent if verdict_of(place) is not None), None)
        proof = verdict_of(wrong) if wrong is not None else None
        said = verdict_of(query.original) if first == query.original else None
        rank = 1 if said else int(np.flatnonzero(order == query.original)[0]) + 1
        if first is not None and not said:
            # What is proven goes to the top: the original is behind it, wherever it was.
            rank += int(np.flatnonzero(order == first)[0] > rank - 1)
        return Outcome(
            rank, said.word if said else None, wrong, f"{proof.word}: {proof.evidence.description}" if proof else ""
        )

    def _verdicts(self, asked: Asked, likely: Sequence[int]) -> Iterator[Verdict | None]:
        return (self._features.verdict(asked, candidate) for candidate in likely)
