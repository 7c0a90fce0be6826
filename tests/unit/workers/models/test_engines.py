"""The engine is chosen by what is installed and plugged in, the log says which, and some choices are refused."""

import logging
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from shared.errors import EngineError, ModelError
from shared.models import ModelSpec, resolve_model
from workers.models import engines, exports

SPEC = resolve_model("efficientnet-lite0")
ALMOST = resolve_model("efficientnet-lite0", precision="bf16")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """A machine with a CPU alone, whose devices are the files of the directory that this gives."""
    caplog.set_level(logging.INFO, "lookalike.worker")
    monkeypatch.setattr(engines, "DEVICES", tmp_path)
    monkeypatch.setattr(engines, "distributions", lambda name: iter([]))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    keras_builds(monkeypatch, lambda *_: "keras")
    return tmp_path


def keras_builds(monkeypatch: pytest.MonkeyPatch, build: Callable[..., Any]) -> None:
    """Has `build` in the place of what builds models in Keras, without the seconds that TensorFlow takes to load."""
    module_that_builds(monkeypatch, "workers.models.keras_backbone", build)


def module_that_builds(monkeypatch: pytest.MonkeyPatch, name: str, build: Callable[..., Any]) -> None:
    module: Any = ModuleType(name)
    module.build = build
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model has its export, and OpenVINO runs it."""
    monkeypatch.setattr(exports, "find_or_make", lambda *_: Path("model.xml"))
    module_that_builds(monkeypatch, "workers.models.openvino_backbone", lambda *_: "openvino")


def run_by(engine: str, spec: ModelSpec = SPEC) -> Any:
    return engines.builder(engine, None)(spec, None, None)


@pytest.mark.usefixtures("openvino")
def test_on_a_cpu_it_is_openvino_unless_keras_was_asked_for() -> None:
    assert (run_by("auto"), run_by("openvino"), run_by("keras")) == ("openvino", "openvino", "keras")


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("device", ["nvidia0", "dxg"])
def test_where_a_gpu_is_it_is_keras(device: str, machine: Path, caplog: pytest.LogCaptureFixture) -> None:
    (machine / device).touch()
    assert (run_by("auto"), run_by("openvino")) == ("keras", "openvino")
    assert "Keras runs the model: a GPU is here" in caplog.text


@pytest.mark.usefixtures("openvino")
def test_a_gpu_that_the_installed_tensorflow_can_not_use_is_left_and_named(
    machine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engines, "distributions", lambda name: iter([name] if name == "tensorflow-cpu" else []))
    assert run_by("auto") == "openvino"
    assert "A GPU" not in caplog.text
    (machine / "nvidia0").touch()
    assert (run_by("auto"), run_by("keras")) == ("openvino", "keras")
    assert "A GPU is here, and TensorFlow is installed for CPUs alone: pip install 'lookalike[gpu]'." in caplog.text


def test_the_build_for_cpus_is_told_by_its_name(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "nvidia0").touch()
    monkeypatch.setattr(engines, "distributions", distributions)  # What is installed here.
    installed = {canonicalize_name(found.name) for found in distributions()}
    assert (engines.against_openvino() == "") == ("tensorflow-cpu" in installed)


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_is_hidden_from_us_does_not_count(
    hidden: str, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "nvidia0").touch()
    (machine / "nvidiactl").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert run_by("auto") == "openvino"


@pytest.mark.usefixtures("openvino")
def test_who_chose_a_backend_of_keras_gets_keras(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert run_by("auto") == "keras"
    assert "KERAS_BACKEND is jax" in caplog.text


def test_where_openvino_is_missing_keras_serves_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert run_by("auto") == "keras"
    assert "Keras runs the model: OpenVINO is not installed: pip install 'lookalike[worker]'." in caplog.text
    with pytest.raises(EngineError, match=r"not installed: pip install 'lookalike\[worker\]'"):
        run_by("openvino")


def test_what_openvino_can_not_run_is_run_by_keras(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> Path:
        raise EngineError("OpenVINO gives other features.")

    monkeypatch.setattr(exports, "find_or_make", refuse)
    assert run_by("auto") == "keras"
    assert "Keras runs the model: OpenVINO gives other features." in caplog.text
    with pytest.raises(EngineError, match="other features"):
        run_by("openvino")


def test_a_model_that_keras_can_not_build_is_not_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Path:
        raise ModelError("x.h5 does not hold the weights.")

    monkeypatch.setattr(exports, "find_or_make", refuse)
    keras_builds(monkeypatch, lambda *_: pytest.fail("it was built again"))
    with pytest.raises(ModelError, match=r"x\.h5"):
        run_by("auto")


def test_a_cpu_without_bfloat16_computes_in_float32_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from workers.models import openvino_backbone

    asked: list[str] = []

    def backbone(export: Path, image_size: int, batch_size: int | None, precision: str) -> Any:
        asked.append(precision)
        return SimpleNamespace(batch_size=8)

    monkeypatch.setattr(openvino_backbone, "OpenVinoBackbone", backbone)
    for known in (["FP32"], ["FP32", "BF16", "FP16"]):
        monkeypatch.setattr(openvino_backbone, "capabilities", lambda known=known: known)
        for spec in (SPEC, ALMOST, resolve_model("efficientnet-lite0", precision="f16")):
            openvino_backbone.build(spec, Path("model.xml"), None)
    assert asked == ["f32", "f32", "f32", "f32", "bf16", "f32"]
    assert caplog.text.count("does not compute in bf16 on a CPU like this") == 1
    assert caplog.text.count("does not compute in f16 on a CPU like this") == 2
