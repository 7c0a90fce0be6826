"""The message of one query: a vector, the encoded bytes of an image, or the two together."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from shared.errors import MessageError

MAX_IMAGE_BYTES = 32 << 20
MAX_VECTOR_BYTES = 4 * 65_536


def _decoded_size(text: str) -> int:
    """Bytes that base64 of this length stands for."""
    return len(text) // 4 * 3 - text[-2:].count("=")


@dataclass(frozen=True, slots=True, eq=False)  # Arrays do not compare to one truth value.
class Query:
    """One thing to look for: a vector (float32 [d], any length but 0) or the encoded bytes of an image.

    With both, the vector is searched for, and the image is what the hits are verified by: it is of the image that the
    vector was made of.
    """

    vector: np.ndarray | None = None
    image: bytes | None = None

    def to_json(self) -> dict[str, str]:
        table = {} if self.image is None else {"image": base64.b64encode(self.image).decode("ascii")}
        if self.vector is None:
            return table or {"image": ""}
        little = np.ascontiguousarray(self.vector, dtype="<f4")
        return {"vector": base64.b64encode(little.tobytes()).decode("ascii")} | table

    @classmethod
    def from_json(cls, table: Any, max_image_bytes: int = MAX_IMAGE_BYTES) -> Self:
        """Raises MessageError for anything but what `to_json` gives, or for an image of over `max_image_bytes`.

        What is too long is refused before it is decoded.
        """
        if not isinstance(table, Mapping) or not table or not set(table) <= {"vector", "image"}:
            raise MessageError('A query must be a JSON object with "vector", "image" or both.')
        vector = _decoded("vector", table["vector"], MAX_VECTOR_BYTES) if "vector" in table else None
        image = _decoded("image", table["image"], max_image_bytes) if "image" in table else None
        if vector is None:
            return cls(image=image)
        if len(vector) % 4 or not vector:
            raise MessageError(f"The vector of a query has {len(vector)} bytes; float32 values take 4 each.")
        return cls(np.frombuffer(vector, dtype="<f4").astype(np.float32), image)


def _decoded(kind: str, text: Any, most: int) -> bytes:
    if isinstance(text, str) and (size := _decoded_size(text)) > most:
        raise MessageError(f"The {kind} of a query has {size:,} bytes, and at most {most:,} are read.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise MessageError(f"The {kind} of a query must be base64 text.") from None
