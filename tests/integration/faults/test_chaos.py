"""A round of the chaos harness, one that failed once: the promise holds under random faults, several at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment

REPOSITORY = Path(__file__).parents[3]

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize(
    ("which", "rounds"),
    [
        # A broker killed soon after its connections were cut: kombu's farewell over the lost one ended a worker.
        (["--round", "7", "--seed", "1"], [7]),
    ],
)
def test_rounds_of_random_faults_break_no_promise(tmp_path: Path, which: list[str], rounds: list[int]) -> None:
    out = tmp_path / "chaos.json"
    command = [sys.executable, "-m", "benchmarks.chaos", "--quick", "--images", "300", *which, "--out", str(out)]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(out.read_text())
    assert results["summary"]["mismatches"] == 0
    assert results["summary"]["chunks_rewritten"] == 0
    assert [played["round"] for played in results["rounds"]] == rounds
    assert all(played["faults"] for played in results["rounds"])
    assert "| rounds " in done.stdout
    assert "recovery p50" in done.stdout
    assert not list(tmp_path.glob("lookalike-chaos-*")), "a run without a mismatch leaves nothing behind"
