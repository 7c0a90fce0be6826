"""Search for altered copies of indexed photographs through the client, and measure recall and latency."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coordinator.client.client import Client
from coordinator.client.queries import Queryable
from coordinator.local.broker import EmbeddedBroker
from coordinator.local.workers import LocalWorkers
from shared.errors import ImageError, UsageError
from shared.images.paths import to_os_path
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.job.partition import ledger, sealing
from shared.messages.search import Answer
from shared.settings import Settings
from workers.images.alterations import ALTERATIONS

REQUIRED = ("jpeg quality 20", "half size", "flip", "brightness", "crop 20 %", "grey")
"""The alterations that the target counts; the others are measured beside them."""

TARGET = 0.97
"""The share of altered copies of the required kinds that must find their original at rank 1."""

SEED = 0
K = 10
_TIE = 1e-6  # Cosine similarities closer than this are one value: float32 sums of the same numbers differ by as much.
_WAIT_SECONDS = 300.0
_WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Original:
    """An indexed photograph: its image id, its path, its stored embedding, float32 [d]."""

    id: int
    path: Path
    vector: NDArray[np.float32]


def draw(job: JobDir, count: int, seed: int = SEED) -> list[Original]:
    """`count` embedded photographs of a job, drawn by `seed`; raises UsageError when there are fewer."""
    job = open_job(job)
    seals = list(ledger.sealed(job))
    embedded = sum(seal.embedded for seal in seals)
    if embedded < count:
        raise UsageError(f"The job has {embedded} embedded photographs, and {count} were asked for: give more of them.")
    drawn = np.sort(np.random.default_rng(seed).choice(embedded, count, replace=False))
    originals: list[Original] = []
    first = 0
    for seal in seals:
        rows = drawn[(drawn >= first) & (drawn < first + seal.embedded)] - first
        table = pq.read_table(job.metadata(seal.partition), columns=["id", "image_path"], partitioning=None).take(rows)
        vectors = sealing.open_embeddings(job.img_emb(seal.partition), seal.embedded, seal.dim)[rows]
        originals += [
            Original(row["id"], Path(to_os_path(row["image_path"])), vector)
            for row, vector in zip(table.to_pylist(), vectors.astype(np.float32), strict=True)
        ]
        first += seal.embedded
    return originals


def altered_copy(original: Path, alteration: str) -> bytes:
    """JPEG bytes of the photograph in `original` after the alteration of that name; ImageError if it can't be read."""
    image = cv2.imread(str(original), cv2.IMREAD_COLOR)
    if image is None:
        raise ImageError(f"{original} can't be decoded any more, though it was indexed: leave the photographs alone.")
    return ALTERATIONS[alteration](np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8))


def rank_of(image_id: int, answer: Answer) -> int:
    """The rank of an image among the hits of an answer, 0 where it is none of them."""
    return next((hit.rank for hit in answer.hits if hit.id == image_id), 0)


def agreement(answer: Answer, truth: Answer) -> tuple[int, int]:
    """How many hits of `truth`, the answer of an exact search, `answer` has, and how many there are.

    A hit as similar as the last true one counts as well: which of two equal ones is named is no merit.
    """
    last = truth.hits[-1].similarity
    true = {hit.id for hit in truth.hits}
    right = sum(hit.id in true or hit.similarity >= last - _TIE for hit in answer.hits)
    return min(right, len(true)), len(true)


def miss(original: Original, answer: Answer, photos: Path) -> dict[str, Any]:
    """A copy that did not find its original first: which was first instead, paths as they are below `photos`."""
    rank = rank_of(original.id, answer)
    first = answer.hits[0]
    return {
        "original": str(original.path.relative_to(photos)),
        "rank": rank or "beyond 10",
        "similarity": round(answer.hits[rank - 1].similarity, 4) if rank else None,
        "first": str(Path(to_os_path(first.image_path)).relative_to(photos)),
        "first_similarity": round(first.similarity, 4),
    }


def found_again(client: Client, originals: Sequence[Original], alteration: str, photos: Path) -> dict[str, Any]:
    """Search for the altered copy of each original, through the index and exactly, and count."""
    copies = [altered_copy(original.path, alteration) for original in originals]
    answers, truths = (
        [reply.answer(_WAIT_SECONDS) for reply in client.enqueue(copies, K, exact=exact)] for exact in (False, True)
    )
    ranks = [rank_of(original.id, answer) for original, answer in zip(originals, answers, strict=True)]
    agreed = [agreement(answer, truth) for answer, truth in zip(answers, truths, strict=True)]
    return {
        "alteration": alteration,
        "required": alteration in REQUIRED,
        "does": ALTERATIONS[alteration].sentence,
        "queries": len(ranks),
        "rank_1": ranks.count(1),
        "in_10": sum(rank > 0 for rank in ranks),
        "exact_rank_1": sum(
            rank_of(original.id, truth) == 1 for original, truth in zip(originals, truths, strict=True)
        ),
        "recall_at_10": round(sum(right for right, _ in agreed) / sum(wanted for _, wanted in agreed), 4),
        "missed": [
            miss(original, answer, photos)
            for original, answer, rank in zip(originals, answers, ranks, strict=True)
            if rank != 1
        ],
    }


def latency(client: Client, queries: Sequence[Queryable]) -> dict[str, Any]:
    """Milliseconds of single queries, one after the other: in the worker, and round trip as the client sees it.

    The first few warm the worker up and are not counted. No query may come twice: the worker remembers answers.
    """
    inside, round_trip = [], []
    for query in queries:
        started = time.perf_counter()
        answer = client.enqueue([query], K)[0].answer(_WAIT_SECONDS)
        round_trip.append((time.perf_counter() - started) * 1000)
        inside.append(answer.milliseconds)
    return {
        "queries": len(queries) - _WARM_UP,
        "worker_ms": percentiles(inside[_WARM_UP:]),
        "round_trip_ms": percentiles(round_trip[_WARM_UP:]),
    }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile of some milliseconds."""
    p50, p99 = np.percentile(np.asarray(values), [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def search_benchmark(job: JobDir, photos: Path, copies: int, single: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Everything about searching one job, through a query worker started for it and the real client.

    `copies` photographs are altered in every way; `single` vector queries, and as many image queries, are timed.
    """
    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(job.jobs_root))
        settings = Settings(broker_url=broker.url, jobs_root=job.jobs_root)
        client = stack.enter_context(Client(job.path, broker.url))
        workers = stack.enter_context(LocalWorkers(["query"], settings, broker.directory))
        while not client.has_worker(workers.nodes[0]):
            workers.watch()
        originals = draw(job, copies)
        others = draw(job, single + _WARM_UP, SEED + 1)
        log("single queries: vectors, then images")
        # The stored vectors themselves: none is equal to that of an altered copy, so the worker remembers no answer.
        by_vector = latency(client, [other.vector for other in others])
        by_image = latency(client, [other.path for other in others])
        found = []
        for alteration in ALTERATIONS:
            log(f"altered copies: {alteration}")
            found.append(found_again(client, originals, alteration, photos))
    required = [row for row in found if row["required"]]
    return {
        "photographs": copies,
        "seed": SEED,
        "found": found,
        "required": {
            "queries": sum(row["queries"] for row in required),
            "rank_1": sum(row["rank_1"] for row in required),
            "in_10": sum(row["in_10"] for row in required),
            "target": TARGET,
        },
        "by_vector": by_vector,
        "by_image": by_image,
    }
