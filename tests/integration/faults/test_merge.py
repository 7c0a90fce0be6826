"""When a merge is killed at any step, CURRENT names a whole build at every moment, and the next merge finishes."""

import shutil
import signal

import pytest

from shared.broker.lease import MERGE as MERGE_LEASE
from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.job.index import builds
from tests.integration.faults import steps
from tests.integration.faults.bench import Bench, bytes_of

pytestmark = pytest.mark.timeout(600)


def test_merges_killed_at_each_step_one_after_another_leave_current_whole_and_the_next_ends_it(
    bench: Bench, undisturbed_job: JobDir, undisturbed: dict[str, str]
) -> None:
    shutil.copytree(undisturbed_job.path, bench.job.path, dirs_exist_ok=True)
    earlier = bench.promoted()
    assert earlier is not None
    # It covers other embeddings, as when a partition was repaired since: the next merge must replace it.
    info = builds.read_info(bench.job, earlier)
    table = info.to_json() | {"ledger_digest": "0" * 64}
    builds.write_info(bench.job, builds.IndexInfo(**{key: table[key] for key in table if key != "bytes"}))
    kills = [step(bench.faults, "kill") for step in steps.MERGE.values()]
    merges = [
        bench.begin_worker("merge", name=f"merge{number}", **steps.SHORT_LEASE) for number in range(len(kills) + 1)
    ]
    bench.ready(*merges)
    for kill in kills:
        bench.ask_merge()
        assert bench.at(kill).wait() == -signal.SIGKILL
        bench.drop_messages()
        assert bench.promoted() == earlier
        bench.free(MERGE_LEASE)
    bench.ask_merge()
    bench.until(lambda: bench.promoted() != earlier, "the index is promoted")
    bench.free(MERGE_LEASE)
    for build in builds.build_names(bench.job):
        builds.check_files(bench.job, builds.read_info(bench.job, build), checksums=True)
    assert not list(bench.job.index_dir.rglob("*.tmp"))
    assert bytes_of(bench.job) == undisturbed
    assert not bench.tracebacks(), bench.tracebacks()[0]


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_merge_whose_disk_refuses_to_replace_current_is_done_again_by_the_next(
    step: str, bench: Bench, undisturbed_job: JobDir
) -> None:
    shutil.copytree(undisturbed_job.path, bench.job.path, dirs_exist_ok=True)
    shutil.rmtree(bench.job.index_dir)
    refused = bench.faults.on_file(step, "*CURRENT*", error="EIO")
    first, second = bench.ready(bench.begin_worker("merge", name="first"), bench.begin_worker("merge", name="second"))
    bench.ask_merge()
    bench.reached(refused)
    assert bench.promoted() is None
    bench.until(lambda: "Input/output error" in first.output + second.output, "the log says why")
    refused.lift()
    bench.ask_merge()
    bench.until(bench.promoted, "the index is promoted")
    assert not bench.tracebacks(), bench.tracebacks()[0]


def test_a_current_that_was_cut_short_is_never_taken_for_a_build(bench: Bench, undisturbed_job: JobDir) -> None:
    shutil.copytree(undisturbed_job.path, bench.job.path, dirs_exist_ok=True)
    build = bench.promoted()
    assert build is not None
    bench.job.current.write_text(build[:-3])
    with pytest.raises(CorruptFile, match=r"holds .* which is no build"):
        bench.promoted()
    bench.worker("merge")
    bench.ask_merge()
    bench.until(lambda: bench.job.current.read_text().strip() != build[:-3], "CURRENT is replaced")
    assert bench.promoted()
