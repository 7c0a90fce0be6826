"""Turn an image id into a query, by the embedding that the job has of the image."""

import numpy as np
import pyarrow.compute as pc

from shared.errors import ImageError, QueryError
from shared.job import path_list
from shared.job.bundle.stored_image import read_image
from shared.job.changes.log import removal_of
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, ledger, sealing
from shared.messages.query import MAX_IMAGE_BYTES, Query
from shared.storage.parquet import read_table


def is_image_id(text: str) -> bool:
    """Whether `text` is an image id as it is typed: ASCII digits."""
    return text.isascii() and text.isdecimal()


def require_image_id(job: OpenJob, text: str) -> int:
    """The image id that `text` is; QueryError when the job has none of that number."""
    if len(text) > 18 or int(text) >= job.listed:
        raise QueryError(f"{job.path} has the image ids 0 to {job.listed - 1:,}, and none is {text:.40}.")
    return int(text)


def stored_query(job: OpenJob, text: str) -> Query:
    """The query for the image whose id is `text`: its embedding, and what hits are verified by, the bytes that were
    embedded, or of a bundle a thumbnail; without them where they can't be had.

    Raises as `stored_embedding` does.
    """
    embedding = stored_embedding(job, text)
    image_id = int(text)
    partition = job.partition_of(image_id)
    if not ledger.is_sealed(job, partition.number):
        return Query(embedding)
    location = path_list.read_location(job, partition, image_id)
    try:
        data, _ = read_image(job, image_id, location)
    except ImageError:  # The search needs none, and the worker says that there is nothing to compare.
        return Query(embedding)
    return Query(embedding, data if len(data) <= MAX_IMAGE_BYTES else None)


def stored_embedding(job: OpenJob, text: str) -> np.ndarray:
    """The embedding of the image whose id is `text`, float32 [d].

    Raises QueryError when the job has no such image, has removed it, has not embedded it yet, or could not embed it;
    CorruptFile when a file of the job is damaged.
    """
    image_id = require_image_id(job, text)
    if job.state.is_removed(image_id):
        raise QueryError(
            f"The image {image_id:,} of {job.path} was removed ({removal_of(job, image_id).named}): search with "
            "another one, or with the image itself."
        )
    partition = job.partition_of(image_id).number
    if not ledger.is_sealed(job, partition):
        return _committed_embedding(job, image_id)
    seal = ledger.read_seal(job, partition)
    ids = read_table(job.metadata(partition), ["id"])["id"].to_numpy()
    row = int(np.searchsorted(ids, image_id))
    if row == len(ids) or ids[row] != image_id:
        errors = read_table(job.errors(partition))
        why = errors.filter(pc.equal(errors["id"], image_id)).to_pylist()
        reason = f"{why[0]['status']}: {why[0]['error_message']}" if why else "its row is missing"
        raise _without_embedding(job, image_id, reason)
    stored = np.dtype(job.manifest.dtype)  # Of a bundle it is codes: in another length, and less precisely.
    vectors = sealing.read_embeddings(job.img_emb(partition), seal.embedded, seal.dim, [row], stored)
    return np.asarray(vectors[0], np.float32)


def _committed_embedding(job: OpenJob, image_id: int) -> np.ndarray:
    """The embedding of an image whose partition is not sealed yet, from its chunk if that is committed."""
    partition = job.partition_of(image_id)
    chunk = next(chunk for chunk in job.chunks(partition) if image_id < chunk.stop)
    if not job.chunk(partition.number, chunk.number).is_file():
        raise QueryError(f"The image {image_id:,} of {job.path} is not embedded yet: search with the image itself.")
    table, embeddings = checkpoint.read_chunk(job, chunk)
    statuses = table["status"].to_numpy()
    row = image_id - chunk.start
    if statuses[row] != "ok":
        raise _without_embedding(job, image_id, f"{statuses[row]}: {table['error_message'][row].as_py()}")
    return np.asarray(embeddings[np.count_nonzero(statuses[:row] == "ok")], np.float32)


def _without_embedding(job: OpenJob, image_id: int, reason: str) -> QueryError:
    return QueryError(f"The image {image_id:,} of {job.path} has no embedding to search with ({reason})")
