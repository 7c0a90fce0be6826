"""The codes of a bundle: each embedding in a byte a value, near enough to order candidates by."""

from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from shared.job.bundle.facts import CODES_DTYPE
from shared.job.opened import OpenJob
from shared.vectors import narrow, widen
from workers.vectors.embeddings import Floats, Half, StoredEmbeddings

Codes = npt.NDArray[np.int8]
_MOST: Final = 127


def encode(embeddings: Half) -> Codes:
    """Codes, int8 [n, d], of embeddings, float16 [n, d]: each row is scaled so that its largest value becomes 127.

    No scale has to be kept, because a cosine does not depend on lengths.
    """
    wide = widen(embeddings)
    largest = np.abs(wide).max(axis=1, keepdims=True)
    wide *= _MOST / np.where(largest > 0, largest, 1)
    codes: Codes = np.rint(wide).astype(np.int8)
    return codes


def decode(codes: Codes) -> Floats:
    """The vectors of length 1 that codes stand for, float32 [n, d]."""
    wide: Floats = codes.astype(np.float32)
    # The largest value of a row is 127 or -127, so that no length is 0.
    wide /= np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    return wide


class CodedEmbeddings(StoredEmbeddings):
    """The codes of a bundle, read as the embeddings that they stand for: float16 [N, d] of length 1."""

    DTYPE: ClassVar[np.dtype[Any]] = np.dtype(CODES_DTYPE)

    def _decoded(self, stored: Any) -> Half:
        return narrow(decode(stored))


def stored_kind(job: OpenJob) -> type[StoredEmbeddings]:
    """How the vectors of a job are stored: as embeddings, or, of a bundle, as codes."""
    return StoredEmbeddings if job.manifest.bundle is None else CodedEmbeddings
