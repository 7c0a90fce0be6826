"""Embed a source of images once, in lookalike's way or in the article's, and print what it cost as JSON.

A process of its own for each run: peak memory, and what a library keeps, must not pass from one run to the next. Both
ways use the same model and the same images, and only the work itself is timed: not the imports, not the building of
the model, not what is done first and once in a process that then embeds a partition of 50,000 images.

python -m benchmarks.embed.once lookalike|article SOURCE FOLDER ASKED
"""

import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.embed.models import load_as_published
from benchmarks.support.machine import cores
from shared.errors import UsageError
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.opened import OpenJob
from shared.processes.lean import be_lean
from shared.processes.memory import Peak
from shared.settings import Settings
from workers.models.embedder import Embedder

EMBEDDINGS = "embeddings.npy"
_ARTICLE_BATCH = 128
_KEPT = 64  # Decoded images that the model is given again and again when it is measured alone.
_AHEAD = 32

Images = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Asked:
    """What embeds: the name of a model, its weights file (None: packaged or downloaded), and what runs it how.

    With `parts`, reading and decoding alone, and the model alone, are measured before both together.
    """

    model: str
    weights: str | None
    engine: str
    precision: str
    cache_dir: str | None
    parts: bool = True

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def settings(self) -> Settings:
        """The settings of a new job of this model."""
        return Settings(
            model=self.model,
            weights=Path(self.weights) if self.weights else None,
            engine=self.engine,
            precision=self.precision,
            cache_dir=Path(self.cache_dir) if self.cache_dir else None,
        )


class Clock:
    """Wall and CPU seconds of this process and its ended children, between `start` and `stop`, added up."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()

    def stop(self) -> float:
        """Returns the wall seconds since `start`."""
        passed = time.perf_counter() - self._wall
        self.wall += passed
        self.cpu += _cpu_seconds() - self._cpu
        return passed

    def cost(self, images: int) -> dict[str, Any]:
        return {"images": images, "wall_seconds": round(self.wall, 3), "cpu_seconds": round(self.cpu, 3)}


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def lookalike(source: str, folder: Path, asked: Asked) -> dict[str, Any]:
    """The embed worker's stage without Celery around it: read, decode, embed, commit chunks, seal."""
    from coordinator.jobs.create import make_or_open
    from workers.models.embedder import load_embedder

    be_lean()  # As a worker is.
    job, settings = JobDir.at(folder / "job"), asked.settings()
    listed = Clock()
    listed.start()
    job = make_or_open(source, job, settings, lambda count: None)
    listed.stop()
    embedder = load_embedder(job.manifest.model, job.model_dir, engine=settings.engine, cache_dir=settings.cache_dir)
    _embed_noise(folder, settings, embedder)
    parts = _parts(job, embedder.embed, embedder.batch_size) if asked.parts else {}
    clock = Clock()
    with Peak() as peak:
        clock.start()
        _embed(job, embedder)
        clock.stop()
    embedded = [np.load(job.img_emb(number)) for number in job.sealed_numbers()]
    np.save(folder / EMBEDDINGS, np.concatenate(embedded))
    cost = clock.cost(sum(map(len, embedded))) | _memory(peak)
    return cost | {"parts": parts, "listing_seconds": round(listed.wall, 3), "batch_size": embedder.batch_size}


def _embed(job: OpenJob, embedder: Embedder) -> None:
    from shared.processes.control import Control
    from workers.embed.partition import embed_partition

    for partition in job.partitions:
        embed_partition(
            job,
            partition,
            embedder,
            Control(lambda: True, lambda: True, lambda progress: None),
            threads=cores(),
        )


def _embed_noise(folder: Path, settings: Settings, embedder: Embedder) -> None:
    """Embed a batch of noise from its files to its seal, so that all that a process does only once has been done."""
    from coordinator.jobs.create import make_or_open

    (folder / "noise").mkdir()
    random = np.random.default_rng(0)
    for number in range(embedder.batch_size):
        cv2.imwrite(str(folder / "noise" / f"{number}.png"), random.integers(0, 256, (64, 64, 3), np.uint8))
    job = make_or_open(str(folder / "noise"), JobDir.at(folder / "noise-job"), settings, lambda count: None)
    _embed(job, embedder)


