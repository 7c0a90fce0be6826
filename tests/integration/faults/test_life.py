"""The life of a job that grows and forgets, while its commands are killed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment

REPOSITORY = Path(__file__).parents[3]

pytestmark = pytest.mark.timeout(900)


def test_a_job_whose_commands_are_killed_ends_as_the_undisturbed_one_and_as_one_made_at_once(tmp_path: Path) -> None:
    out = tmp_path / "life.json"
    command = [sys.executable, "-m", "benchmarks.life", "--turns", "10", "--images", "40", "--out", str(out)]
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
    assert len(results["turns"]) == 10
    assert sum(len(turn["kills"]) for turn in results["turns"]) >= 5
    assert "made at once of what was left: 0." in done.stdout
