"""Collect one chunk: its rows, the batch that fills up for the model, and the embeddings."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shared.job.manifest import Chunk
from shared.job.partition.checkpoint import ImageRow
from workers.embed.dedup import Known, KnownImages
from workers.embed.pipeline import Overlap
from workers.images.read import ReadImage
from workers.models.embedder import Embedder, has_direction, no_direction


class ChunkWork:
    """Takes the images of a chunk in the order of their ids, and gives its rows and embeddings.

    Bytes that were embedded before, in this chunk, another of the partition or a sealed one, get the embedding that
    they have, and its features.
    """

    def __init__(self, chunk: Chunk, embedder: Embedder, known: KnownImages, model: Overlap) -> None:
        self.rows: list[ImageRow] = []
        self.features: list[bytes | None] = []
        """The features of each row, where they were made or kept."""
        self._chunk, self._embedder, self._known, self._model = chunk, embedder, known, model
        self._embeddings = np.empty((len(chunk), embedder.dim), np.float16)
        self._batch: list[NDArray[np.uint8]] = []
        self._places: list[int] = []  # Which row each image of the batch belongs to.
        self._first: dict[str, int] = {}  # The images of this chunk that go through the model, by their bytes.
        self._copies: list[tuple[int, int]] = []  # A row, and the one before it with the same bytes.

    def take(self, image: ReadImage, read_whole: Callable[[], ReadImage]) -> None:
        """Take the next image, into the batch for the model unless it failed or its bytes equal those of an earlier
        one.

        An image that was read when its bytes were known has no pixels. If that embedding is gone meanwhile,
        `read_whole` has to read it with them.
        """
        place = len(self.rows)
        if image.status == "ok" and image.sha256 is not None:
            known = self._known.find(image.sha256)
            if known is not None and self._copied(place, image, known):
                return
            if image.pixels is None:
                image = read_whole()
        self.rows.append(_row(self._chunk.start + place, image))
        self.features.append(image.features)
        if image.pixels is None:
            return
        first = place if image.sha256 is None else self._first.setdefault(image.sha256, place)
        if first != place:
            self._copies.append((place, first))
            return
        self._batch.append(image.pixels)
        self._places.append(place)

    def keep(self, row: ImageRow, embedding: NDArray[np.float16] | None, features: bytes | None = None) -> None:
        """Take the next row as it was, with its embedding, float16 [d], and its features, if it has them: it is not
        embedded again.
        """
        place = len(self.rows)
        self.rows.append(row)
        self.features.append(features)
        if embedding is None:
            return
        self._embeddings[place] = embedding
        # One without features that are wanted leaves it to the next of the same bytes to make them.
        if row.sha256 is not None and (features is not None or not self._known.features):
            self._first.setdefault(row.sha256, place)

    @property
    def batch_is_full(self) -> bool:
        return len(self._batch) == self._embedder.batch_size

    def embed(self) -> None:
        """Let the model embed the batch, full or not. It may still be running when this returns."""
        if not self._batch:
            return
        self._model.embed(np.stack(self._batch), partial(self._put, np.array(self._places)))
        self._batch, self._places = [], []

    def _put(self, places: NDArray[np.intp], embeddings: NDArray[np.float32]) -> None:
        good = has_direction(embeddings)
        self._embeddings[places[good]] = embeddings[good]
        for place in places[~good]:
            error = no_direction()
            self.rows[place] = replace(self.rows[place], status=error.status, error_message=str(error))

    def finish(self) -> NDArray[np.float16]:
        """The embeddings of the rows that are "ok", float16 [n, d], once all images are taken; waits for the model."""
        self._model.finish()
        for place, first in self._copies:
            self._embeddings[place] = self._embeddings[first]
            self.features[place] = self.features[first]
            original = self.rows[first]
            self.rows[place] = replace(self.rows[place], status=original.status, error_message=original.error_message)
        return self._embeddings[[row.status == "ok" for row in self.rows]]

    def _copied(self, place: int, image: ReadImage, known: Known) -> bool:
        assert image.sha256 is not None
        found = self._known.stored(known, image.sha256)
        if found is None:
            return False
        self._embeddings[place] = found.embedding
        self.features.append(found.features)
        row = _row(self._chunk.start + place, image)
        self.rows.append(replace(row, width=known.width, height=known.height))
        return True


def _row(image_id: int, image: ReadImage) -> ImageRow:
    return ImageRow(
        id=image_id,
        image_path=image.path,
        width=image.width,
        height=image.height,
        bytes=image.bytes,
        sha256=image.sha256,
        status=image.status,
        error_message=image.error_message,
    )
