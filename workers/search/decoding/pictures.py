"""What a decoding process makes of an image besides its square: the squares of its views, and its local features."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.models import ModelSpec
from shared.models.preprocessing import REDUCED
from workers.images.decode import checked_header, decode, decode_photo, square_of
from workers.search.decoding.boxes import view_boxes
from workers.verify.features import STORED_KEYPOINTS, LocalFeatures, as_stored, local_features
from workers.verify.pdq import pdq, turned_pdqs

# What can be wanted of an image: its square for the model, those of its views, its local features, or its PDQs.
SQUARE: Final = "square"
VIEWS: Final = "views"
FEATURES: Final = "features"
PDQS: Final = "pdqs"

# The longer side that is decoded: features are made of a smaller copy, and a JPEG is decoded no larger than need be.
_QUERY_SIDE: Final = 1_280
_CANDIDATE_SIDE: Final = 640
_TURNED_SIDE: Final = 320
# Each view is a part of the image, down to a tenth of its side, and should have the pixels that the model wants.
_VIEW_SIDES: Final = 6


def decode_of(model: ModelSpec) -> str:
    """How the images of a job are decoded to be compared: as for its model, if it has one that decodes."""
    return REDUCED if model.is_imported else model.decode


def views_of(data: bytes, count: int, image_size: int, max_pixels: int, how: str) -> NDArray[np.uint8]:
    """At most `count` views of an image, each as a square: uint8 [n, image_size, image_size, 3], RGB.

    The first is the whole as `decode` gives it. Raises ImageError as that does.
    """
    squares = [decode(data, image_size, max_pixels, how).pixels]
    if count > 1:
        photo = decode_photo(data, _VIEW_SIDES * image_size, max_pixels, how)
        for left, top, right, bottom in view_boxes(photo, count)[1:]:
            squares.append(square_of(photo[top:bottom, left:right], image_size, how))
    return np.stack(squares)


def features_of(data: bytes, keypoints: int, max_pixels: int, how: str) -> LocalFeatures:
    """The local features of an image, in its own pixels, however much smaller it was decoded; raises ImageError.

    With as many `keypoints` as are stored, they are those of a candidate, in the form in which a job stores them.
    """
    is_candidate = keypoints <= STORED_KEYPOINTS
    photo = decode_photo(data, _CANDIDATE_SIDE if is_candidate else _QUERY_SIDE, max_pixels, how)
    width, height, *_ = checked_header(data, max_pixels, how)
    found = local_features(photo, keypoints)
    return at_size(as_stored(found) if is_candidate else found, width, height)


def pdqs_of(data: bytes, max_pixels: int, how: str) -> tuple[NDArray[np.uint8], int]:
    """The PDQs of an image in its eight turns and flips, uint8 [8, 32], and their quality; raises ImageError.

    The first, of the image as it is, is as exact as what is stored. The others are of a small copy, some ten bits off,
    in a tenth of the time.
    """
    hashes, _ = turned_pdqs(decode_photo(data, _TURNED_SIDE, max_pixels, how))
    hashes[0], quality = pdq(decode_photo(data, _CANDIDATE_SIDE, max_pixels, how))
    return hashes, quality


def at_size(features: LocalFeatures, width: int, height: int) -> LocalFeatures:
    """The features of a smaller copy of an image in pixels of the image, whose header says `width` and `height`."""
    # A header gives the size before an image is turned upright.
    if (width > height) != (features.width > features.height) and features.width != features.height:
        width, height = height, width
    if (width, height) == (features.width, features.height):
        return features
    scale = np.array([width / features.width, height / features.height], np.float32)
    return replace(features, width=width, height=height, points=features.points * scale)


_ARRAYS: Final = (("points", np.float32), ("bits", np.uint8), ("grey", np.uint8), ("colours", np.uint8))


def packed(features: LocalFeatures) -> tuple[dict[str, Any], list[memoryview]]:
    """Features as JSON that says their shapes, and the bytes of their arrays: nothing is lost, unlike where they are
    stored."""
    arrays = {name: np.ascontiguousarray(getattr(features, name), kind) for name, kind in _ARRAYS}
    head = {"width": features.width, "height": features.height}
    return head | {name: array.shape for name, array in arrays.items()}, [
        array.reshape(-1).view(np.uint8).data for array in arrays.values()
    ]


def unpacked(head: Mapping[str, Any], data: bytearray, start: int) -> LocalFeatures:
    """What `packed` made, from `start` of the bytes on; raises ValueError, KeyError or TypeError for anything else."""
    arrays: dict[str, Any] = {}
    for name, kind in _ARRAYS:
        shape: Sequence[int] = head[name]
        size = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, kind, size, start).reshape(shape).copy()  # Aligned, and without the rest.
        start += arrays[name].nbytes
    if start != len(data):
        raise ValueError(f"{len(data) - start} bytes too many")
    return LocalFeatures(head["width"], head["height"], **arrays)
