"""Fusion in the description of a model: in the fingerprint, in the manifest, and refused where it can't be."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.errors import CorruptFile, ModelError
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest, write_manifest
from shared.models import MODEL_NAMES, ModelSpec, resolve_model
from shared.models.fusion import Fusion, FusionTrial, known_levels
from shared.models.imported import imported_model
from tests.support.make_job import make_job
from tests.support.onnx_files import WORDS, means_file

DIGEST = "ab" * 32
FUSION = Fusion(("block5_expand", "head"), 3, DIGEST)
KEPT = FusionTrial(kept=True, images=512, copies=720, plain=0.8215, fused=0.8791)


def spec(fusion: Fusion | None = FUSION) -> ModelSpec:
    return replace(resolve_model("efficientnet-lite0"), dim=512, fusion=fusion)


def test_a_fused_model_comes_back_from_its_json() -> None:
    table = json.loads(json.dumps(spec().to_json()))
    assert table["fusion"] == {"levels": ["block5_expand", "head"], "power": 3, "projection_sha256": DIGEST}
    assert ModelSpec.from_json(table) == spec()
    assert "fusion" not in spec(None).to_json()


def test_all_that_changes_an_embedding_is_in_the_fingerprint() -> None:
    others = [
        None,
        replace(FUSION, levels=("head", "block5_expand")),
        replace(FUSION, power=1),
        replace(FUSION, projection_sha256="cd" * 32),
        FUSION.unprojected,
    ]
    found = {spec(fusion).fingerprint for fusion in (FUSION, *others)}
    assert len(found) == len(others) + 1
    assert spec(None).fingerprint == resolve_model("efficientnet-lite0").fingerprint


def test_the_files_of_a_model_are_its_weights_and_its_projection() -> None:
    assert spec(None).files == {}
    assert spec(FUSION.unprojected).files == {}
    own = replace(spec(), weights="file", weights_file="mine.h5", weights_sha256="ef" * 32)
    assert own.files == {"mine.h5": "ef" * 32, f"fusion_{DIGEST[:16]}.npy": DIGEST}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"levels": []}, "names that differ"),
        ({"levels": ["head", "head"]}, "names that differ"),
        ({"levels": ["head", 3]}, "names that differ"),
        ({"levels": "head"}, "expected a list"),
        ({"power": 0}, "expected 1 to 16"),
        ({"power": 3.0}, "expected 1 to 16"),
        ({"power": True}, "expected 1 to 16"),
        ({"projection_sha256": "AB" * 32}, "64 hex digits"),
        ({"projection_sha256": 7}, "64 hex digits"),
        ({"more": 1}, "expected levels, power and a projection"),
    ],
)
def test_what_is_no_fusion_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        ModelSpec.from_json(spec().to_json() | {"fusion": FUSION.to_json() | change})


def test_models_without_levels_have_none(tmp_path: Path) -> None:
    onnx = resolve_model(str(means_file(tmp_path / "m.onnx")), model_input=WORDS)
    for model in (onnx, imported_model("mine", 8)):
        with pytest.raises(ModelError, match="has none in reach"):
            replace(model, fusion=FUSION)


def test_the_levels_of_every_named_model_are_known() -> None:
    for name in MODEL_NAMES:
        assert len(known_levels(name) or ()) == 3
    assert known_levels("custom") is None


def test_a_trial_says_what_was_measured_and_what_came_of_it() -> None:
    assert str(KEPT) == (
        "Fusion: the original of an altered copy is found first in 87.9 % against 82.2 % of 720 copies, among 512 "
        "images: kept"
    )
    assert str(replace(KEPT, kept=False, reason="as that is no gain")).endswith("images: not kept, as that is no gain")
    nothing = FusionTrial(kept=False, images=3, reason="as it takes more")
    assert str(nothing) == "Fusion: not measured, as it takes more: not kept"


@pytest.mark.parametrize(
    "change",
    [
        {"kept": 1},
        {"images": 1.5},
        {"plain": None},
        {"plain": None, "fused": None},
        {"fused": 1.5},
        {"fused": 1},
        {"reason": None},
        {"more": 1},
    ],
)
def test_what_is_no_trial_makes_a_manifest_a_damaged_one(change: dict[str, Any], tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", sealed=[]).job
    write_manifest(made, replace(made.manifest, model=spec(), fusion=KEPT))
    assert load_manifest(made) == replace(made.manifest, model=spec(), fusion=KEPT)
    table = json.loads(made.spec.read_text())
    made.spec.write_text(json.dumps(table | {"fusion": table["fusion"] | change}))
    with pytest.raises(CorruptFile, match="is not a whole manifest"):
        load_manifest(JobDir(made.path))
