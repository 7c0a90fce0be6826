"""Measure what a bundle of a job takes, and what its answers are worth: `python -m benchmarks.growth.bundle JOB`."""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.support import program
from coordinator.export.export import export
from shared.job.directory import JobDir
from shared.job.opened import open_job

RESULTS: Final = program.RESULTS / "growth_bundle.json"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth.bundle", description="Measure the bundles of a job with an index."
    )
    parser.add_argument("job", type=Path, help="a job of photographs that are there, with its index")
    parser.add_argument("--thumbnails", type=program.sizes, default="0,128", help="longer sides in pixels, with commas")
    program.add_work(parser)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go, as JSON")
    arguments = parser.parse_args()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    sides = ",".join(map(str, arguments.thumbnails))
    results = program.head("growth-bundle", f"python -m benchmarks.growth.bundle JOB --thumbnails {sides}")
    job = JobDir.at(arguments.job)
    with tempfile.TemporaryDirectory(prefix="lookalike-bundle-", dir=arguments.work) as work:
        results |= measured(job, Path(work), arguments.thumbnails)
    program.write(arguments.out.resolve(), results)


def measured(job: JobDir, work: Path, thumbnails: list[int]) -> dict[str, Any]:
    """The bytes an image of the job and of its bundles, made below `work`: one for each size of `thumbnails`."""
    opened = open_job(job)
    kinds = {"embeddings": job.path / "img_emb", "index": job.path / "index", "all": job.path}
    taken = {name: _bytes_below(folder) for name, folder in kinds.items()}
    found: list[dict[str, Any]] = []
    for side in thumbnails:
        program.log(f"a bundle with thumbnails of {side} pixels" if side else "a bundle without thumbnails")
        place = JobDir.at(work / f"bundle{side}")
        started = time.perf_counter()
        exported = export(job, place, side, lambda event: None)
        seconds = time.perf_counter() - started
        bundle = exported.bundle
        found.append(
            {
                "thumbnails": side,
                "seconds": round(seconds, 1),
                "bytes_an_image": round(_bytes_below(place.path) / exported.images),
                "p50_ms": round(exported.p50_ms, 2),
                "recall_at_10": bundle.recall_at_10,
                "queries": bundle.queries,
                "error_p99": bundle.error_p99,
                "error_most": bundle.error_most,
                "without_thumbnail": bundle.without_thumbnail,
            }
        )
    images = exported.images
    model = opened.manifest.model
    return {
        "images": images,
        "model": model.name,
        "dim": model.dim,
        "job_bytes_an_image": {name: round(count / images) for name, count in taken.items()},
        "bundles": found,
    }


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
