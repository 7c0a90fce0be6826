"""Measure what images of equal bytes in several partitions save: each partition for itself, and the whole job.

python -m benchmarks.embed.copies PHOTOS DIRECTORY; prints JSON
"""

import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from coordinator.jobs.create import make_or_open
from coordinator.sources.resolve import open_source
from shared.images.paths import to_os_path
from shared.job.directory import JobDir
from shared.processes.control import Control
from shared.settings import Settings
from workers.embed.known_elsewhere import KnownElsewhere
from workers.embed.partition import embed_partition
from workers.models.embedder import Embedder, load_embedder

PARTITIONS: Final = 15


class _Counting:
    """An embedder that counts the images it is given."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.fingerprint, self.dim = embedder.fingerprint, embedder.dim
        self.image_size, self.batch_size = embedder.image_size, embedder.batch_size
        self.images = 0

    def embed(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.images += len(images)
        return self._embedder.embed(images)


def write_with_copies(paths: Sequence[str], list_file: Path) -> int:
    """Write a list of `paths` and of half as many again of them, in a made order, and return how many it names.

    The copies are links of other names, beside the list: a third of what it names.
    """
    order = random.Random(0)
    copies = list_file.parent / "copies"
    copies.mkdir()
    named = list(paths)
    for number, path in enumerate(order.sample(list(paths), len(paths) // 2)):
        named.append(str(copies / f"{number:06d}{Path(path).suffix}"))
        os.link(to_os_path(path), named[-1])
    order.shuffle(named)
    list_file.write_text("".join(f"{path}\n" for path in named))
    return len(named)


def embed(source: Path, folder: Path, embedder: Embedder, settings: Settings) -> dict[str, Any]:
    """Embed a source into a new job below `folder`: how many images the model got, seconds by the clock and of CPU."""
    job = make_or_open(str(source), JobDir.at(folder), settings, lambda count: None)
    counting = _Counting(embedder)
    began, cpu = time.perf_counter(), time.process_time()
    for partition in job.partitions:
        embed_partition(job, partition, counting, Control(lambda: True, lambda: True, lambda progress: None), None)
    took = {"seconds": round(time.perf_counter() - began, 2), "cpu_seconds": round(time.process_time() - cpu, 2)}
    return {"listed": job.listed, "embedded": counting.images} | took


def measure(photos: str, folder: Path, embedder: Embedder | None = None) -> dict[str, Any]:
    """Embed the photographs of a source, and half as many copies of them, in both ways; with the default model."""
    folder.mkdir(parents=True)
    listed = write_with_copies(list(open_source(photos)), folder / "list.txt")
    settings = Settings(partition_size=-(-listed // PARTITIONS), chunk_size=50)
    if embedder is None:
        job = make_or_open(str(folder / "list.txt"), JobDir.at(folder / "model"), settings, lambda count: None)
        embedder = load_embedder(job.manifest.model, job.model_dir, cache_dir=settings.cache_dir)
        embedder.embed(np.zeros((embedder.batch_size, embedder.image_size, embedder.image_size, 3), np.uint8))
    with patch.object(KnownElsewhere, "look_again", lambda known: None):  # Keeps partitions from each other's rows.
        apart = embed(folder / "list.txt", folder / "apart", embedder, settings)
    return {"apart": apart, "together": embed(folder / "list.txt", folder / "together", embedder, settings)}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2])), indent=1))
