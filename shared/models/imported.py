"""Imported models: the model of vectors that were made elsewhere, by the name that a person gives it."""

import re

from shared.errors import ModelError
from shared.models import ModelSpec

IMPORTED_MODEL = "imported"
_IMPORTED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/+-]{0,99}", re.ASCII)
MOST_DIMENSIONS = 65_536


def imported_model(name: str, dim: int, chunk_size: int = 1_000) -> ModelSpec:
    """The model of vectors [n, dim] that were made elsewhere, by the name that a person gives it.

    Raises ModelError for a name that can't be one, or another number of dimensions than 1 to MOST_DIMENSIONS.
    """
    if not _IMPORTED_NAME.fullmatch(name):
        raise ModelError(
            f"{name!r:.120} can't name a model: use 1 to 100 of A-Z a-z 0-9 _ . : / + -, and begin with a letter or "
            "digit."
        )
    if not 1 <= dim <= MOST_DIMENSIONS:
        raise ModelError(f"Vectors of {dim:,} dimensions were given; 1 to {MOST_DIMENSIONS:,} can be imported.")
    return ModelSpec(name, "none", None, 0, dim, "none", chunk_size)
