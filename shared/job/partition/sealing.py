"""Write the three files of a sealed partition (embeddings, metadata, errors) from its chunks, as a stream."""

import hashlib
import io
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.storage import files, parquet
from shared.storage.stores import StorePath

# What NumPy itself writes for an array of two dimensions. Not padded to a page: embedding-reader, and with it autofaiss
# and clip-retrieval, take the data to begin behind a newline in the first 300 bytes, and read garbage where it doesn't.
HEADER_BYTES = 128
HALF = np.dtype("<f2")
"""The type of the embeddings of a job; a bundle has codes of another one."""

METADATA_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("image_path", pa.string(), nullable=False),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
    ]
)
ERRORS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("image_path", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        ("error_message", pa.string()),
    ]
)


def npy_header(rows: int, dim: int, dtype: Any = HALF) -> bytes:
    """The .npy header of `dtype` [rows, dim] in C order: HEADER_BYTES long, so that the data is aligned for SIMD."""
    header = io.BytesIO()
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(header, described)
    if len(header.getvalue()) != HEADER_BYTES:
        raise ValueError(
            f"NumPy writes {len(header.getvalue())} bytes of header for {rows} x {dim}, not {HEADER_BYTES}."
        )
    return header.getvalue()


def write_sealed_files(
    job: JobDir,
    partition: int,
    chunks: Iterable[tuple[pa.Table, np.ndarray]],
    *,
    rows: int,
    dim: int,
    exactly: bool = True,
    schema: pa.Schema = METADATA_SCHEMA,
) -> dict[str, dict[str, Any]]:
    """Write img_emb, metadata and errors of a partition; return bytes and SHA-256 of each by its name in the job.

    `chunks` gives the checked chunks in order: table and float16 [embedded, dim]. One chunk is held at a time.
    `rows` is how many embeddings they hold together; raises CorruptFile when they hold another number, unless it was
    not meant `exactly`. `schema` is that of the metadata: METADATA_SCHEMA, and behind it what else is known.
    """
    finals = job.sealed_files(partition)
    with ExitStack() as stack:
        asides = [stack.enter_context(files.written_aside(path)) for path in finals]
        seen, digest = _stream(asides[0], asides[1], asides[2], chunks, npy_header(rows, dim), schema)
        if seen != rows:
            if exactly:
                raise CorruptFile(
                    f"The chunks of partition {partition} of {job.path} hold {seen} embeddings; "
                    f"their footers say {rows}."
                )
            with open(asides[0], "rb+") as file:
                file.write(npy_header(seen, dim))
            digest = files.sha256_of(asides[0])
        digests = (digest, files.sha256_of(asides[1]), files.sha256_of(asides[2]))
        return {
            str(final.relative_to(job.path)): {"bytes": aside.stat().st_size, "sha256": digest}
            for final, aside, digest in zip(finals, asides, digests, strict=True)
        }


def _stream(
    vectors: Path,
    metadata: Path,
    errors: Path,
    chunks: Iterable[tuple[pa.Table, np.ndarray]],
    header: bytes,
    schema: pa.Schema,
) -> tuple[int, str]:
    """Write the three files; returns the number of embeddings, and the SHA-256 of what went into their file."""
    seen = 0
    # As the bytes go by: reading gigabytes back would take as long again as writing them.
    digest = hashlib.sha256(header)
    with ExitStack() as stack:
        file = stack.enter_context(open(vectors, "wb"))
        file.write(header)
        good = stack.enter_context(parquet.writer(metadata, schema))
        bad = stack.enter_context(parquet.writer(errors, ERRORS_SCHEMA))
        for table, embeddings in chunks:
            ok = pc.equal(table["status"], "ok")
            good.write_table(table.filter(ok).select(schema.names).cast(schema))
            bad.write_table(table.filter(pc.invert(ok)).select(ERRORS_SCHEMA.names).cast(ERRORS_SCHEMA))
            data = np.ascontiguousarray(embeddings, dtype="<f2").reshape(-1).view(np.uint8).data
            file.write(data)
            digest.update(data)
            seen += len(embeddings)
    return seen, digest.hexdigest()


def open_embeddings(path: Path, rows: int, dim: int, dtype: Any = HALF) -> np.ndarray:
    """Map a sealed img_emb file as `dtype` [rows, dim], read-only; raises CorruptFile when it is another size."""
    require_size(path, rows, dim, dtype)
    if rows == 0:
        return np.empty((0, dim), dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=HEADER_BYTES, shape=(rows, dim))


def whole_embeddings(path: Path, rows: int, dim: int) -> np.ndarray:
    """As `open_embeddings`, also for a file in a store, which is read into memory."""
    if not isinstance(path, StorePath):
        return open_embeddings(path, rows, dim)
    require_size(path, rows, dim)
    return np.frombuffer(path.read_bytes()[HEADER_BYTES:], dtype="<f2").reshape(rows, dim)


def read_embeddings(path: Path, rows: int, dim: int, wanted: Sequence[int], dtype: Any = HALF) -> np.ndarray:
    """The `wanted` rows of a sealed img_emb file, `dtype` [n, dim]; raises CorruptFile when it is another size.

    In a store each is a request of its own, so that a few are had without the whole file.
    """
    if isinstance(path, StorePath):
        require_size(path, rows, dim, dtype)
        length = dim * np.dtype(dtype).itemsize
        places = (HEADER_BYTES + row * length for row in wanted)
        read = b"".join(path.range(place, place + length) for place in places)
        return np.frombuffer(read, dtype=dtype).reshape(len(wanted), dim)
    return np.array(open_embeddings(path, rows, dim, dtype)[np.asarray(wanted, dtype=np.int64)])


def require_size(path: Path, rows: int, dim: int, dtype: Any = HALF) -> None:
    """Raise CorruptFile unless a sealed img_emb file is there and as large as `dtype` [rows, dim] make it."""
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise CorruptFile(f"The sealed embeddings {path} can't be read ({error}).") from None
    expected = HEADER_BYTES + rows * dim * np.dtype(dtype).itemsize
    if size != expected:
        kind = np.dtype(dtype).name
        raise CorruptFile(f"The sealed embeddings {path} have {size} bytes; {rows} x {dim} {kind} make {expected}.")
