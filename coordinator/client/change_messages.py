"""Make the message of a change out of what a program gives: images, vectors, metadata, ids."""

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Final, SupportsIndex

import numpy as np

from shared.errors import UsageError
from shared.images.paths import absolute
from shared.messages.changes import MOST_TEXT, ChangeJob, NewImage, require_name, to_wire
from shared.vectors import to_unit_vectors

Addable = str | os.PathLike[str] | tuple[str, bytes]
"""An image that can be added: its path, its URL, or a name and its encoded bytes."""
Metadata = Mapping[str, Any]

_PAIR: Final = 2


def adding(
    job: str,
    images: "Iterable[Addable] | np.ndarray",
    metadata: Iterable[Metadata] | None,
    paths: Iterable[str] | None,
    request: str | None,
) -> ChangeJob:
    """The message that adds images, or vectors, float [n, d], to a job, each with its metadata and its path if given.

    Raises UsageError for what can't be added.
    """
    values = None if metadata is None else tuple(to_wire(one) for one in _many(metadata, "metadata"))
    message = ChangeJob(job, "add", request or new_request(), metadata=values)
    if isinstance(images, np.ndarray):
        named = () if paths is None else tuple(_many(paths, "paths"))
        return fitting(replace(message, vectors=_units(images), paths=named))
    if paths is not None:
        raise UsageError("paths name vectors; an image has its own, or the name that it is given with.")
    return fitting(replace(message, images=tuple(_image(image) for image in _many(images, "images"))))


def updating(
    job: str,
    image_id: SupportsIndex,
    image: "Addable | np.ndarray | None",
    metadata: Metadata | None,
    request: str | None,
) -> ChangeJob:
    """The message that puts an image or a vector, float [d], in the place of another, or gives it other metadata.

    Raises UsageError for what can't be put there.
    """
    values = None if metadata is None else (to_wire(metadata),)
    message = ChangeJob(job, "update", request or new_request(), metadata=values, ids=(_id(image_id),))
    if isinstance(image, np.ndarray):
        if image.ndim != 1:
            raise UsageError(f"One vector is float [d], and this is {image.dtype} {list(image.shape)}.")
        return fitting(replace(message, vectors=_units(image[None])))
    return fitting(message if image is None else replace(message, images=(_image(image),)))


def deleting(job: str, ids: Iterable[SupportsIndex], request: str | None) -> ChangeJob:
    """The message that removes the images of some ids; raises UsageError for what is no id."""
    return fitting(ChangeJob(job, "delete", request or new_request(), ids=tuple(_id(one) for one in _many(ids, "ids"))))


def new_request() -> str:
    """A name for a request that no other has."""
    return uuid.uuid4().hex


def fitting(message: ChangeJob) -> ChangeJob:
    """The message, if a worker takes it; raises UsageError otherwise."""
    size = len(json.dumps(message.require().to_json()))
    if size > MOST_TEXT:
        raise UsageError(f"What one call says takes {size:,} characters, and at most {MOST_TEXT:,} are sent: cut it.")
    return message


def _many(given: Any, what: str) -> Sequence[Any]:
    if isinstance(given, str | bytes | os.PathLike | Mapping) or not isinstance(given, Iterable):
        raise UsageError(f"The {what} come as a list, one for each image, and {given!r:.80} is none.")
    return list(given)


def _id(given: Any) -> int:
    if not isinstance(given, Integral) or isinstance(given, bool) or given < 0:
        raise UsageError(f"{given!r:.80} is no image id, as hits have: a whole number from 0.")
    return int(given)


def _image(given: Any) -> NewImage:
    if isinstance(given, tuple) and len(given) == _PAIR and isinstance(given[1], bytes):
        if not given[1]:
            raise UsageError(f"The image {given[0]!r:.80} has no bytes.")
        return NewImage(name=require_name(given[0]), data=given[1])
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(path, str) or not path:
        raise UsageError(
            f"{given!r:.80} can't be added: give the path or URL of an image, or its bytes as (name, bytes)."
        )
    return NewImage(path=absolute(path))


def _units(vectors: np.ndarray) -> np.ndarray:
    if vectors.ndim != _PAIR or not vectors.size or vectors.dtype.kind != "f":
        raise UsageError(f"Vectors are float [n, d], and these are {vectors.dtype} {list(vectors.shape)}.")
    units, good = to_unit_vectors(vectors)
    if not good.all():
        raise UsageError(
            f"The vector {int(np.flatnonzero(~good)[0]):,} of {len(good):,} is zero or not finite, so it has no "
            "direction: nothing was sent."
        )
    return units
