"""Plan an index from the number of embeddings, their dimension and the index request (pure)."""

import math
from dataclasses import dataclass, replace
from typing import Final

from shared.errors import SettingsError
from shared.errors.remedy import Remedy
from shared.job.index.request import AUTO, IndexRequest
from workers.vectors.ann.shard_sizes import shards_of

FLAT_MOST: Final = 20_000
"""Up to this many embeddings all are compared, because training costs more than it saves."""

REDUCED_DIM: Final = 256
"""How many dimensions are kept for the candidates; the exact rerank sees all."""

FINE_DIM: Final = 512
"""How many dimensions are kept for a recall of FINE_RECALL or more: 256 lose too many neighbours there."""

FINE_RECALL: Final = 0.995

HNSW_COARSE_FROM: Final = 16_384
"""From this many lists on, an HNSW graph finds the nearest lists faster than comparing all of them does."""

TRAIN_LEAST: Final = 60_000
TRAIN_PER_LIST: Final = 50
HNSW_LINKS: Final = 32

_ID_BYTES = 8
_BLOCK_CODES = 32
_HEADER_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """The index to build. `factory` is FAISS's string; `train_rows` 0 says that nothing is trained.

    `nlist`, `m` and `nbits` are 0 if the type has none; `m` counts the parts of a code, of `nbits` bits each. `nprobe`
    is the width with which tuning begins, and `most_nprobe` the largest: lists of an IVF index, efSearch of HNSW,
    search_k of Annoy, 0 for an index that compares all. `bytes` is the approximate size of the index; a shard
    takes at most `row_bytes` for each embedding and `shared_bytes` besides, 0 if that is not known. `shards` is how
    many there are, and `shard_rows` how many embeddings one holds at the most, also when the index grows; 0 for an
    index that is one file.
    """

    type: str
    factory: str
    dim: int
    nlist: int
    nprobe: int
    m: int
    nbits: int
    train_rows: int
    most_nprobe: int = 0
    bytes: int = 0
    row_bytes: float = 0.0
    shared_bytes: int = 0
    shards: int = 1
    shard_rows: int = 0


def choose_index(n: int, d: int, request: IndexRequest | None = None) -> IndexPlan:
    """The plan for `n` embeddings of `d` dimensions; the same for the same numbers and the same request.

    By default ("auto") it is every vector as it is (Flat) up to 20,000, and IVF-PQ above that. Raises SettingsError
    when no index of the family fits into the memory asked for, ValueError when n or d is below 1 or the request is a
    FAISS factory string.

    IVF-PQ: PCA with a random rotation to d' = 256 (512 from a recall of .995 on; at most d, made even), IVF with nlist
    = 2 ** round(log2(1.4 * sqrt(n))), found through HNSW from 16,384 lists on, and 4-bit product quantization of d' / 2
    parts that FAISS scans in SIMD registers, fewer if memory requires it; trained on max(60,000, 50 * nlist) rows.
    RaBitQ: the same with one bit a dimension. HNSW: a graph of 32 links over 8-bit values of the d' dimensions.
    `benchmarks/index` compares them.
    """
    request = request or IndexRequest()
    if n < 1 or d < 1:
        raise ValueError(f"An index needs at least one embedding of one dimension, not {n} of {d}.")
    family = request.index
    if family == AUTO:
        family = "flat" if n <= FLAT_MOST else "ivf-pq"
    if d < 2 and family in ("ivf-pq", "rabitq", "hnsw"):
        family = "flat"  # Codes need pairs of dimensions, and there is nothing to reduce.
    if family not in _PLANS:
        raise ValueError(f"{family!r} is not the name of a family of indexes.")
    plans = _PLANS[family](n, d, request.recall)
    whole = [sharded(plan, n, request) for plan in plans]
    fitting = [plan for plan in whole if not request.memory_bytes or plan.bytes <= request.memory_bytes]
    if not fitting:
        least = min(plan.bytes for plan in whole)
        raise SettingsError(
            f"No {family} index of {n:,} embeddings of {d} dimensions fits into {request.memory_bytes:,} bytes: the "
            f"smallest takes about {least:,}",
            remedy=Remedy(
                "option",
                does="{} allows more",
                given={"index_memory": "SIZE"},
                otherwise=Remedy("option", does="{} asks for another family", given={"index": "FAMILY"}),
            ),
        )
    return fitting[0]


def sharded(plan: IndexPlan, n: int, request: IndexRequest) -> IndexPlan:
    """The plan with the shards that were asked for; raises SettingsError as `shards_of` does."""
    if not request.is_sharded:
        return plan
    shards, rows = shards_of(n, request, plan.factory, plan.row_bytes, plan.shared_bytes)
    size = plan.bytes + (shards - 1) * plan.shared_bytes
    return replace(plan, shards=shards, shard_rows=rows, bytes=size)


