"""Fill an index: train it on training rows, add block by block, and save it on the way for the next merge."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.errors import CorruptFile
from shared.job.index import builds
from shared.job.index.shards import Range
from shared.vectors import widen
from workers.merge.progress import MergeControl, step
from workers.vectors.ann import faiss_index, training
from workers.vectors.ann.plan import IndexPlan
from workers.vectors.embeddings import BLOCK_ROWS, Floats, Rows, StoredEmbeddings

SAVE_SECONDS: Final = 30.0
"""Seconds after which the index so far is written, so that a kill costs no more; ten times the time of a write, if that
is longer.
"""


class TrainingRows:
    """Training rows of the stored embeddings in pieces, float32 [n, d]; can be iterated over repeatedly."""

    def __init__(self, stored: StoredEmbeddings, rows: Rows, seen: Callable[[float], None]) -> None:
        """`seen` gets the share of two passes that is done, and may raise."""
        self._stored = stored
        self._rows = rows
        self._seen = seen
        self._passes = 0

    def __iter__(self) -> Iterator[Floats]:
        self._passes += 1
        for start in range(0, len(self._rows), BLOCK_ROWS):
            self._seen(min(1.0, (self._passes - 1 + start / len(self._rows)) / 2))
            yield widen(self._stored.rows(self._rows[start : start + BLOCK_ROWS]))
            self._stored.release()


def train_rows(stored: StoredEmbeddings, size: int, held_out: Rows, seed: int) -> Rows:
    """Up to `size` row numbers, int64 ascending, drawn across all partitions except those `held_out`.

    Those are drawn too only if they are most of a small job.
    """
    allowed = np.ones(len(stored), dtype=bool)
    allowed[held_out] = False
    if np.count_nonzero(allowed) < size / 2:
        allowed[:] = True
    among = np.flatnonzero(allowed)
    return np.sort(np.random.default_rng(seed).choice(among, size=min(size, len(among)), replace=False))


def filled(
    directory: Path,
    plan: IndexPlan,
    stored: StoredEmbeddings,
    held_out: Rows,
    seed: int,
    control: MergeControl,
    seconds: dict[str, float],
) -> Any:
    """The index to `plan` over all stored embeddings, saved in `directory` as the file of a build.

    Continues with what an earlier call for the same plan and the same embeddings left there. Raises Stopped as `step`
    does. `seconds` is told how long training and adding took.
    """
    whole, so_far = directory / builds.INDEX_FILE, directory / builds.FILLING_FILE
    made = left_behind(whole, so_far, len(stored), plan.dim)
    if made is None:
        made = trained(plan, stored, held_out, seed, control, seconds)
        if faiss_index.grows(made):
            faiss_index.save(made, so_far)
    step(control, "training", 1.0)
    started = time.monotonic()
    add_missing(made, stored, Range(0, len(stored)), whole, so_far, lambda share: step(control, "adding", share))
    seconds["adding"] = round(time.monotonic() - started, 3)
    return made


def trained(
    plan: IndexPlan,
    stored: StoredEmbeddings,
    held_out: Rows,
    seed: int,
    control: MergeControl,
    seconds: dict[str, float],
) -> Any:
    """The index to `plan` without an embedding, trained; `seconds` is told how long that took."""
    started = time.monotonic()
    step(control, "training", 0.0)
    rows = train_rows(stored, plan.train_rows, held_out, seed)
    # The training rows pass twice: once for the principal components, once for the lists.
    sample = TrainingRows(stored, rows, lambda share: step(control, "training", share / 2))
    made = training.train(plan, sample if plan.train_rows else None, seed)
    seconds["training"] = round(time.monotonic() - started, 3)
    return made


def left_behind(whole: Path, so_far: Path, rows: int, dim: int) -> Any | None:
    """The index of so many rows that is `whole`, or what a killed merge filled of it; None if there is neither."""
    if whole.is_file():
        try:
            return faiss_index.load(whole, ntotal=rows, dim=dim)
        except CorruptFile:
            whole.unlink()
    try:
        return faiss_index.load(so_far, ntotal=None, dim=dim)
    except CorruptFile:  # The file may also be missing.
        return None


def add_missing(
    made: Any, stored: StoredEmbeddings, rows: Range, whole: Path, so_far: Path, told: Callable[[float], None]
) -> None:
    """Add those of the stored embeddings in `rows` that an index lacks, and save it as `whole`, on the way as `so_far`.

    `told` gets the share that is done, and may raise.
    """
    pause = SAVE_SECONDS
    blocks = _widened(stored, rows.start + made.ntotal, rows.stop)
    while made.ntotal < len(rows):
        begun = time.monotonic()
        with faiss_index.adding(made):
            for first, block in blocks:
                told((first - rows.start) / len(rows))
                faiss_index.add(made, stored.ids[first : first + len(block)], block)
                if time.monotonic() - begun >= pause:
                    break
        if made.ntotal < len(rows) and faiss_index.grows(made):
            started = time.monotonic()
            faiss_index.save(made, so_far)
            pause = max(SAVE_SECONDS, 10 * (time.monotonic() - started))
    told(1.0)
    if not whole.is_file():
        faiss_index.save(made, whole)


def _widened(stored: StoredEmbeddings, begin: int, end: int) -> Iterator[tuple[int, Floats]]:
    """The blocks of the rows from `begin` to `end` as float32, the next one widened while FAISS works on this one."""
    blocks = stored.blocks(begin=begin)

    def following() -> tuple[int, Floats] | None:
        first, block = next(blocks, (end, None))
        return None if block is None or first >= end else (first, widen(block[: end - first]))

    with ThreadPoolExecutor(1, thread_name_prefix="widen") as ahead:
        coming = ahead.submit(following)
        while (block := coming.result()) is not None:
            coming = ahead.submit(following)
            yield block
