"""What verdicts of a search cost, what they find, and which candidates are near enough to be compared.

python -m benchmarks.query.verdicts PHOTOS [--name TEXT] [--most 100000] [--originals 60] [--job JOB]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from benchmarks.query.cascade import verdict_tables as tables
from benchmarks.query.hard_copies import HARD, Image, hard_copy
from benchmarks.support import photographs, program
from benchmarks.support.altered import percentiles
from shared.errors import UsageError
from shared.job.directory import JobDir
from shared.messages.finer import Finer
from shared.messages.query import Query
from shared.messages.search import Answer, SearchJob
from shared.messages.verified import ALWAYS, AUTO, NEVER, PROVEN, Verify
from shared.settings import Settings
from workers.images.alterations import ALTERATIONS
from workers.search.answer import Answerer
from workers.search.cascade.nearness import COPIES, near

RESULTS = program.RESULTS / "query_verdicts.json"
MODES: Final = tuple(Verify(how, views) for how in (NEVER, AUTO, ALWAYS) for views in (1, 6))
_STANDS_OUT: Final = (0.04, 0.06, 0.08, 0.10, 0.12, 0.15)
_COPIES: Final = (0.85, COPIES, 0.95)
_RANKS: Final = 60
_OTHERS: Final = 3


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.query.verdicts",
        description="Measure what verdicts of a search cost and find.",
    )
    photographs.add_arguments(parser, RESULTS)
    parser.add_argument("--job", type=Path, help="a job that an earlier run left; left out: it is made, and removed")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    listed, absent = photographs.drawn(arguments)
    command = (
        f'python -m benchmarks.query.verdicts PHOTOS --name "{arguments.name}" --most {arguments.most} '
        f"--originals {arguments.originals}"
    )
    results = program.head("query_verdicts", command)
    results |= {"photographs": arguments.name, "images": len(listed), "originals": arguments.originals}
    with tempfile.TemporaryDirectory(prefix="lookalike-verdicts-", dir=arguments.work) as folder:
        job = JobDir.at(arguments.job or Path(folder) / "jobs" / "job")
        if not job.spec.is_file():
            photographs.index_photos(job, listed, Path(folder))
        results |= _measured(job, listed[: arguments.originals], absent)
    photographs.end(arguments, results, started, tables.all_tables)


def _measured(job: JobDir, here: Sequence[Path], absent: Sequence[Path]) -> dict[str, Any]:
    rows, gate = [], _Gate()
    for verify in MODES:
        # A worker of its own: what it remembers would be another's gain.
        answerer = Answerer(Settings(query_cache_size=0, verify_seconds=60.0))
        answered(answerer, job, here[0].read_bytes(), Verify(ALWAYS))  # The model and the processes are loaded.
        program.log(f"verify {verify.how}, {verify.views} views")
        found = {name: Counted() for name in (*ALTERATIONS, *HARD)}
        missing = Counted()
        for name, original, data in copies_of(here):
            found[name].count(answered(answerer, job, data, verify), original)
        for _, original, data in copies_of(absent):
            missing.count(answered(answerer, job, data, verify), original)
        rows.append(
            {
                "verify": verify.how,
                "views": verify.views,
                "by_alteration": {name: counted.to_json() for name, counted in found.items()},
                "absent": missing.to_json(),
            }
        )
        if verify.how == NEVER:
            gate.look(answerer, job, verify.views, here, absent)
        answerer.close()
    return {"modes": rows, "near": gate.rows}


class Counted:
    """What became of queries: whether the original was first, or proven, and what was proven wrongly."""

    def __init__(self) -> None:
        self._answers: list[tuple[bool, bool, bool, int, float]] = []

    def count(self, answer: Answer, original: Path) -> None:
        """Add an answer to a query made of `original`."""
        proven = [hit for hit in answer.hits if hit.verdict in PROVEN]
        self._answers.append(
            (
                answer.hits[0].image_path == str(original),
                any(hit.image_path == str(original) for hit in proven),
                any(hit.image_path != str(original) for hit in proven),
                0 if answer.verified is None else answer.verified.compared,
                answer.milliseconds,
            )
        )

    def to_json(self) -> dict[str, Any]:
        """What became of all of them."""
        first, proven, wrong, compared, milliseconds = (list(column) for column in zip(*self._answers, strict=True))
        return {
            "queries": len(first),
            "first": sum(first),
            "proven": sum(proven),
            "others_proven": sum(wrong),
            "compared": round(float(np.mean(compared)), 1),
            "worker_ms": percentiles(milliseconds),
        }


class _Gate:
    """Which candidates would be compared with other bounds of what is near enough."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def look(self, answerer: Answerer, job: JobDir, views: int, here: Sequence[Path], absent: Sequence[Path]) -> None:
        ranked = [
            (answered(answerer, job, data, Verify(NEVER, views), _RANKS), path) for _, path, data in copies_of(here)
        ]
        without = [answered(answerer, job, data, Verify(NEVER, views), _RANKS) for _, _, data in copies_of(absent)]
        for stands_out in _STANDS_OUT:
            for copies in _COPIES:
                counts = [near([hit.similarity for hit in answer.hits], stands_out, copies) for answer in without]
                caught = [
                    any(hit.image_path == str(path) for hit in answer.hits[: _near(answer, stands_out, copies)])
                    for answer, path in ranked
                ]
                self.rows.append(
                    {
                        "views": views,
                        "stands_out": stands_out,
                        "copies": copies,
                        "originals_compared": round(float(np.mean(caught)), 4),
                        "absent_compared": round(float(np.mean([count > 0 for count in counts])), 4),
                        "absent_candidates": round(float(np.mean(counts)), 2),
                    }
                )


def _near(answer: Answer, stands_out: float, copies: float) -> int:
    return near([hit.similarity for hit in answer.hits], stands_out, copies)


def answered(
    answerer: Answerer, job: JobDir, data: bytes, verify: Verify, k: int = 10, finer: Finer | None = None
) -> Answer:
    """The answer to an image; raises its error."""
    message = SearchJob(job.job_id, (Query(image=data),), k, verify=verify, finer=finer)
    (answer,) = answerer.answer(job, message)
    if answer.error is not None:
        raise answer.error
    return answer


def copies_of(originals: Sequence[Path]) -> Iterator[tuple[str, Path, bytes]]:
    """Each photograph after each alteration: its name, the photograph, and the copy as JPEG."""
    images = [_read(path) for path in originals]
    for number, (path, image) in enumerate(zip(originals, images, strict=True)):
        others = [images[(number + 1 + one) % len(images)] for one in range(_OTHERS)]
        for name, alteration in ALTERATIONS.items():
            yield name, path, alteration(image)
        for name in HARD:
            yield name, path, hard_copy(name, image, others)


def _read(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UsageError(f"{path} can't be decoded: leave it out.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


if __name__ == "__main__":
    sys.exit(main())
