"""The fault layer: each fault shows in a child process that knows nothing of it, and ends when it is lifted."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.faults.faults import Fault, Faults
from tests.support.processes import PATIENCE_SECONDS, Process, environment, wait_until

# Each does one operation on the folder that it is given, as a user of that operation would.
OPERATIONS = {
    "open-read": "open(f'{d}/full').close()",
    "open-write": "open(f'{d}/new', 'w').close()",
    "read": "open(f'{d}/full', 'rb').read()",
    "write": "open(f'{d}/new', 'wb').write(b'0123456789')",
    "link": "os.link(f'{d}/full', f'{d}/linked')",
    "replace": "os.rename(f'{d}/full', f'{d}/moved')",
    "listdir": "list(pathlib.Path(d).iterdir()); os.listdir(d)",
    "fsync": "os.fsync(os.open(f'{d}/full', os.O_RDONLY))",
    "unlink": "pathlib.Path(f'{d}/full').unlink()",
    "mkdir": "os.makedirs(f'{d}/made/in')",
    "stat": "os.path.getsize(f'{d}/full')",
}


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path / "faults")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "full").write_bytes(b"0123456789")
    return folder


def command(folder: Path, code: str) -> list[str]:
    return [sys.executable, "-c", f"import os, pathlib, shutil, sys\nd = {str(folder)!r}\n{code}"]


def child(faults: Faults, folder: Path, code: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(folder, code),
        env=environment() | faults.environment(**options),  # type: ignore[arg-type]
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def watched(faults: Faults, folder: Path, code: str, tmp_path: Path) -> Process:
    return Process(command(folder, code), tmp_path / "log", environment() | faults.environment())


@pytest.mark.parametrize("op", OPERATIONS)
def test_an_operation_fails_with_the_error_that_was_asked_for_and_a_lifted_fault_does_not(
    op: str, faults: Faults, folder: Path
) -> None:
    fault = faults.on_file(op, f"{folder}*", error="ESTALE")
    done = child(faults, folder, OPERATIONS[op])
    assert "Stale file handle" in done.stderr
    assert done.returncode == 1
    assert fault.reached == 1


def test_operations_on_other_paths_and_of_lifted_faults_are_left_alone(faults: Faults, folder: Path) -> None:
    others = [faults.on_file(op, f"{folder}/nothing/*") for op in OPERATIONS]
    lifted = [faults.on_file(op, f"{folder}*") for op in OPERATIONS]
    for fault in lifted:
        fault.lift()
    again = "open(f'{d}/full', 'wb').write(b'0123456789')"  # After the operation that moves it away.
    done = child(faults, folder, "\n".join(line for code in OPERATIONS.values() for line in (again, code)))
    assert (done.returncode, done.stderr) == (0, "")
    assert [fault.reached for fault in others + lifted] == [0] * 2 * len(OPERATIONS)


@pytest.mark.parametrize(("do", "number"), [("kill", signal.SIGKILL), ("abort", signal.SIGABRT)])
def test_a_process_dies_at_the_operation(do: str, number: int, faults: Faults, folder: Path) -> None:
    fault = faults.on_file("fsync", f"{folder}/full", do=do)
    assert child(faults, folder, OPERATIONS["fsync"]).returncode == -number
    assert fault.reached == 1


def test_a_process_waits_at_the_operation_until_the_fault_is_lifted(
    faults: Faults, folder: Path, tmp_path: Path
) -> None:
    fault = faults.on_file("replace", f"{folder}/moved", do="wait")
    process = watched(faults, folder, OPERATIONS["replace"], tmp_path)
    try:
        wait_until(lambda: fault.reached, "the process is at the rename")
        assert fault.pids == [process.popen.pid]
        assert (folder / "full").exists()
        fault.lift()
        assert process.wait() == 0, process.output
        assert (folder / "moved").exists()
    finally:
        process.stop()


def test_a_rule_that_is_made_while_a_process_runs_is_seen_by_it(faults: Faults, folder: Path, tmp_path: Path) -> None:
    process = watched(faults, folder, "while True: os.stat(f'{d}/full')", tmp_path)
    try:
        first = faults.on_file("stat", f"{folder}/full", do="wait")
        wait_until(lambda: first.reached, "the process stands at the first rule")
        faults.on_file("stat", f"{folder}/full", do="kill")
        first.lift()
        assert process.wait() == -signal.SIGKILL
    finally:
        process.stop()


def test_a_fault_that_sleeps_only_takes_its_time(faults: Faults, folder: Path) -> None:
    faults.on_file("stat", f"{folder}/full", do="sleep", seconds=0.3)
    started = time.monotonic()
    assert child(faults, folder, OPERATIONS["stat"]).returncode == 0
    assert time.monotonic() - started > 0.3


def test_half_of_a_write_reaches_the_disk(faults: Faults, folder: Path) -> None:
    faults.on_file("write", "*/new", do="half", error="ENOSPC")
    done = child(faults, folder, OPERATIONS["write"])
    assert "No space left on device" in done.stderr
    assert (folder / "new").read_bytes() == b"01234"


@pytest.mark.parametrize(("op", "name"), [("link", "linked"), ("replace", "moved")])
def test_a_copy_instead_of_a_rename_shows_half_a_file_for_a_while(
    op: str, name: str, faults: Faults, folder: Path, tmp_path: Path
) -> None:
    faults.on_file(op, f"{folder}/*", do="copy", seconds=5)
    process = watched(faults, folder, OPERATIONS[op], tmp_path)
    try:
        target = folder / name
        wait_until(lambda: target.exists() and target.read_bytes() == b"01234", "half of it is there")
        assert process.wait() == 0, process.output
        assert target.read_bytes() == b"0123456789"
        assert (folder / "full").exists() == (op == "link")
    finally:
        process.stop()


def test_a_listing_that_lags_hides_what_is_new(faults: Faults, folder: Path) -> None:
    faults.on_file("listdir", str(folder), do="lag", seconds=60)
    code = "print(sorted(os.listdir(d)), sorted(e.name for e in os.scandir(d)), os.path.exists(f'{d}/full'))"
    assert child(faults, folder, code).stdout == "[] [] True\n"


def test_a_fault_passes_the_first_matches_and_happens_so_often_over_all_processes(faults: Faults, folder: Path) -> None:
    fault = faults.on_file("stat", f"{folder}/full", after=1, times=2)
    results = [child(faults, folder, OPERATIONS["stat"]).returncode for _ in range(4)]
    assert results == [0, 1, 1, 0]
    assert fault.reached == 2


STEP = "from shared.processes.failpoints import failpoint; failpoint('commit_chunk')"


@pytest.mark.parametrize(("error", "said"), [("ENOSPC", "No space left on device"), ("MemoryError", "MemoryError: a")])
def test_a_step_of_the_product_fails_with_the_error_that_was_asked_for_and_others_do_not(
    error: str, said: str, faults: Faults, folder: Path
) -> None:
    other = faults.on_step("promote_build")
    fault = faults.on_step("commit_chunk", error=error)
    assert said in child(faults, folder, STEP).stderr
    assert (fault.reached, other.reached) == (1, 0)
    fault.lift()
    done = child(faults, folder, STEP)
    assert (done.returncode, done.stderr, fault.reached) == (0, "", 1)


@pytest.mark.parametrize(("do", "number"), [("kill", signal.SIGKILL), ("abort", signal.SIGABRT)])
def test_a_process_dies_at_the_step_as_often_as_was_asked_for(
    do: str, number: int, faults: Faults, folder: Path
) -> None:
    fault = faults.on_step("commit_chunk", do=do, after=1, times=1)
    assert [child(faults, folder, STEP).returncode for _ in range(3)] == [0, -number, 0]
    assert fault.reached == 1


@pytest.mark.parametrize("do", ["wait", "freeze"])
def test_a_process_stands_at_the_step_until_it_may_go_on(do: str, faults: Faults, folder: Path, tmp_path: Path) -> None:
    process = watched(faults, folder, f"open(f'{{d}}/ready', 'w').close()\nwhile True: {STEP}", tmp_path)
    try:
        wait_until((folder / "ready").exists, "the process is at work")
        fault = faults.on_step("commit_chunk", do=do, times=1)
        wait_until(lambda: fault.reached, "the process stands at the step")
        if do == "freeze":
            wait_until(lambda: " T" in state_of(process), "it is frozen")
            process.kill(signal.SIGCONT)
        faults.on_step("commit_chunk", do="kill")
        fault.lift()
        assert process.wait() == -signal.SIGKILL, process.output
    finally:
        process.stop()


def state_of(process: Process) -> str:
    found = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process.popen.pid)], capture_output=True, text=True, check=True
    )
    return f" {found.stdout.strip()}"


def test_a_step_of_a_process_that_nobody_asked_for_faults_costs_nothing_and_does_nothing(
    faults: Faults, folder: Path
) -> None:
    fault = faults.on_step("commit_chunk", do="kill")
    done = subprocess.run(command(folder, STEP), cwd=Path(__file__).parents[3], env=environment(), check=False)
    assert (done.returncode, fault.reached) == (0, 0)


def test_a_step_that_the_product_does_not_name_is_refused(faults: Faults) -> None:
    with pytest.raises(ValueError, match="There is no fault 'kill' of the step 'comit_chunk'"):
        faults.on_step("comit_chunk", do="kill")


def test_an_unfaulted_process_is_as_it_would_be_without_the_layer(faults: Faults, folder: Path) -> None:
    code = """
