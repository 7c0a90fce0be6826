"""Ask for pictures of which several copies are searched, and for collages of several: what is found and compared.

python -m benchmarks.truth.several --photos FOLDER [--originals 60] [--copies 6] [--collages 60]
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support import machine, program
from benchmarks.truth.judge import Scores
from benchmarks.truth.methods.cascade import Asked, Features
from benchmarks.truth.methods.model import cosine
from benchmarks.truth.methods.views import VIEWS
from benchmarks.truth.progress import shown
from benchmarks.truth.queries import collection
from benchmarks.truth.queries.alterations import KINDS
from benchmarks.truth.queries.collection import Collection, Photo, Query, pixels_of
from benchmarks.truth.several import tables
from benchmarks.truth.several.ends import ALONE, AUTO, COLLAGES, COPIES, Candidates, figures
from shared.models import DEFAULT_MODEL, resolve_model
from shared.settings import Settings
from workers.models.embedder import load_embedder
from workers.search.cascade.nearness import RANKS, near

RESULTS = program.RESULTS / "several.json"


def divided(queries: Sequence[Query], copies: int, asked: int) -> tuple[list[Query], list[Query]]:
    """Those that become photographs, and those that are asked for: of each original so many, drawn by its place."""
    of: dict[int, list[Query]] = {}
    for query in queries:
        of.setdefault(query.original, []).append(query)
    drawn = {
        original: [each[place] for place in np.random.default_rng([collection.SEED, original]).permutation(len(each))]
        for original, each in of.items()
    }
    return (
        [query for each in drawn.values() for query in each[:copies]],
        [query for each in drawn.values() for query in each[copies : copies + asked]],
    )


def of_four(photos: Collection, count: int) -> list[Query]:
    """Collages of four of the originals each; none of them has one original, so they are numbered below 0."""
    (collage,) = (kind for kind in KINDS if kind.name == "collage")
    made: list[Query] = []
    for number in range(count):
        four = np.random.default_rng([collection.SEED, number]).choice(photos.originals, 4, replace=False)
        first, *others = (pixels_of(photos.photos[place].data()) for place in four.tolist())
        made.append(Query(-1 - number, COLLAGES, collage(first, others, number)))
    return made


def near_enough(scores: Scores) -> list[list[int]]:
    """What `--verify auto` compares each query with: the places that are near enough for doubt, by scores [q, n]."""
    made: list[list[int]] = []
    for score in scores:
        nearest = np.argsort(-score, kind="stable")[:RANKS]
        made.append(nearest[: near(score[nearest].tolist())].tolist())
    return made


def candidates(
    what: str, queries: Sequence[Query], likely: Sequence[Sequence[int]], features: Features, most: int
) -> list[Candidates]:
    """The first of what is `likely` for each query, and which of it the stored features prove."""

    def judged(query: Query, likely: Sequence[int]) -> Candidates:
        asked, places = Asked.of(query.data), likely[:most]
        proven = (place for place in places if features.known(query, asked, place) is not None)
        return Candidates(places, frozenset(proven))

    with ThreadPoolExecutor(machine.cores()) as threads:
        each = threads.map(judged, queries, likely)
        return list(shown(each, what, lambda one: f"{len(one.proven)} proven", len(queries)))


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """All figures; the copies are written to `work`."""
    began, settings = time.perf_counter(), Settings()
    command = "python -m benchmarks.truth.several --photos PHOTOS" + "".join(
        f" --{name} {getattr(options, name)}"
        for name in ("originals", "others", "copies", "asked", "collages", "candidates")
    )
    results = program.head("several", command, "openvino")
    spec = resolve_model(options.model)
    embedder = load_embedder(spec, Path(options.model).parent, engine=settings.engine, cache_dir=settings.cache_dir)
    photos = collection.draw(options.photos, options.originals, options.others, most=options.most)
    beside, queries = divided(collection.queries(photos, KINDS), options.copies, options.asked)
    copies = []
    for number, copy in enumerate(beside):
        copies.append(Photo(f"copy {number}: {copy.kind}", work / f"{number:05d}.jpg"))
        copies[-1].path.write_bytes(copy.data)
    every = [*photos.photos, *copies]
    several, alone, features = cosine(embedder, VIEWS, spec.decode), cosine(embedder, VIEWS, spec.decode), Features()
    several.store(every)
    features.of(every)
    alone.vectors = several.vectors[: len(photos.photos)]
    collages = of_four(photos, options.collages)
    whole = cosine(embedder, 1, spec.decode).like(several)
    likely = {
        COPIES: (queries, several.likely(queries)),
        AUTO: (queries, near_enough(whole.scores(queries))),
        COLLAGES: (collages, alone.likely(collages)),
        ALONE: (queries, alone.likely(queries)),
    }
    asked = {kind: candidates(kind, *each, features, options.candidates) for kind, each in likely.items()}
    with ThreadPoolExecutor(1) as threads:
        rows = figures(asked, several.vectors, threads)
    return results | {
        "photographs": options.name,
        "model": embedder.fingerprint,
        "searched": len(photos.photos),
        "copies": len(copies),
        "originals": len(photos.originals),
        "candidates": options.candidates,
        "queries": {kind: len(each) for kind, each in asked.items()},
        "provable": {kind: sum(len(one.proven) for one in each) for kind, each in asked.items()},
        "ends": rows,
        "wall_seconds": round(time.perf_counter() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.truth.several",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--name", default="photographs of one's own", help="what the photographs are, in the results")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a model by its name")
    parser.add_argument("--originals", type=int, default=60, help="photographs that have altered copies beside them")
    parser.add_argument("--others", type=int, default=60, help="photographs that stand beside them in collages")
    parser.add_argument("--copies", type=int, default=6, help="altered copies of each original that are searched")
    parser.add_argument("--asked", type=int, default=8, help="other altered copies of each that are asked for")
    parser.add_argument("--collages", type=int, default=60, help="collages of four of the originals that are asked for")
    parser.add_argument("--candidates", type=int, default=100, help="images that a query is compared with at most")
    parser.add_argument("--most", type=int, help="photographs that are used at most; left out: all")
    program.add_work(parser)
    program.add_out(parser, RESULTS)
    options = parser.parse_args()

    def run() -> None:
        with tempfile.TemporaryDirectory(prefix="lookalike-several-", dir=options.work) as work:
            results = measure(options, Path(work))
        program.write(options.out, results)
        program.show(tables.all_tables(results), docs=options.docs)

    return program.run(run)