def _parts(job: OpenJob, embed: Callable[[Images], Any], batch_size: int) -> dict[str, Any]:
    """What reading and decoding take alone, on as many threads as a worker has, and what the model takes alone."""
    manifest = job.manifest
    from workers.images.read import read_image
    from workers.images.stream import stream_images

    model_spec = manifest.model
    how = (model_spec.image_size, manifest.max_image_pixels, manifest.max_image_bytes, model_spec.decode)
    places = [place for partition in job.partitions for place in path_list.read_locations(job, partition)]
    kept: list[Images] = []
    decode, model = Clock(), Clock()
    decode.start()
    images = stream_images(places, read=lambda _, place: read_image(place, *how), threads=cores(), ahead=_AHEAD)
    for image in images:
        if image.pixels is not None and len(kept) < _KEPT:
            kept.append(image.pixels)
    decode.stop()
    whole = np.stack([kept[place % len(kept)] for place in range(max(_KEPT, batch_size))])
    calls = [whole[first : first + batch_size] for first in range(0, len(whole) - batch_size + 1, batch_size)]
    count = -(-len(places) // batch_size)
    model.start()
    done = sum(len(embed(calls[number % len(calls)])) for number in range(count))
    model.stop()
    return {"decode": decode.cost(len(places)), "model": model.cost(done)}


def article(source: str, folder: Path, asked: Asked) -> dict[str, Any]:
    """Every image is read in a pool of processes first; then one array of all of them goes through `model.predict`."""
    paths = os.fsdecode(Path(source).read_bytes()).removesuffix("\n").split("\n")
    clock = Clock()
    clock.start()
    # Before TensorFlow is there, and any thread: a fork of them may hang.
    with multiprocessing.get_context("fork").Pool() as pool:
        images = pool.map(_read_as_the_article, paths)
        pool.close()
        pool.join()
    decoding = clock.stop()
    model, size = load_as_published(asked.model, asked.weights)
    # A last batch that is not full has a shape of its own, which is compiled too.
    first = np.zeros((_ARTICLE_BATCH + len(images) % _ARTICLE_BATCH, size, size, 3), np.uint8)
    model.predict(first, batch_size=_ARTICLE_BATCH, verbose=0)
    with Peak() as peak:
        clock.start()
        features = model.predict(np.array(images), batch_size=_ARTICLE_BATCH, verbose=0)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        np.save(folder / EMBEDDINGS, features)
        predicting = clock.stop()
    phases = {"decoding": round(decoding, 3), "predicting": round(predicting, 3)}
    return clock.cost(len(features)) | _memory(peak) | {"phases": phases}


def _read_as_the_article(path: str) -> Images:
    image = cv2.imread(path)
    if image is None:
        raise SystemExit(f"{path} can't be read, and the article's way has no answer to that: list whole images only.")
    return np.asarray(cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), (224, 224)), dtype=np.uint8)


def _memory(peak: Peak) -> dict[str, float]:
    """Bytes: the most that this process has had resident at all, and held for itself meanwhile; and the load now."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"peak_rss_bytes": resident, "peak_own_bytes": peak.bytes(), "load": round(os.getloadavg()[0], 2)}


WAYS = {"lookalike": lookalike, "article": article}


def main(arguments: list[str]) -> None:
    """`python -m benchmarks.embed.once WAY SOURCE FOLDER ASKED`: embeddings to FOLDER, cost to stdout."""
    if len(arguments) != 4 or arguments[0] not in WAYS:
        raise UsageError(f"Give one of {', '.join(WAYS)}, a source, a folder and what embeds, not {arguments}.")
    way, source, folder, asked = arguments
    print(json.dumps(WAYS[way](source, Path(folder), Asked(**json.loads(asked)))))


if __name__ == "__main__":
    main(sys.argv[1:])
