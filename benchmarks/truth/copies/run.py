"""Embed photographs with and without what tells copies apart, and look PDQs up among two million.

python -m benchmarks.truth.copies --photos FOLDER [--images 400] [--hashes 2000000]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support import program
from benchmarks.support.timing import percentiles_of_runs
from benchmarks.truth.copies import tables
from shared.errors import UsageError
from shared.images.location import Location, read_bytes
from shared.images.paths import to_text
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import Manifest, Source, write_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition.features.marker import read_features_seal
from shared.job.partition.features.wanted import want_features
from shared.models import resolve_model
from shared.processes.control import Control
from shared.settings import Settings
from workers.embed.partition import embed_partition
from workers.images.decode import decode_photo
from workers.models.embedder import Embedder
from workers.models.loaded import loaded_embedder
from workers.verify.collection.pdq_index import MOST_BITS, PdqIndex
from workers.verify.features import local_features
from workers.verify.pdq import BYTES, pdq

RESULTS = program.RESULTS / "copies.json"
_MODEL = "efficientnet-lite0"
_RUNS = 3
_QUERIES = 500
_SIDE = 480
_MOST_PIXELS = 178_956_970
_MOST_BYTES = 268_435_456


def make(place: Path, photos: list[Path], *, features: bool) -> OpenJob:
    """A job of these photos in one partition, which stores features or not."""
    job = JobDir(place)
    model = resolve_model(_MODEL)
    source = Source("list", "photographs", "0" * 64)
    manifest = Manifest(source, model, len(photos), len(photos), model.chunk_size, _MOST_PIXELS, _MOST_BYTES)
    path_list.write_paths(job, manifest.partition(0), [to_text(str(photo)) for photo in photos])
    write_manifest(job, manifest)
    if features:
        want_features(job)
    return open_job(job)


def embedding(photos: list[Path], embedder: Embedder, *, features: bool) -> dict[str, Any]:
    """CPU and wall seconds of embedding the photos in one process, and the bytes of what is stored."""
    with tempfile.TemporaryDirectory() as work:
        job = make(Path(work) / "job", photos, features=features)
        control: Control[Any] = Control(lambda: True, lambda: True, lambda told: None)
        began, cpu = time.perf_counter(), time.process_time()
        seal = embed_partition(job, job.partition(0), embedder, control, None)
        found = {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu, "embedded": seal.embedded}
        marker = read_features_seal(job, 0)
        return found | {"feature_bytes": 0 if marker is None else marker.bytes}


def parts(photos: list[Path]) -> dict[str, float]:
    """Milliseconds of CPU for each step of the features of an image, in one thread: the median of the photos."""
    seconds: dict[str, list[float]] = {"PDQ": [], "local features": [], "local features as bytes": []}
    for photo in photos:
        image = decode_photo(read_bytes(Location(to_text(str(photo))).place, _MOST_BYTES), _SIDE, _MOST_PIXELS)
        began = time.thread_time()
        pdq(image)
        after_pdq = time.thread_time()
        made = local_features(image)
        after_local = time.thread_time()
        made.to_bytes()
        ended = time.thread_time()
        for name, taken in zip(seconds, (after_pdq - began, after_local - after_pdq, ended - after_local), strict=True):
            seconds[name].append(taken)
    return {name: round(1_000 * statistics.median(taken), 2) for name, taken in seconds.items()}


def look_up(photos: list[Path], count: int) -> dict[str, Any]:
    """How long a look-up among `count` PDQs takes: those of the photographs, and of others that share their parts.

    Hashes of photographs are not spread as random ones are: some parts come often. So each made one takes its parts
    from photographs drawn at random, part by part. Half of the queries are near one that is there, half are not.
    """
    rng = np.random.default_rng(0)
    real = np.stack(
        [
            pdq(decode_photo(read_bytes(Location(to_text(str(photo))).place, _MOST_BYTES), _SIDE, _MOST_PIXELS))[0]
            for photo in photos
        ]
    ).view(np.uint16)
    drawn = rng.integers(0, len(real), (count, real.shape[1]))
    hashes = np.ascontiguousarray(real[drawn, np.arange(real.shape[1])]).view(np.uint8).reshape(count, BYTES)
    # One bit in eight is another one, as no two photographs share a whole part by more than chance.
    noise = rng.integers(0, 256, (3, count, BYTES), dtype=np.uint8)
    hashes ^= noise[0] & noise[1] & noise[2]
    began = time.perf_counter()
    index = PdqIndex.build(hashes, np.full(count, 100, np.uint8))
    built = time.perf_counter() - began
    queries = [hashes[row].copy() for row in rng.integers(0, count, _QUERIES)]
    for query in queries[::2]:
        query ^= np.packbits(rng.random(8 * BYTES) < 0.05)
    runs, cpu, found = [], [], 0
    with tempfile.TemporaryDirectory() as work:
        index.save(Path(work))
        mapped = PdqIndex.open(Path(work))
        size = sum(path.stat().st_size for path in Path(work).iterdir())
        for _ in range(_RUNS):
            taken, busy = [], []
            for query in queries:
                began, at = time.perf_counter(), time.thread_time()
                rows, _ = mapped.find(query, 100)
                busy.append(1_000 * (time.thread_time() - at))
                taken.append(1_000 * (time.perf_counter() - began))
                found += len(rows) > 0
            runs.append(taken)
            cpu.append(busy)
    return {
        "hashes": count,
        "bits": MOST_BITS,
        "build_seconds": round(built, 2),
        "bytes": size,
        "queries": _QUERIES,
        "found": found // _RUNS,
        "ms": percentiles_of_runs(runs),
        "cpu_ms": percentiles_of_runs(cpu),
    }


def measure(photos: Path, images: int, hashes: int) -> dict[str, Any]:
    """All figures, of the first `images` photographs in a folder."""
    chosen = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:images]
    if len(chosen) < images:
        raise UsageError(f"{photos} holds {len(chosen)} JPEGs, and {images} are asked for.")
    began = time.perf_counter()
    results = program.head("copies", f"python -m benchmarks.truth.copies --photos FOLDER --images {images}", "openvino")
    embedder = loaded_embedder(resolve_model(_MODEL), Path("no weights of a job"), Settings())
    embedding(chosen[:32], embedder, features=True)  # What is only made once is made now.
    runs: dict[str, list[dict[str, Any]]] = {"off": [], "on": []}
    for _ in range(_RUNS):
        for name, run in runs.items():
            program.log(f"embedding {images} photographs, copies {name}")
            run.append(embedding(chosen, embedder, features=name == "on"))
    embedded = runs["on"][0]["embedded"]
    cpu = {
        name: round(1_000 * statistics.median(one["cpu"] for one in run) / embedded, 2) for name, run in runs.items()
    }
    program.log(f"looking up among {hashes:,} PDQs")
    return results | {
        "images": images,
        "embedded": embedded,
        "model": _MODEL,
        "cpu_ms": cpu,
        "cpu_ratio": round(cpu["on"] / cpu["off"], 2),
        "wall_ms": {
            name: round(1_000 * statistics.median(one["wall"] for one in run) / embedded, 2)
            for name, run in runs.items()
        },
        "stored_bytes": round(runs["on"][0]["feature_bytes"] / embedded),
        "parts_ms": parts(chosen[:200]),
        "look_up": look_up(chosen, hashes),
        "wall_seconds": round(time.perf_counter() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.truth.copies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs, JPEGs")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--hashes", type=int, default=2_000_000)
    program.add_out(parser, RESULTS)
    options = parser.parse_args()

    def run() -> None:
        results = measure(options.photos, options.images, options.hashes)
        program.write(options.out, results)
        program.show(tables.all_tables(results), docs=options.docs)

    return program.run(run)