def train_rows(n: int, nlist: int) -> int:
    """How many of `n` embeddings a FAISS index of `nlist` lists is trained on."""
    return min(n, max(TRAIN_LEAST, TRAIN_PER_LIST * nlist))


def first_nprobe(nlist: int) -> int:
    """The number of lists that tuning begins with, before anything is measured."""
    return min(nlist, max(32, nlist // 8))


def _flat(n: int, d: int, recall: float) -> list[IndexPlan]:
    each = 4 * d + _ID_BYTES
    return [
        IndexPlan(
            type="Flat",
            factory="IDMap2,Flat",
            dim=d,
            nlist=0,
            nprobe=0,
            m=0,
            nbits=0,
            train_rows=0,
            bytes=n * each,
            row_bytes=each,
            shared_bytes=_HEADER_BYTES,
        )
    ]


def _ivf_pq(n: int, d: int, recall: float) -> list[IndexPlan]:
    kept, nlist, coarse = _coarse(n, d, recall)
    # Fewer parts of more dimensions each: each step halves the memory, for more candidates to compare exactly.
    parts = [kept // width for width in (2, 4, 8) if kept % width == 0]
    return [_ivf("IVF-PQ", n, d, kept, nlist, coarse, f"PQ{m}x4fs", m / 2, m=m, nbits=4) for m in parts]


def _rabitq(n: int, d: int, recall: float) -> list[IndexPlan]:
    kept, nlist, coarse = _coarse(n, d, recall)
    # One bit a dimension, and two float32 factors a vector.
    return [_ivf("IVF-RaBitQ", n, d, kept, nlist, coarse, "RaBitQfs", kept / 8 + 8, m=kept, nbits=1)]


def _ivf(
    type: str, n: int, d: int, kept: int, nlist: int, coarse: str, codes: str, code_bytes: float, *, m: int, nbits: int
) -> IndexPlan:
    links = nlist * HNSW_LINKS * 2 * 4 if coarse else 0
    shared = nlist * kept * 4 + links + 4 * d * kept
    return IndexPlan(
        type=type,
        factory=f"PCAR{kept},IVF{nlist}{coarse},{codes}",
        dim=d,
        nlist=nlist,
        nprobe=first_nprobe(nlist),
        m=m,
        nbits=nbits,
        train_rows=train_rows(n, nlist),
        most_nprobe=nlist,
        bytes=round(n * (code_bytes + _ID_BYTES)) + shared,
        row_bytes=code_bytes + _ID_BYTES,
        # FAISS fills the last block of each list up, as it scans whole blocks.
        shared_bytes=shared + math.ceil(nlist * (_BLOCK_CODES * code_bytes + _ID_BYTES)) + _HEADER_BYTES,
    )


def _hnsw(n: int, d: int, recall: float) -> list[IndexPlan]:
    kept = _kept(d, recall)
    return [
        IndexPlan(
            type="HNSW",
            factory=f"IDMap2,PCAR{kept},HNSW{HNSW_LINKS}_SQ8",
            dim=d,
            nlist=0,
            nprobe=64,
            m=kept,
            nbits=8,
            train_rows=min(n, TRAIN_LEAST),
            most_nprobe=min(n, 2_048),
            bytes=n * (kept + 2 * HNSW_LINKS * 4 + _ID_BYTES) + 4 * d * kept,
            # A level, an offset, and the links of the few that are on higher levels.
            row_bytes=kept + 2 * HNSW_LINKS * 4 + _ID_BYTES + 12 + 2 * HNSW_LINKS * 4 / (HNSW_LINKS - 1),
            shared_bytes=4 * d * kept + _HEADER_BYTES,
        )
    ]


def _annoy(n: int, d: int, recall: float) -> list[IndexPlan]:
    trees = 50
    return [
        IndexPlan(
            type="Annoy",
            factory=f"Annoy{trees}",
            dim=d,
            nlist=0,
            nprobe=10_000,
            m=0,
            nbits=0,
            train_rows=0,
            most_nprobe=max(10_000, min(n, 320_000)),
            # Each tree has about a split for each vector of a leaf's size, of which each holds a normal.
            bytes=round(n * (4 * d + 12) * 1.2),
        )
    ]


def _kept(d: int, recall: float) -> int:
    return min(FINE_DIM if recall >= FINE_RECALL else REDUCED_DIM, d - d % 2)


def _coarse(n: int, d: int, recall: float) -> tuple[int, int, str]:
    nlist = 2 ** round(math.log2(1.4 * math.sqrt(n)))
    return _kept(d, recall), nlist, f"_HNSW{HNSW_LINKS}" if nlist >= HNSW_COARSE_FROM else ""


_PLANS = {"flat": _flat, "ivf-pq": _ivf_pq, "rabitq": _rabitq, "hnsw": _hnsw, "annoy": _annoy}
