"""Embed a few images at once, all or none, each read in a process of its own: they come from anywhere."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import ImageError
from shared.images.location import Location
from shared.job.manifest import Manifest
from workers.images.isolated import IsolatedReaders
from workers.images.read import ReadImage
from workers.models.embedder import Embedder, has_direction, no_direction

_NAMED: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedImages:
    """Images that were read and embedded: what was read of each, and the embeddings, float16 [n, d], of length 1.

    They are the rows, to the bit, that an embed worker writes of these images. `features` are theirs, None where none
    were asked for.
    """

    images: Sequence[ReadImage]
    embeddings: NDArray[np.float16]
    features: Sequence[bytes | None] | None = None


def embed_images(
    locations: Sequence[Location],
    manifest: Manifest,
    embedder: Embedder,
    threads: int,
    require_going: Callable[[], None],
    *,
    features: bool = False,
) -> EmbeddedImages:
    """Read, decode and embed the images at `locations` as those of a job of `manifest`.

    Equal bytes among them go through the model once. `features` is whether their features are made too.
    `require_going` is called before each batch, and may raise. Raises ImageError, which names the first few, where an
    image can't be read, decoded or embedded.
    """
    images: list[ReadImage] = []
    embeddings = np.empty((len(locations), embedder.dim), np.float16)
    first: dict[str | None, int] = {}
    limits = manifest.max_image_pixels, manifest.max_image_bytes
    with (
        IsolatedReaders(embedder.image_size, *limits, manifest.model.decode, features) as readers,
        ThreadPoolExecutor(min(threads, len(locations)), thread_name_prefix="read") as pool,
    ):
        for start in range(0, len(locations), embedder.batch_size):
            require_going()
            batch = list(pool.map(readers.read, locations[start : start + embedder.batch_size]))
            fresh = [
                place
                for place, image in enumerate(batch, start)
                if image.pixels is not None and first.setdefault(image.sha256, place) == place
            ]
            if fresh:
                vectors = embedder.embed(
                    np.stack([pixels for place in fresh if (pixels := batch[place - start].pixels) is not None])
                )
                for place, good in zip(fresh, has_direction(vectors), strict=True):
                    if not good:
                        error = no_direction()
                        batch[place - start] = replace(
                            batch[place - start], status=error.status, error_message=str(error)
                        )
                with np.errstate(invalid="ignore"):
                    embeddings[fresh] = vectors
            # The pixels of ten thousand images would take gigabytes.
            images += [replace(image, pixels=None) for image in batch]
    _require_all(images)
    for place, image in enumerate(images):
        embeddings[place] = embeddings[first[image.sha256]]
    return EmbeddedImages(images, embeddings, [image.features for image in images] if features else None)


def _require_all(images: Sequence[ReadImage]) -> None:
    """Raise ImageError unless all were embedded; an image of the same bytes as one without a direction has none too."""
    bad = [image for image in images if image.status != "ok"]
    if not bad:
        return
    named = " ".join(f"{image.path} ({image.status}): {_why(image)}" for image in bad[:_NAMED])
    more = f" So are {len(bad) - _NAMED:,} more." if len(bad) > _NAMED else ""
    count = "1 image" if len(bad) == 1 else f"{len(bad):,} of {len(images):,} images"
    raise ImageError(
        f"{count} can't be embedded, and nothing was added: {named}{more} Leave out what is no image.", bad[0].status
    )


def _why(image: ReadImage) -> str | None:
    # None of these was listed before.
    return "There is no such file." if image.status == "vanished" and "::" not in image.path else image.error_message


def digest_of(data: bytes) -> str:
    """Hex SHA-256, by which an image that came as bytes is named in the job."""
    return hashlib.sha256(data).hexdigest()
