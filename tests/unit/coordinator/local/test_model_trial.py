"""The model of a new job: an ONNX file is tried in a process of its own, any other is as the settings say."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.local import model_trial
from coordinator.local.model_trial import asked_model, tried
from shared.errors import ModelError
from shared.models import resolve_model
from shared.processes import stage
from shared.settings import Settings
from tests.support.onnx_files import WORDS, changed, means_file


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(model=str(means_file(tmp_path / "m.onnx")), model_input=WORDS)


def test_what_the_settings_say_goes_into_the_model(settings: Settings, tmp_path: Path) -> None:
    means_file(tmp_path / "m.onnx", outputs=["map", "vector"])
    spec = asked_model(settings.changed(model_output="map pool=gem", precision="bf16", decode="strict"))
    assert (spec.input, spec.output) == (f"32 NCHW {WORDS}", "map pool=gem")
    assert (spec.precision, spec.decode) == ("bf16", "strict")
    assert asked_model(Settings()) == resolve_model("efficientnet-lite0")


@pytest.mark.parametrize("name", ["s3://bucket/m.onnx", "gs://bucket/m.keras"])
def test_a_file_in_a_store_is_to_be_downloaded(name: str) -> None:
    with pytest.raises(ModelError, match=r"is in a store: download it"):
        asked_model(Settings(model=name))


@pytest.mark.slow
def test_the_dimensions_that_were_found_go_into_the_model(settings: Settings, tmp_path: Path) -> None:
    changed(tmp_path / "m.onnx", lambda model: model.graph.output[0].type.tensor_type.ClearField("shape"))
    spec = asked_model(settings)
    assert tried(spec, settings) == replace(spec, dim=12)
    with pytest.raises(ModelError, match="Keras can't"):
        tried(spec, settings.changed(engine="keras"))


def test_others_and_where_there_is_no_openvino_nothing_is_started(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "result_of", lambda *_, **__: pytest.fail("a process was started"))
    lite0 = asked_model(Settings())
    assert tried(lite0, Settings()) == lite0
    monkeypatch.setattr(model_trial, "find_spec", lambda name: None)
    assert tried(asked_model(settings), settings).dim == 12


def test_the_process_gets_the_settings_and_a_path_for_any_directory(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def result_of(module: str, *_: Any, **options: Any) -> dict[str, Any]:
        asked.update(options, module=module)
        return {"dim": 12, "pictures": 8}

    monkeypatch.setattr(stage, "result_of", result_of)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"LOOKALIKE_ENGINE": "keras", "HOME": "/home/me"})
    tried(asked_model(settings), settings.changed(model="m.onnx", broker_url="redis://:secret@host"))
    assert asked["module"] == "workers.models.onnx.trial_process"
    assert asked["request"]["file"] == str(tmp_path / "m.onnx")
    assert asked["environment"]["LOOKALIKE_ENGINE"] == "auto"
    assert not any("secret" in value for value in asked["environment"].values())