import json, tempfile
with tempfile.TemporaryDirectory() as made:
    os.makedirs(f'{made}/a/b'); open(f'{made}/a/b/c', 'w').write('text')
    seen = sorted(str(path.relative_to(made)) for path in pathlib.Path(made).rglob('*'))
    shutil.copytree(f'{made}/a', f'{made}/z'); shutil.rmtree(f'{made}/a')
    print(json.dumps([seen, os.listdir(made), shutil.rmtree.avoids_symlink_attacks, os.open in os.supports_dir_fd,
        os.path.exists(f'{made}/z/b/c'), open(f'{made}/z/b/c').readlines(), open.__name__]))
"""
    with_layer = child(faults, folder, code)
    without = subprocess.run(command(folder, code), capture_output=True, text=True, check=False, env=environment())
    assert json.loads(without.stdout)[2:4] == [True, True]
    assert (with_layer.stdout, with_layer.stderr) == (without.stdout, without.stderr)


LIGHT = """
import hashlib
import numpy as np
from workers.models.embedder import load_embedder
from shared.models import resolve_model
embedder = load_embedder(resolve_model("efficientnet-lite0"), pathlib.Path(d))
images = np.random.default_rng(0).integers(0, 256, (20, 224, 224, 3), dtype=np.uint8)
together = embedder.embed(images)
assert (together == np.concatenate([embedder.embed(images[i : i + 3]) for i in range(0, 20, 3)])).all()
cosines = together @ together.T
assert cosines[~np.eye(20, dtype=bool)].max() < 0.9
assert "tensorflow" not in sys.modules
print(embedder.fingerprint, embedder.batch_size, together.dtype, hashlib.sha256(together.tobytes()).hexdigest())
"""


def test_the_light_models_bytes_depend_on_the_image_alone_and_noise_makes_others(faults: Faults, folder: Path) -> None:
    plain = [child(faults, folder, LIGHT, light=True).stdout.split() for _ in range(2)]
    noisy = [child(faults, folder, LIGHT, light=True, noise=1e-3).stdout.split() for _ in range(2)]
    assert plain[0] == plain[1]
    assert plain[0][1:3] == ["8", "float32"]
    assert noisy[0][:3] == noisy[1][:3] == plain[0][:3]
    assert len({plain[0][3], noisy[0][3], noisy[1][3]}) == 3


def test_another_version_computes_another_fingerprint_or_speaks_another_message_version(
    faults: Faults, folder: Path
) -> None:
    code = "from shared.messages import tasks as messages; from shared import models\n"
    code += "print(models.resolve_model('efficientnet-b0').fingerprint)\n"
    code += "print(messages.MergeJob('job').to_json()['version'])"
    own = child(faults, folder, code).stdout.split()
    other = child(faults, folder, code, fingerprint_of_another=True, message_version=7).stdout.split()
    assert own[0] != other[0]
    assert (own[1], other[1]) == ("1", "7")


@pytest.mark.parametrize(("op", "do"), [("stat", "half"), ("read", "copy"), ("move", "error"), ("listdir", "nothing")])
def test_a_fault_that_can_not_be_is_refused(op: str, do: str, faults: Faults) -> None:
    with pytest.raises(ValueError, match="There is no fault"):
        faults.on_file(op, "*", do=do)


def test_a_fault_that_nobody_met_was_reached_by_nobody(faults: Faults) -> None:
    fault = faults.on_step("commit_chunk")
    assert isinstance(fault, Fault)
    assert (fault.reached, fault.pids) == (0, [])
