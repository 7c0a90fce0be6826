"""Whether the chances that a build measures hold for queries that it did not see, and those that are published.

python -m benchmarks.query.chances PHOTOS [--name TEXT] [--most 100000] [--originals 60] [--job JOB]
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.query import chance_tables as tables
from benchmarks.query.hard_copies import HARD
from benchmarks.query.verdicts import copies_of, index_photos
from benchmarks.support import program
from benchmarks.support.tables import fill_in
from shared.errors import JobError, UsageError
from shared.job.altered_copies import Copies, read_copies
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.calibration import JOB, Calibration, Point, calibration_of
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.messages.query import Query
from shared.messages.search import Answer, Hit, SearchJob
from shared.settings import Settings
from shared.vectors import unit
from workers.evaluate.accuracy import queries_of
from workers.evaluate.calibration.calibrate import calibrated
from workers.evaluate.calibration.curve import Seen, fitted, standing_at
from workers.evaluate.duplicates.pictures import Pictures
from workers.images.alterations import ALTERATIONS, MEASURED
from workers.search.answer import Answerer
from workers.search.cascade.chance import after_comparing, chances, standing
from workers.search.cascade.nearness import RANKS
from workers.search.decoding.pictures import decode_of, features_of
from workers.search.searcher import Searcher
from workers.verify.features import QUERY_KEYPOINTS
from workers.verify.pixels import same_pixels
from workers.verify.same_picture import verify

RESULTS = program.RESULTS / "chances.json"
PAGE = program.PAGE.with_name("verdicts.md")
BINS: Final = (0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 1.0)
_OTHERS_TOO: Final = ("collage of four", "in another photo")
"""Alterations whose copies show other photographs as well, which may be in the job: those are no strangers."""
_SMALL: Final = (20, 30, 40, 60, 120, 200)
_SEED: Final = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Query:
    """A copy with the hits of a search: whether each is the original, and whether comparing proves the original."""

    alteration: str
    photo: str
    is_original: Sequence[bool]
    standings: np.ndarray
    proven: bool


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.query.chances",
        description="Measure whether the chances of similar hits hold for queries that a build did not see.",
    )
    parser.add_argument("photos", metavar="PHOTOS", help="folder of photographs; its path is not written down")
    parser.add_argument("--name", default="photographs of one's own", help="what the photographs are, in the results")
    parser.add_argument("--most", type=int, default=100_000, help="photographs that are indexed, drawn from all")
    parser.add_argument("--originals", type=int, default=60, help="photographs that are altered and searched for")
    parser.add_argument("--job", type=Path, help="a job that an earlier run left; left out: it is made, and removed")
    program.add_work(parser)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go, as JSON")
    parser.add_argument("--docs", action="store_true", help="put the figures into docs/verdicts.md as well")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    photos = sorted(Path(arguments.photos).resolve().rglob("*.jpg"), key=str)
    random.Random(_SEED).shuffle(photos)
    most = min(arguments.most, len(photos) - arguments.originals)
    if most < 2 * arguments.originals:
        raise UsageError(f"{len(photos):,} .jpg are there: {3 * arguments.originals:,} at least are needed.")
    command = (
        f'python -m benchmarks.query.chances PHOTOS --name "{arguments.name}" --most {arguments.most} '
        f"--originals {arguments.originals}"
    )
    results = program.head("chances", command)
    results |= {"photographs": arguments.name, "images": most, "originals": arguments.originals}
    with tempfile.TemporaryDirectory(prefix="lookalike-chances-", dir=arguments.work) as folder:
        job = JobDir.at(arguments.job or Path(folder) / "jobs" / "job")
        if not job.spec.is_file():
            index_photos(job, photos[:most], Path(folder))
        results |= _measured(open_job(job), photos[:most], photos[most : most + arguments.originals])
    results["wall_seconds"] = round(time.perf_counter() - started)
    program.write(arguments.out, results)
    made = tables.all_tables(results)
    program.show(made, docs=False)
    if arguments.docs:
        PAGE.write_text(fill_in(PAGE.read_text(), made))


def _measured(job: OpenJob, listed: Sequence[Path], absent: Sequence[Path]) -> dict[str, Any]:
    info, copies = builds.current_info(job), read_copies(job)
    calibration = None if info is None else calibration_of(job, info)
    if info is None or copies is None or calibration is None or calibration.measured != JOB:
        raise JobError(f"The build of {job.path} measured no chances of its own: {calibration and calibration.reason}")
    own = set(copies.ids.tolist())  # The build's own copies are of these, and say nothing of whether it is right.
    here = [(number, path) for number, path in enumerate(listed) if number not in own][: len(absent)]
    answerer = Answerer(Settings(query_cache_size=0))
    queries = list(_queries(answerer, job, [path for _, path in here], {path: number for number, path in here}))
    missing = list(_queries(answerer, job, absent, {}))
    answerer.close()
    seen = _seen([query for query in (*queries, *missing) if query.alteration in MEASURED])
    curve = fitted(seen)
    bound = standing_at(curve, seen.blind)
    mild = [[query for query in some if query.alteration in MEASURED] for some in (queries, missing)]
    alone = [[query for query in some if query.alteration not in _OTHERS_TOO] for some in (queries, missing)]
    return {
        "model": job.manifest.model.name,
        "build": {name: value for name, value in calibration.to_json().items() if name not in ("build", "curve")},
        "cost": _cost(job, info, copies),
        "bins": {"measured": _bins(calibration, *mild), "alone": _bins(calibration, *alone)},
        "alterations": [_alteration(calibration, name, queries, missing) for name in (*ALTERATIONS, *HARD)],
        "published": {
            "copies": sum(map(len, mild)),
            "originals": len(here),
            "curve": [list(point) for point in curve],
            "bound": round(bound, 3),
            "nothing_there": _nothing(bound, mild[0]),
            "nothing_absent": _nothing(bound, mild[1]),
            "missed": round(sum(not query.proven for query in queries) / len(queries), 4),
        },
        "smaller": _smaller(job, info, copies, curve, bound),
    }


def _cost(job: OpenJob, info: IndexInfo, copies: Copies) -> dict[str, Any]:
    """What measuring costs a build: seconds, and those of the processor over all threads."""
    searcher = Searcher.open(JobFiles.of(job), info.build)
    wall, cpu = time.perf_counter(), time.process_time()
    calibrated(job, info.build, searcher, copies, info.ntotal, Settings())
    return {
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "embedding_seconds": round(sum(seal.seconds for seal in ledger.sealed(job)), 1),
    }


def _smaller(
    job: OpenJob, info: IndexInfo, copies: Copies, curve: Sequence[Point], bound: float
) -> list[dict[str, Any]]:
    """What the published curve says where a job has few images: each copy of the build's own is asked for among so many
    images, drawn anew, with its original and without."""
    stored = Searcher.open(JobFiles.of(job), info.build).stored
    similar = queries_of(copies) @ unit(stored.rows(np.arange(len(stored.ids)))).T
    places, values = np.array(curve).T
    own = stored.rows_of(copies.ids)
    rng = np.random.default_rng(_SEED)
    rows = []
    for images in _SMALL:
        there, absent, said = [], [], 0.0
        for row, place in zip(similar, own.tolist(), strict=True):
            others = rng.permutation(np.delete(np.arange(len(row)), place))[:images]
            for kept, found in ((np.append(others[1:], place), there), (others, absent)):
                stands = standing(np.sort(row[kept])[::-1][:RANKS])
                found.append(bool(stands.max() <= bound))
                said += float(np.interp(stands, places, values).sum())
        shares = {"nothing_there": round(float(np.mean(there)), 4), "nothing_absent": round(float(np.mean(absent)), 4)}
        rows.append({"images": images, "originals": len(there), "said": round(said, 1)} | shares)
    return rows


def _queries(answerer: Answerer, job: OpenJob, photos: Sequence[Path], ids: Mapping[Path, int]) -> Iterator[_Query]:
    """Each altered copy of the photographs, searched for; `ids` are those of them in the job."""
    pictures, how = Pictures(job), decode_of(job.manifest.model)
    last = None
    for name, path, data in copies_of(photos):
        if path != last:
            program.log(f"{'there' if path in ids else 'absent'}: {path.stem}")
            last = path
        hits = _hits(answerer, job, data)
        proven = False
        if path in ids:
            query = features_of(data, QUERY_KEYPOINTS, 1 << 28, how)
            theirs = pictures.looked_at(ids[path]).local
            proven = same_pixels(query, theirs) is not None or verify(query, theirs) is not None
        is_original = [path in ids and hit.id == ids[path] for hit in hits]
        yield _Query(name, path.stem, is_original, standing([hit.similarity for hit in hits]), proven)


def _hits(answerer: Answerer, job: OpenJob, data: bytes) -> Sequence[Hit]:
    answer: Answer
    (answer,) = answerer.answer(job, SearchJob(job.job_id, (Query(image=data),), RANKS))
    if answer.error is not None:
        raise answer.error
    return answer.hits


def _seen(queries: Sequence[_Query]) -> Seen:
    """All hits of queries, those of one photograph counting as one query."""
    copies = len(MEASURED)
    return Seen(
        np.concatenate([query.standings for query in queries]).astype(np.float64),
        np.concatenate([query.is_original for query in queries]),
        np.concatenate([np.full(len(query.standings), 1 / copies) for query in queries]),
    )


def _bins(calibration: Calibration, there: Sequence[_Query], absent: Sequence[_Query]) -> list[dict[str, Any]]:
    """What was said of hits by the chance that the build gives them, and what is true."""
    queries = [*there, *absent]
    before = np.concatenate([chances(calibration, query.standings) for query in queries])
    after = after_comparing(calibration, before)
    original = np.concatenate([query.is_original for query in queries])
    proven = np.concatenate([np.array(query.is_original) & query.proven for query in queries])
    rows = []
    for low, high in pairwise(BINS):
        some = (before >= low) & ((before < high) | (high == 1.0))
        left = some & ~proven
        rows.append(
            {
                "from": low,
                "to": high,
                "hits": int(some.sum()),
                "said": round(float(before[some].sum()), 2),
                "originals": int(original[some].sum()),
                "said_after": round(float(after[left].sum()), 2),
                "originals_after": int(original[left].sum()),
            }
        )
    return rows


def _alteration(
    calibration: Calibration, name: str, there: Sequence[_Query], absent: Sequence[_Query]
) -> dict[str, Any]:
    """What became of the copies of one alteration."""
    some, none = ([query for query in queries if query.alteration == name] for queries in (there, absent))
    return {
        "alteration": name,
        "queries": len(some),
        "among_nearest": sum(any(query.is_original) for query in some),
        "proven": sum(query.proven for query in some),
        "nothing_there": _nothing(calibration.bound, some),
        "nothing_there_unproven": sum(
            not query.proven and bool(query.standings.max() <= calibration.bound) for query in some
        ),
        "nothing_absent": _nothing(calibration.bound, none),
    }


def _nothing(bound: float, queries: Sequence[_Query]) -> float:
    """The share of queries of which no hit stands out by more than `bound`."""
    return round(float(np.mean([query.standings.max() <= bound for query in queries])), 4)


if __name__ == "__main__":
    sys.exit(main())
