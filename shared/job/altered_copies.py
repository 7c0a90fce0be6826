"""Altered copies: embeddings of changed versions of some images, by which the accuracy of a build is measured."""

import json
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import CorruptFile, FingerprintMismatch
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.storage import files, parquet

IMAGES = 48
"""Images of a job that altered copies are made of: their shares are told to about two in a hundred."""

_KEY = b"lookalike.copies"
_ANEW = "and they are made anew for the next build of an index"
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("alteration", pa.string(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
        pa.field("embedding", pa.list_(pa.float16()), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """Altered copies of images: one row each, ordered by image id, then as the alterations are listed.

    `ids` int64 [n] are the images that they were made of, `alterations` the name of each one's change, `similarities`
    float32 [n] their cosine similarity to the original's stored embedding, `embeddings` float16 [n, d]. `fingerprint`
    is the model's, `ledger_digest` says which embeddings the originals were drawn from, with `seed`. `reason` says why
    there are none; it is empty where there are some.
    """

    ids: npt.NDArray[np.int64]
    alterations: tuple[str, ...]
    similarities: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float16]
    fingerprint: str
    ledger_digest: str
    seed: int
    reason: str = ""

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.alterations), len(self.similarities), len(self.embeddings)}
        if len(lengths) != 1 or self.embeddings.ndim != 2:
            raise ValueError(f"Copies need as many of each, not {sorted(lengths)}.")
        if bool(self.reason) == bool(len(self.ids)):
            raise ValueError(f"{len(self.ids)} copies came with the reason {self.reason!r}; it is for none at all.")

    def without(self, removed: npt.NDArray[np.int64]) -> "Copies":
        """Those of them whose original is not among the image ids `removed`."""
        left = ~np.isin(self.ids, removed)
        if left.all():
            return self
        return replace(
            self,
            ids=self.ids[left],
            alterations=tuple(name for name, stays in zip(self.alterations, left, strict=True) if stays),
            similarities=self.similarities[left],
            embeddings=self.embeddings[left],
            reason="" if left.any() else "the images that copies were made of were removed",
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images(self) -> int:
        """How many images the copies were made of."""
        return len(np.unique(self.ids))


def none_of(fingerprint: str, ledger_digest: str, seed: int, reason: str) -> Copies:
    """No copies, for a reason."""
    nothing = np.empty((0, 0), np.float16)
    return Copies(np.empty(0, np.int64), (), np.empty(0, np.float32), nothing, fingerprint, ledger_digest, seed, reason)


def write_copies(job: JobDir, copies: Copies) -> None:
    """Write copies.parquet, whole or not at all; raises OSError when the disk does not take it."""
    about = {
        "fingerprint": copies.fingerprint,
        "ledger_digest": copies.ledger_digest,
        "seed": copies.seed,
        "copies": len(copies),
        "dim": copies.embeddings.shape[1],
        "reason": copies.reason,
    }
    table = pa.table(
        {
            "id": copies.ids,
            "alteration": list(copies.alterations),
            "similarity": copies.similarities,
            "embedding": pa.array(list(copies.embeddings), type=pa.list_(pa.float16())),
        },
        schema=SCHEMA.with_metadata({_KEY: json.dumps(about)}),
    )
    with files.written_aside(job.copies) as aside, parquet.writer(aside, table.schema) as into:
        into.write_table(table)
    files.remove_leftovers(job.copies)


def read_copies(job: JobDir) -> Copies | None:
    """The copies of a job, every page checked, or None where none were made yet.

    Raises CorruptFile when the file is not what `write_copies` writes, FingerprintMismatch when another model made it,
    OSError when the disk does not answer.
    """
    if not job.copies.is_file():
        return None
    try:
        table = parquet.read_table(job.copies)
        about = json.loads(table.schema.metadata[_KEY])
        if not table.schema.equals(SCHEMA, check_metadata=False) or len(table) != about["copies"]:
            raise ValueError(f"it has {len(table)} rows of {', '.join(table.schema.names)}")
        if pc.any(pc.is_null(table["embedding"])).as_py() or None in table["alteration"].to_pylist():
            raise ValueError("a row has no embedding or no alteration")
        values = np.asarray(table["embedding"].combine_chunks().flatten(), dtype=np.float16)
        copies = Copies(
            ids=table["id"].to_numpy(),
            alterations=tuple(table["alteration"].to_pylist()),
            similarities=table["similarity"].to_numpy(),
            embeddings=values.reshape(about["copies"], about["dim"]),
            fingerprint=str(about["fingerprint"]),
            ledger_digest=str(about["ledger_digest"]),
            seed=int(about["seed"]),
            reason=str(about["reason"]),
        )
        lengths = np.linalg.norm(copies.embeddings.astype(np.float32), axis=1)
        if len(copies) and not np.all(np.abs(lengths - 1) < 0.01):
            raise ValueError("an embedding is not of length 1")
    except (CorruptFile, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        if isinstance(error, CorruptFile) and not job.copies.is_file():
            return None  # Removed this moment, as repair does.
        raise CorruptFile(
            f"{job.copies} does not hold the altered copies that were written ({error})",
            remedy=Remedy("repair", str(job.path), f"removes it, {_ANEW}"),
        ) from None
    ours = load_manifest(job).model.fingerprint
    if copies.fingerprint != ours:
        raise FingerprintMismatch(
            f"The altered copies {job.copies} were embedded by the model {copies.fingerprint}, but the job is made for "
            f"{ours}",
            remedy=Remedy("repair", str(job.path), f"removes them, {_ANEW}"),
        )
    return copies


def usable_copies(job: JobDir, ledger_digest: str) -> Copies | None:
    """The copies of the images that `ledger_digest` covers, or None where they are still to be made, or made again."""
    try:
        copies = read_copies(job)
    except (CorruptFile, FingerprintMismatch):
        return None
    return copies if copies is not None and copies.ledger_digest == ledger_digest else None
