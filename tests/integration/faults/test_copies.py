"""Workers killed while they store what tells copies apart, while they look for duplicates, and while a finer model
orders hits: nothing is lost, nothing is done twice."""

import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.client.client import Client
from shared.broker.lease import neighbours_lease
from shared.errors import WorkerFailed
from shared.job.directory import JobDir
from shared.job.index.duplicates.compared import read_compared
from shared.job.index.duplicates.neighbours import read_neighbours
from shared.job.partition.features.marker import read_features_seal
from shared.job.partition.features.wanted import want_features
from tests.integration.faults import steps
from tests.integration.faults.bench import IMAGES, Bench
from tests.support.featured import stored
from tests.support.processes import PATIENCE_SECONDS, wait_until
from workers.search.cascade.finer.embedding_cache import FILE

pytestmark = pytest.mark.timeout(600)


def test_workers_killed_while_they_embed_with_features_lose_and_repeat_nothing(
    bench: Bench, undisturbed: dict[str, str]
) -> None:
    want_features(bench.job)
    chosen = ("before a chunk gets its name", "before the features are written", "before they are marked as whole")
    kills = [steps.FEATURES[name](bench.faults, "kill") for name in chosen]
    bench.ready(
        *(bench.begin_worker("embed", name=f"embed{one}", **steps.SHORT_LEASE) for one in range(len(kills) + 1))
    )
    for kill in kills:
        bench.ask()
        assert bench.at(kill).wait() == -signal.SIGKILL
        assert read_features_seal(bench.job, 0) is None
        bench.free()
    bench.ask()
    bench.sealed_as(undisturbed)  # The embeddings are those of a job without features.
    features = stored(bench.job)
    assert len(features) == IMAGES
    assert None not in features.values()
    assert not [path for path in bench.job.features_files(0)[0].parent.iterdir() if path.name.startswith(".")]


def test_a_coordinator_and_a_worker_killed_while_pairs_are_compared_lose_and_repeat_nothing(
    bench: Bench, undisturbed_job: JobDir
) -> None:
    job = bench.job
    shutil.copytree(undisturbed_job.path, job.path, dirs_exist_ok=True)
    search = ("duplicates", job.path, "--kind", "pixels", "--json")
    kills = [steps.DUPLICATES[name](bench.faults, "kill") for name in ("asked", "compared")]
    bench.ready(
        *(bench.begin_worker("merge", "embed", name=f"both{one}", **steps.SHORT_LEASE) for one in range(2)),
    )
    run = bench.start(*search)
    assert bench.at(kills[0]) is run, "the coordinator, before it writes down what is to be compared"
    assert run.wait() == -signal.SIGKILL
    (neighbours,) = job.duplicates_files("neighbours")
    written = neighbours.stat().st_ino
    again = bench.start(*search)
    assert bench.at(kills[1]).wait() == -signal.SIGKILL, "a worker, before it commits what it compared"
    assert job.duplicates_files("compared") == []
    assert again.wait() == 0, again.output
    assert neighbours.stat().st_ino == written, "the neighbours were not looked for again"
    near = read_neighbours(neighbours)
    assert len(near.ids) == IMAGES
    both = np.stack([np.minimum(near.sources, near.targets), np.maximum(near.sources, near.targets)], axis=1)
    wanted = {tuple(pair) for pair in both.tolist()}
    assert len(wanted) > 10
    rows = [row for path in job.duplicates_files("compared") for row in read_compared(path)[0]]
    done = [tuple(sorted(row.pair)) for row in rows]
    assert len(done) == len(set(done)), "no pair is compared twice"
    assert set(done) == wanted
    assert not any(row.unread for row in rows)
    assert job.duplicates_files("asked") == []
    wait_until(lambda: bench.holder(neighbours_lease(0)) is None, "nobody works on it")
    assert not bench.tracebacks(), bench.tracebacks()[0]


CANDIDATES, BATCH = 30, 8


def test_query_workers_killed_while_a_finer_model_embeds_lose_and_repeat_nothing(
    bench: Bench, undisturbed_job: JobDir, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed_job.path, bench.job.path, dirs_exist_ok=True)
    cache = tmp_path / "cache" / "finer" / FILE
    settings: dict[str, Any] = {
        "LOOKALIKE_FINER_MODEL": "efficientnet-b1",
        "LOOKALIKE_FINER_CANDIDATES": str(CANDIDATES),
        "LOOKALIKE_FINER_SECONDS": str(PATIENCE_SECONDS),
        "LOOKALIKE_BATCH_SIZE": str(BATCH),
        "LOOKALIKE_QUERY_THREADS": "1",
        "LOOKALIKE_CACHE_DIR": str(cache.parents[1]),
    }
    # The query itself goes through both models, and the first batch of candidates is cached before each kill.
    kills = [steps.FINER[name](bench.faults, "kill") for name in ("in the model", "in a commit")]
    calls = bench.faults.on_step("embed_batch", do="sleep")
    with Client(bench.job.path, bench.url) as client:

        def answer() -> Any:
            (reply,) = client.enqueue([bench.photos / "photo_00017.jpg"], 12, finer="efficientnet-b1")
            return reply.answer(PATIENCE_SECONDS)

        before: dict[bytes, tuple[Any, ...]] = {}
        for number, kill in enumerate(kills):
            worker = bench.worker("query", name=f"query{number}", **settings)
            with pytest.raises(WorkerFailed):
                answer()
            assert bench.at(kill) is worker
            assert worker.wait() == -signal.SIGKILL
            rows = rows_of(cache)
            assert len(rows) == BATCH, "what was committed, and nothing of the batch under way"
            assert not before or rows == before
            before = rows
        last = bench.worker("query", name="last", **settings)
        resumed = answer()
        assert calls.pids.count(last.popen.pid) == 2 + 3, "the query by each model, and what is not cached: 22 images"
        rows = rows_of(cache)
        assert len(rows) == CANDIDATES
        assert rows | before == rows
        assert (resumed.refined.compared, resumed.refined.unread) == (CANDIDATES, 0)
        assert [hit.finer for hit in resumed.hits].count(None) == 0

        torn = max(rows)
        with closing(sqlite3.connect(cache)) as database, database:
            database.execute("UPDATE embeddings SET vector = zeroblob(length(vector)) WHERE sha256 = ?", (torn,))
        assert answer().hits == resumed.hits
        assert rows_of(cache) == rows, "the torn row is as it was written"
        assert calls.pids.count(last.popen.pid) == 5 + 1, "that image alone is embedded again"
        cache.unlink()
        assert answer().hits == resumed.hits, "as nothing disturbed it"
        assert rows_of(cache) == rows


def rows_of(cache: Path) -> dict[bytes, tuple[Any, ...]]:
    """What is cached of each image, by its digest: the model, the vector and its checksum."""
    with closing(sqlite3.connect(cache)) as database:
        rows = database.execute("SELECT sha256, model, vector, checksum FROM embeddings").fetchall()
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1:] for row in rows}
