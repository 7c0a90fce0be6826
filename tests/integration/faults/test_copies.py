"""Workers killed while they store what tells copies apart, and while they look for duplicates: nothing is lost, nothing
is done twice."""

import shutil
import signal

import numpy as np
import pytest

from shared.broker.lease import neighbours_lease
from shared.job.directory import JobDir
from shared.job.index.duplicates.compared import read_compared
from shared.job.index.duplicates.neighbours import read_neighbours
from shared.job.partition.features.marker import read_features_seal
from shared.job.partition.features.wanted import want_features
from tests.integration.faults import steps
from tests.integration.faults.bench import IMAGES, Bench
from tests.support.featured import stored
from tests.support.processes import wait_until

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
