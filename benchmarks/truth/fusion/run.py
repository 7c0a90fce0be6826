"""Learn a fusion from photographs as a job does, and look for altered copies of others, with it and without.

python -m benchmarks.truth.fusion --photos FOLDER [--originals 80] [--most 1800] [--model efficientnet-lite0]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support import program
from benchmarks.truth.fusion import tables
from benchmarks.truth.fusion.figures import Vectors, figures, ranked
from benchmarks.truth.progress import shown
from benchmarks.truth.queries import collection
from benchmarks.truth.queries.alterations import KINDS
from coordinator.local.fusion_trial import DRAWN
from shared.images.location import Location
from shared.images.paths import to_text
from shared.models import DEFAULT_MODEL, resolve_model
from shared.models.fusion import Fusion
from shared.settings import Settings
from workers.evaluate.fusion.sampling import Limits, read_sample
from workers.evaluate.fusion.trial import Models, try_fusion
from workers.images.decode import decode
from workers.models.embedder import Embedder
from workers.models.loaded import fusable_levels, loaded_embedder
from workers.search.cascade.nearness import FUSED_STANDS_OUT, STANDS_OUT

RESULTS = program.RESULTS / "fusion.json"
_NOWHERE = Path("no-job") / "model"
_THREADS = 2
_BLOCK = 256
_RUNS = 5


def described(embedder: Embedder, files: Sequence[Callable[[], bytes]], limits: Limits, what: str) -> Vectors:
    """The unit vectors of image files, float32 [n, dim]; one in which the model sees nothing is like no other."""
    found: list[Vectors] = []
    for start in shown(range(0, len(files), _BLOCK), what, str):
        block = files[start : start + _BLOCK]
        pixels = [decode(read(), limits.image_size, limits.max_pixels, limits.how).pixels for read in block]
        step = embedder.batch_size
        found += [embedder.embed(np.stack(pixels[at : at + step])) for at in range(0, len(pixels), step)]
    return np.nan_to_num(np.concatenate(found))


def milliseconds(calls: dict[str, Callable[[], object]], images: int) -> dict[str, float]:
    """The milliseconds an image of each call, the median of several runs, one after the other in turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_RUNS):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            taken[name].append(1_000 * (time.perf_counter() - began) / images)
    return {name: round(statistics.median(runs), 2) for name, runs in taken.items()}


def unit(values: Vectors) -> Vectors:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(np.nan_to_num(values / np.where(lengths > 0, lengths, 1)), np.float32)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    began, settings = time.perf_counter(), Settings()
    command = f"python -m benchmarks.truth.fusion --photos PHOTOS --originals {options.originals} --most {options.most}"
    results = program.head("fusion", command, "openvino")
    spec = resolve_model(options.model)
    limits = Limits(spec.image_size, settings.max_image_pixels, settings.max_image_bytes, spec.decode)
    photos = collection.draw(options.photos, options.originals, options.others, most=options.most)
    fusion = Fusion(fusable_levels(spec, _NOWHERE, settings))
    models = Models(
        loaded_embedder(spec, _NOWHERE, settings),
        loaded_embedder(replace(spec, fusion=fusion, dim=None), _NOWHERE, settings),
    )
    held_out = set(photos.originals)
    rest = [place for place in range(len(photos.photos)) if place not in held_out]
    drawn = np.random.default_rng(0).permutation(rest)[:DRAWN].tolist()
    locations = [Location(to_text(str(photos.photos[place].path))) for place in drawn]
    program.log("learning the fusion")
    at = time.perf_counter()
    sample = read_sample(locations, limits, _THREADS)
    tried = try_fusion(sample, limits, models, _THREADS, lambda what, count: None)
    results |= {
        "photographs": options.name,
        "model": spec.fingerprint,
        "searched": len(photos.photos),
        "originals": len(photos.originals),
        "levels": list(fusion.levels),
        "trial": tried.trial.to_json() | {"says": str(tried.trial), "seconds": round(time.perf_counter() - at, 1)},
        "alterations": {kind.name: kind.sentence for kind in KINDS},
    }
    program.log(str(tried.trial))
    queries = collection.queries(photos, KINDS)
    kinds, originals = [query.kind for query in queries], np.array([query.original for query in queries])
    methods: dict[str, tuple[Vectors, Vectors]] = {}
    asked = [lambda query=query: query.data for query in queries]
    for name, embedder in (("plain", models.plain), ("levels side by side", models.levels)):
        stored = described(embedder, [photo.data for photo in photos.photos], limits, f"{name}: photographs")
        methods[name] = stored, described(embedder, asked, limits, f"{name}: queries")
    projection = tried.projection
    if projection is not None:
        stored, found = methods["levels side by side"]
        methods["fused"] = unit(projection.of(stored)), unit(projection.of(found))
    results["methods"] = {
        name: {"dim": stored.shape[1]}
        | figures(ranked(stored, found, originals), kinds, FUSED_STANDS_OUT if name == "fused" else STANDS_OUT)
        for name, (stored, found) in methods.items()
    }
    some = np.stack(
        [
            decode(photo.data(), limits.image_size, limits.max_pixels, limits.how).pixels
            for photo in photos.photos[: options.timed]
        ]
    )
    calls: dict[str, Callable[[], object]] = {
        "plain": lambda: models.plain.embed(some),
        "levels side by side": lambda: models.levels.embed(some),
    }
    if projection is not None:
        calls["fused"] = lambda: projection.of(models.levels.embed(some))
    for name, taken in milliseconds(calls, len(some)).items():
        results["methods"][name]["ms"] = taken
    return results | {"wall_seconds": round(time.perf_counter() - began, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.truth.fusion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--name", default="photographs of one's own", help="what the photographs are, in the results")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a model by its name")
    parser.add_argument("--originals", type=int, default=80, help="photographs that are altered and looked for")
    parser.add_argument("--others", type=int, default=20, help="photographs that stand beside them in collages")
    parser.add_argument("--most", type=int, default=1_800, help="photographs that are used at most")
    parser.add_argument("--timed", type=int, default=64, help="photographs that the models are timed on")
    program.add_out(parser, RESULTS)
    options = parser.parse_args()

    def run() -> None:
        results = measure(options)
        program.write(options.out, results)
        program.show(tables.all_tables(results), docs=options.docs)

    return program.run(run)
