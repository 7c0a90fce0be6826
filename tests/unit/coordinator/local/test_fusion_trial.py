"""The trial of fusion before a job is made: which images it takes, where what was learned goes, and what is refused."""

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.jobs.create import make_or_open
from coordinator.local import fusion_trial
from coordinator.local.fusion_trial import DRAWN, drawn
from shared.errors import CorruptFile, JobMismatch, LookalikeError, ModelError
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.job.opened import OpenJob
from shared.models.fusion import Fusion, FusionTrial
from shared.processes import stage
from shared.settings import Settings
from shared.storage import files
from tests.support.make_job import make_job
from tests.support.onnx_files import WORDS, means_file

FUSED = Settings(fusion="on", partition_size=4)
LEARNED = b"what was learned"
DIGEST = hashlib.sha256(LEARNED).hexdigest()
KEPT = FusionTrial(kept=True, images=70, copies=480, plain=0.5, fused=0.75)
REFUSED = FusionTrial(kept=False, images=9, reason="as it takes more images")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the process was asked; it keeps fusion unless its `trial` is changed here."""
    told: dict[str, Any] = {"trial": KEPT}

    def result_of(module: str, arguments: list[str], said: Callable[[dict[str, Any]], None], **options: Any) -> Any:
        told.update(options, module=module)
        said({"what": "copies", "count": 1_200})
        if not told["trial"].kept:
            return {"trial": told["trial"].to_json()}
        Path(options["request"]["into"]).write_bytes(LEARNED)
        fusion = Fusion(("block5_expand", "head"), 3, told.get("digest", DIGEST))
        return {"trial": told["trial"].to_json(), "fusion": fusion.to_json(), "dim": 48}

    monkeypatch.setattr(stage, "result_of", result_of)
    return told


def photos(folder: Path, count: int = 9) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.jpg").touch()
    return folder


def make(
    tmp_path: Path, settings: Settings = FUSED, told: list[str] | None = None, job: JobDir | None = None
) -> OpenJob:
    source = tmp_path / "photos"
    source = source if source.exists() else photos(source)
    said = (lambda what: None) if told is None else told.append
    return make_or_open(str(source), job or JobDir(tmp_path / "job"), settings, lambda count: None, told=said)


def test_a_job_is_made_with_the_fusion_that_was_learned(asked: dict[str, Any], tmp_path: Path) -> None:
    told: list[str] = []
    made = make(tmp_path, told=told)
    model = load_manifest(made).model
    assert model.fusion == Fusion(("block5_expand", "head"), 3, DIGEST)
    assert (model.dim, made.manifest.fusion) == (48, KEPT)
    assert (made.model_dir / f"fusion_{DIGEST[:16]}.npy").read_bytes() == LEARNED
    assert told == ["Trying fusion …", "Trying fusion … 1,200 copies embedded"]
    request = asked["request"]
    assert asked["module"] == "workers.evaluate.fusion.trial_process"
    assert request["spec"].get("fusion") is None
    assert sorted(Path(image["path"]).name for image in request["images"]) == [f"{n}.jpg" for n in range(9)]
    assert asked["environment"]["LOOKALIKE_FUSION"] == "on"
    assert asked["environment"]["OPENBLAS_NUM_THREADS"] == "1"
    assert request["limits"] == [FUSED.max_image_pixels, FUSED.max_image_bytes]


def test_a_job_in_a_store_has_its_projection_there(asked: dict[str, Any], tmp_path: Path) -> None:
    job = JobDir.at(f"memory://{uuid.uuid4().hex}/job")
    made = make(tmp_path, job=job)
    name = f"fusion_{DIGEST[:16]}.npy"
    assert load_manifest(made).model.files == {name: DIGEST}
    assert files.sha256_of(job.model_dir / name) == DIGEST
    assert asked["request"]["model_dir"] == str(job.model_dir)


def test_one_that_is_not_kept_leaves_the_model_as_it_is(asked: dict[str, Any], tmp_path: Path) -> None:
    asked["trial"] = REFUSED
    made = make(tmp_path)
    assert (made.manifest.model.fusion, made.manifest.model.dim) == (None, 1280)
    assert made.manifest.fusion == REFUSED
    assert not made.model_dir.exists()
    # The same command goes on, though the model is plain.
    assert make(tmp_path).manifest == made.manifest


def test_a_projection_that_did_not_arrive_whole_makes_no_job(asked: dict[str, Any], tmp_path: Path) -> None:
    asked["digest"] = "ab" * 32
    with pytest.raises(ModelError, match="is not what was written: see that its disk has room"):
        make(tmp_path)
    assert not (tmp_path / "job" / "job.json").exists()


def test_a_process_that_fails_makes_no_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise LookalikeError("It ended.")

    monkeypatch.setattr(stage, "result_of", fail)
    with pytest.raises(LookalikeError, match="It ended"):
        make(tmp_path)
    assert not (tmp_path / "job" / "job.json").exists()


def test_a_job_stays_as_it_was_made(asked: dict[str, Any], tmp_path: Path) -> None:
    make(tmp_path)
    # Without a word a fused job goes on fused, also where its model is named.
    assert make(tmp_path, Settings()).manifest.model.fusion is not None
    assert make(tmp_path, Settings(model="efficientnet-lite0")).manifest.model.fusion is not None
    with pytest.raises(JobMismatch, match="was made with fusion, and embeddings of the two can't be compared"):
        make(tmp_path, Settings(fusion="off"))
    with pytest.raises(JobMismatch, match="not with efficientnet-b0"):
        make(tmp_path, Settings(model="efficientnet-b0"))
    (tmp_path / "plain").mkdir()
    photos(tmp_path / "plain" / "photos")
    make(tmp_path / "plain", Settings())
    with pytest.raises(JobMismatch, match="was made without fusion, and embeddings of the two can't be compared"):
        make(tmp_path / "plain")


def test_models_without_levels_are_refused_before_anything_is_listed(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    onnx = FUSED.changed(model=str(means_file(tmp_path / "m.onnx")), model_input=WORDS)
    with pytest.raises(ModelError, match=r"m\.onnx is an ONNX file, which gives one vector"):
        make(tmp_path, onnx)
    monkeypatch.setattr(fusion_trial, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="the packages of a worker are not installed here"):
        make(tmp_path)
    assert not (tmp_path / "job").exists()
    assert "module" not in asked


def test_the_images_are_drawn_over_all_partitions_and_the_same_again(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", listed=1_000, partition_size=70, sealed=[]).job
    found = drawn(job, 1_000, 70)
    assert found == drawn(job, 1_000, 70)
    ids = [int(location.path.removesuffix(".jpg")[-7:]) for location in found]
    assert len(set(ids)) == DRAWN
    assert ids != sorted(ids)
    assert set(np.array(ids) // 70) == set(range(15))
    few = make_job(tmp_path / "few", listed=5, partition_size=3, sealed=[]).job
    assert len({location.path for location in drawn(few, 5, 3)}) == 5


def test_a_damaged_path_list_is_said(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", listed=10, sealed=[]).job
    job.paths(0).write_bytes(b"")
    with pytest.raises(CorruptFile):
        drawn(job, 10, 25)
