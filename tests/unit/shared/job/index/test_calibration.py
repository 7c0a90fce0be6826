"""What a build measured comes back as it was written, and nothing else is taken for it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.errors import CorruptFile
from shared.job.index.calibration import (
    CALIBRATION_FILE,
    JOB,
    UNALTERED,
    UNMEASURED,
    Calibration,
    VerdictRow,
    VerdictsMeasured,
    calibration_of,
    read_calibration,
    write_calibration,
)
from tests.support.builds import build
from tests.support.make_job import MadeJob, make_job

BUILD = "0001-ab12cd34"
ROWS = [VerdictRow(UNALTERED, 8, 8, 0, 0, 0, 0, 0), VerdictRow("flip", 8, 0, 5, 2, 0, 1, 24)]


@pytest.fixture
def made(tmp_path: Path) -> MadeJob:
    made = make_job(tmp_path / "job")
    build(made.job, BUILD)
    return made


def calibration(made: MadeJob) -> Calibration:
    return Calibration(
        build=BUILD, fingerprint=made.job.manifest.model.fingerprint, measured=JOB, images=300, copies=288,
        originals=48, curve=((0.5, 0.001), (6.0, 0.2), (6.0, 0.3), (20.0, 0.98)), bound=5.5, nothing_there=0.01,
        nothing_absent=0.6, missed=0.06, verdicts=VerdictsMeasured(ROWS, 8, unclear=1),
    )  # fmt: skip


def test_what_was_measured_is_read_as_it_was_written(made: MadeJob) -> None:
    found = calibration(made)
    write_calibration(made.job, found)
    assert read_calibration(made.job, BUILD, found.fingerprint) == found
    assert found.verdicts.text == "verdicts: 7 of 8 copies proven, 1 falsely"
    assert (found.verdicts.copies, found.verdicts.strangers) == (8, 24)


def test_a_build_of_before_says_that_nothing_was_measured(made: MadeJob) -> None:
    found = read_calibration(made.job, BUILD, "made-up@0")
    assert (found.measured, found.reason, found.verdicts.text) == ("", UNMEASURED, "")


def changed(how: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        table = json.loads(data)
        how(table)
        return json.dumps(table).encode() + b"\n"

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2] + b"\n",
        lambda data: b"[]\n",
        changed(lambda table: table["calibration"].update(bound=0.5)),
        changed(lambda table: table["calibration"]["curve"].reverse()),
        changed(lambda table: table.pop("sha256")),
    ],
    ids=["cut", "of another kind", "a number", "the curve", "no checksum"],
)
def test_a_damaged_file_is_said_and_nobody_needs_it(made: MadeJob, damage: Callable[[bytes], bytes]) -> None:
    write_calibration(made.job, calibration(made))
    path = made.job.build_dir(BUILD) / CALIBRATION_FILE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptFile, match="does not hold what was measured"):
        read_calibration(made.job, BUILD, calibration(made).fingerprint)
    info = replace(build(made.job, "0002-ab12cd34"), build=BUILD)
    assert "does not hold what was measured" in calibration_of(made.job, info).reason


@pytest.mark.parametrize("other", [{"build": "0002-ab12cd34"}, {"fingerprint": "other@1"}])
def test_what_another_build_or_model_measured_is_not_taken_for_this_ones(made: MadeJob, other: dict[str, Any]) -> None:
    found = calibration(made)
    made.job.build_dir("0002-ab12cd34").mkdir()
    write_calibration(made.job, replace(found, **other))
    written = made.job.build_dir(other.get("build", BUILD)) / CALIBRATION_FILE
    written.replace(made.job.build_dir(BUILD) / CALIBRATION_FILE)
    with pytest.raises(CorruptFile, match="it is of the build"):
        read_calibration(made.job, BUILD, found.fingerprint)


@pytest.mark.parametrize(
    "values",
    [{"curve": ((1.0, 0.5), (2.0, 0.4))}, {"curve": ((1.0, 1.5),)}, {"missed": 2.0}, {"curve": ()}],
    ids=["falls", "over 1", "a share over 1", "none"],
)
def test_what_no_measurement_says_is_damage_whatever_its_checksum(made: MadeJob, values: dict[str, Any]) -> None:
    write_calibration(made.job, replace(calibration(made), **values))
    with pytest.raises(CorruptFile):
        read_calibration(made.job, BUILD, calibration(made).fingerprint)


def test_a_newer_version_of_the_file_is_passed_over(made: MadeJob) -> None:
    write_calibration(made.job, calibration(made))
    path = made.job.build_dir(BUILD) / CALIBRATION_FILE
    path.write_bytes(changed(lambda table: table.update(version=2))(path.read_bytes()))
    assert "another version" in read_calibration(made.job, BUILD, calibration(made).fingerprint).reason
