"""Do one step of a build of shards in a process of its own, as a merge worker does, or search what came of it.

python -m benchmarks.growth.shard_steps merge JOB | fill JOB BUILD SHARD | search JOB QUERIES; prints JSON
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.growth.one_size import searched_by
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.opened import open_job
from shared.processes.control import Control
from shared.settings import Settings
from workers.merge import shards
from workers.merge.build import merge
from workers.search.pool import SearcherPool

_ALONE: Final[Control[object]] = Control(lambda: True, lambda: True, lambda progress: None)


def main() -> None:
    step, path, *others = sys.argv[1:]
    job = JobDir.at(Path(path))
    if step == "merge":
        print(json.dumps(merged(job)))
    elif step == "fill":
        filled = shards.fill_shard(open_job(job), JobFiles.of(job), others[0], int(others[1]), _ALONE)
        print(json.dumps({"left": list(filled)}))
    else:
        print(json.dumps(searched(job, np.load(others[0]))))


def merged(job: JobDir) -> dict[str, Any]:
    """What a merge made, or which shards of which build it wants to be filled first."""
    try:
        info = merge(open_job(job), Settings(), _ALONE, elsewhere=True)
    except shards.ShardsWanted as wanted:
        return {"build": wanted.filling.build, "missing": list(wanted.filling.missing)}
    return {"build": info.build, "missing": [], "index_bytes": [info.files[name]["bytes"] for name in info.index_files]}


def searched(job: JobDir, queries: Any) -> dict[str, Any]:
    """What `searched_by` gives for queries, float32 [q, d], of a job that is opened for them."""
    return searched_by(SearcherPool(Settings(query_cache_size=0)), job, queries)


if __name__ == "__main__":
    main()
