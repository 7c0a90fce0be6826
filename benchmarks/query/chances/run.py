"""Whether the chances that a build measures hold for queries that it did not see, and those that are published.

python -m benchmarks.query.chances PHOTOS [--name TEXT] [--most 100000] [--originals 60] [--job JOB]
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.query.chances import published, tables
from benchmarks.query.chances.counts import Asked, alteration, bins, nothing, seen_of, smaller
from benchmarks.query.hard_copies import HARD
from benchmarks.query.verdicts import copies_of
from benchmarks.support import photographs, program
from shared.errors import JobError
from shared.job.altered_copies import Copies, read_copies
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.calibration import JOB, calibration_of
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.messages.query import Query
from shared.messages.search import Answer, Hit, SearchJob
from shared.settings import Settings
from workers.evaluate.calibration.calibrate import calibrated
from workers.evaluate.calibration.compared import Comparing
from workers.evaluate.calibration.curve import fitted, standing_at
from workers.images.alterations import ALTERATIONS, MEASURED
from workers.search.answer import Answerer
from workers.search.cascade.chance import standing
from workers.search.cascade.nearness import RANKS
from workers.search.decoding.pictures import decode_of, features_of
from workers.search.searcher import Searcher
from workers.verify.features import QUERY_KEYPOINTS
from workers.verify.pixels import same_pixels
from workers.verify.same_picture import verify

RESULTS = program.RESULTS / "chances.json"
_OTHERS_TOO: Final = ("collage of four", "in another photo")
"""Alterations whose copies show other photographs as well, which may be in the job: those are no strangers."""


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.query.chances",
        description="Measure whether the chances of similar hits hold for queries that a build did not see.",
    )
    photographs.add_arguments(parser, RESULTS)
    parser.add_argument("--job", type=Path, help="a job that an earlier run left; left out: it is made, and removed")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    listed, absent = photographs.drawn(arguments, least=2)
    command = (
        f'python -m benchmarks.query.chances PHOTOS --name "{arguments.name}" --most {arguments.most} '
        f"--originals {arguments.originals}"
    )
    results = program.head("chances", command)
    results |= {"photographs": arguments.name, "images": len(listed), "originals": arguments.originals}
    with tempfile.TemporaryDirectory(prefix="lookalike-chances-", dir=arguments.work) as folder:
        job = JobDir.at(arguments.job or Path(folder) / "jobs" / "job")
        if not job.spec.is_file():
            photographs.index_photos(job, listed, Path(folder))
        results |= _measured(open_job(job), listed, absent)
    photographs.end(arguments, results, started, tables.all_tables)
    if arguments.docs:
        published.write(results)


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
    seen = seen_of([query for query in (*queries, *missing) if query.alteration in MEASURED])
    curve = fitted(seen)
    bound = standing_at(curve, seen.blind)
    mild = [[query for query in some if query.alteration in MEASURED] for some in (queries, missing)]
    alone = [[query for query in some if query.alteration not in _OTHERS_TOO] for some in (queries, missing)]
    return {
        "model": job.manifest.model.name,
        "build": {name: value for name, value in calibration.to_json().items() if name not in ("build", "curve")},
        "cost": _cost(job, info, copies),
        "bins": {"measured": bins(calibration, *mild), "alone": bins(calibration, *alone)},
        "alterations": [alteration(calibration, name, queries, missing) for name in (*ALTERATIONS, *HARD)],
        "published": {
            "copies": sum(map(len, mild)),
            "originals": len(here),
            "curve": [list(point) for point in curve],
            "bound": round(bound, 3),
            "nothing_there": nothing(bound, mild[0]),
            "nothing_absent": nothing(bound, mild[1]),
            "missed": round(sum(not query.proven for query in queries) / len(queries), 4),
        },
        "smaller": smaller(job, info, copies, curve, bound),
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


def _queries(answerer: Answerer, job: OpenJob, photos: Sequence[Path], ids: Mapping[Path, int]) -> Iterator[Asked]:
    """Each altered copy of the photographs, searched for; `ids` are those of them in the job."""
    comparing, how = Comparing(job, Settings()), decode_of(job.manifest.model)
    last = None
    for name, path, data in copies_of(photos):
        if path != last:
            program.log(f"{'there' if path in ids else 'absent'}: {path.stem}")
            last = path
        hits = _hits(answerer, job, data)
        proven = False
        if path in ids:
            query = features_of(data, QUERY_KEYPOINTS, 1 << 28, how)
            theirs = comparing.features(ids[path])
            proven = same_pixels(query, theirs) is not None or verify(query, theirs) is not None
        is_original = [path in ids and hit.id == ids[path] for hit in hits]
        yield Asked(name, path.stem, is_original, standing([hit.similarity for hit in hits]), proven)


def _hits(answerer: Answerer, job: OpenJob, data: bytes) -> Sequence[Hit]:
    answer: Answer
    (answer,) = answerer.answer(job, SearchJob(job.job_id, (Query(image=data),), RANKS))
    if answer.error is not None:
        raise answer.error
    return answer.hits
