"""Embed a list of images once, in lookalike's way or in the article's, and print what it cost as JSON.

A process of its own for each run: peak memory, and what a library keeps, must not pass from one run to the next. Both
ways use the same model and the same images, and only the work itself is timed: not the imports, not the building of
the model, not its first batch, which compiles it.
"""

import json
import multiprocessing
import os
import resource
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelError, UsageError
from shared.jobdir import JobDir
from shared.manifest import load_manifest
from shared.models import DEFAULT_MODEL, LITE0_FILE, LITE0_PACKAGE, resolve_model
from shared.settings import Settings

EMBEDDINGS = "embeddings.npy"
_ARTICLE_BATCH = 128


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


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def lookalike(listing: Path, folder: Path) -> dict[str, Any]:
    """The embed worker's stage without Celery around it: read, decode, embed, commit chunks, seal."""
    from coordinator.making import make_or_open
    from workers.embedder import load_embedder
    from workers.embedding import embed_partition

    job = JobDir.at(folder / "job")
    make_or_open(str(listing), job, Settings(), lambda count: None)
    manifest = load_manifest(job)
    embedder = load_embedder(manifest.model, job.model_dir)
    clock = Clock()
    clock.start()
    for partition in manifest.partitions:
        embed_partition(
            job,
            manifest,
            partition,
            embedder,
            threads=os.cpu_count() or 1,
            keep_going=lambda: True,
            may_commit=lambda: True,
            report=lambda progress: None,
        )
    clock.stop()
    parts = [np.load(job.img_emb(number)) for number in job.sealed_numbers()]
    np.save(folder / EMBEDDINGS, np.concatenate(parts))
    return _cost(clock, sum(map(len, parts)), {})


def article(listing: Path, folder: Path) -> dict[str, Any]:
    """Every image is read in a pool of processes first; then one array of all of them goes through `model.predict`."""
    paths = os.fsdecode(listing.read_bytes()).removesuffix("\n").split("\n")
    clock = Clock()
    clock.start()
    # Before TensorFlow is there: a fork of its threads may hang.
    with multiprocessing.get_context("fork").Pool() as pool:
        images = pool.map(_read_as_the_article, paths)
        pool.close()
        pool.join()
    decoding = clock.stop()
    model = _unfolded_model()
    clock.start()
    features = model.predict(np.array(images), batch_size=_ARTICLE_BATCH, verbose=0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    np.save(folder / EMBEDDINGS, features)
    predicting = clock.stop()
    return _cost(clock, len(features), {"decoding": round(decoding, 3), "predicting": round(predicting, 3)})


def _read_as_the_article(path: str) -> NDArray[np.uint8]:
    image = cv2.imread(path)
    if image is None:
        raise SystemExit(f"{path} can't be read, and the article's way has no answer to that: list whole images only.")
    return np.asarray(cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), (224, 224)), dtype=np.uint8)


def _unfolded_model() -> Any:
    """The default model as Keras has it, its BatchNormalization layers in place, compiled by a first batch."""
    from workers.keras_embedder import lite0

    package = find_spec(LITE0_PACKAGE)
    if package is None or package.origin is None:
        raise ModelError(f"The package {LITE0_PACKAGE} is not installed: pip install 'lookalike[worker]'.")
    size = resolve_model(DEFAULT_MODEL).image_size
    model = lite0(Path(package.origin).parent / LITE0_FILE, size)
    first = np.zeros((_ARTICLE_BATCH, size, size, 3), np.uint8)
    model.predict(first, batch_size=_ARTICLE_BATCH, verbose=0)
    return model


def _cost(clock: Clock, images: int, phases: dict[str, float]) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "images": images,
        "wall_seconds": round(clock.wall, 3),
        "cpu_seconds": round(clock.cpu, 3),
        "peak_rss_bytes": peak,
        "phases": phases,
    }


WAYS = {"lookalike": lookalike, "article": article}


def main(arguments: list[str]) -> None:
    """`python -m benchmarks.embed_once lookalike|article LIST FOLDER`: embeddings to FOLDER, cost to stdout."""
    if len(arguments) != 3 or arguments[0] not in WAYS:
        raise UsageError(f"Give one of {', '.join(WAYS)}, a list of images and a folder, not {arguments}.")
    print(json.dumps(WAYS[arguments[0]](Path(arguments[1]), Path(arguments[2]))))


if __name__ == "__main__":
    main(sys.argv[1:])
