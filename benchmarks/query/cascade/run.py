"""What the look-up of PDQs and a finer model add to verdicts, stage by stage, and what each of them costs.

python -m benchmarks.query.cascade PHOTOS --finer MODEL [--finer-input WORDS] [--finer-name TEXT] [--name TEXT]
    [--most 100000] [--originals 60] [--hashes 2000000]
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.query.cascade import tables
from benchmarks.query.hard_copies import HARD
from benchmarks.query.verdicts import Counted, answered, copies_of
from benchmarks.support import photographs, program
from benchmarks.support.altered import percentiles
from shared.job.directory import JobDir
from shared.messages.finer import Finer
from shared.messages.verified import ALWAYS, AUTO, NEVER, Verify
from shared.settings import ANY_MODEL, Settings
from workers.images.alterations import ALTERATIONS
from workers.search.answer import Answerer
from workers.search.cascade.lookup.pdqs import PdqLookup
from workers.verify.collection.pdq_index import PdqIndex
from workers.verify.pdq import BYTES

RESULTS = program.RESULTS / "query_cascade.json"
_SEED: Final = 0
_LOOK_UPS: Final = 300
_TURNS: Final = 8
_GOOD: Final = 90


class Stage(NamedTuple):
    """A search with so many stages: how it verifies, and whether PDQs are looked up and a finer model is asked."""

    name: str
    verify: Verify
    pdqs: bool = False
    finer: bool = False


STAGES: Final = (
    Stage("index", Verify(NEVER)),
    Stage("pictures", Verify(AUTO)),
    Stage("PDQs, pictures", Verify(AUTO), pdqs=True),
    Stage("finer model", Verify(NEVER), finer=True),
    Stage("PDQs, pictures, finer model", Verify(AUTO), pdqs=True, finer=True),
)


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.query.cascade",
        description="Measure what a look-up of PDQs and a finer model find and cost.",
    )
    photographs.add_arguments(parser, RESULTS)
    parser.add_argument("--finer", required=True, help="the finer model: a name, a .keras or an .onnx file")
    parser.add_argument("--finer-input", help="how an .onnx file takes images")
    parser.add_argument("--finer-name", help="what the finer model is, in the results; left out: its fingerprint alone")
    parser.add_argument("--hashes", type=int, default=2_000_000, help="made PDQs that are looked up alone; 0: none")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    listed, absent = photographs.drawn(arguments)
    finer = Finer.of(arguments.finer, arguments.finer_input)
    command = (
        f'python -m benchmarks.query.cascade PHOTOS --finer MODEL --name "{arguments.name}" --most {arguments.most} '
        f"--originals {arguments.originals} --hashes {arguments.hashes}"
    )
    results = program.head("query_cascade", command)
    results |= {"photographs": arguments.name, "images": len(listed), "originals": arguments.originals}
    if arguments.hashes:
        results["look_up"] = _look_up(arguments.hashes)
    with tempfile.TemporaryDirectory(prefix="lookalike-cascade-", dir=arguments.work) as folder:
        job = JobDir.at(Path(folder) / "jobs" / "job")
        photographs.index_photos(job, listed, Path(folder), "--copies", "on")
        results["stages"] = list(_measured(job, listed[: arguments.originals], absent, finer, Path(folder) / "cache"))
    told = results["stages"][-1]["finer"]
    results["finer"] = f"{arguments.finer_name} ({told})" if arguments.finer_name else told
    photographs.end(arguments, results, started, tables.all_tables)


def _look_up(count: int) -> dict[str, Any]:
    """What a look-up among so many made PDQs takes, of a picture in eight turns that has one copy among them."""
    program.log(f"looking up among {count:,} PDQs")
    random_ = np.random.default_rng(_SEED)
    hashes = random_.integers(0, 256, (count, BYTES), dtype=np.uint8)
    began = time.perf_counter()
    lookup = PdqLookup(PdqIndex.build(hashes, np.full(count, _GOOD, np.uint8)), np.arange(count))
    made = time.perf_counter() - began
    every, milliseconds, found = np.arange(count), [], 0
    for image in random_.integers(0, count, _LOOK_UPS).tolist():
        turns = random_.integers(0, 256, (_TURNS, BYTES), dtype=np.uint8)
        turns[3] = hashes[image]
        began = time.perf_counter()
        found += image in lookup.near(turns, _GOOD, 100, every).tolist()
        milliseconds.append((time.perf_counter() - began) * 1_000)
    return {
        "hashes": count,
        "seconds_to_make": round(made, 2),
        "bytes": lookup.nbytes,
        "found": found / _LOOK_UPS,
        "ms": percentiles(milliseconds),
    }


def _measured(
    job: JobDir, here: Sequence[Path], absent: Sequence[Path], finer: Finer, cache: Path
) -> Iterator[dict[str, Any]]:
    for stage in STAGES:
        settings = Settings(query_cache_size=0, verify_seconds=60.0, finer_seconds=600.0, finer_model=ANY_MODEL)
        settings = replace(settings, cache_dir=cache / stage.name, pdq_bytes=settings.pdq_bytes if stage.pdqs else 0)
        # A worker of its own: what it remembers would be another's gain.
        answerer = Answerer(settings)
        asked = finer if stage.finer else None
        answered(answerer, job, here[0].read_bytes(), Verify(ALWAYS))  # The model and the processes are loaded.
        program.log(stage.name)
        found, missing, again = {name: Counted() for name in (*ALTERATIONS, *HARD)}, Counted(), Counted()
        model = ""
        for name, original, data in copies_of(here):
            answer = answered(answerer, job, data, stage.verify, finer=asked)
            found[name].count(answer, original)
            if answer.refined is not None:
                model = answer.refined.model
                # The same once more, when its candidates are cached.
                again.count(answered(answerer, job, data, stage.verify, finer=asked), original)
        for _, original, data in copies_of(absent):
            missing.count(answered(answerer, job, data, stage.verify, finer=asked), original)
        answerer.close()
        yield {
            "stage": stage.name,
            "by_alteration": {name: counted.to_json() for name, counted in found.items()},
            "absent": missing.to_json(),
        } | ({"finer": model, "cached": again.to_json()} if model else {})
