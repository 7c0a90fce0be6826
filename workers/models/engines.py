"""Choose the engine that runs a model here: OpenVINO from an export or an ONNX file, or Keras itself."""

import logging
import os
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from shared.errors import EngineError, ModelError
from shared.errors.remedy import left_out
from shared.models import ModelSpec
from workers.models import exports
from workers.models.backbone import Backbone, Builder

log = logging.getLogger("lookalike.worker")

FAMILIES = ("efficientnet", "efficientnetv2", "custom", "onnx")
"""The families of models that an engine runs: the beginning of a name, up to the first hyphen."""

DEVICES = Path("/dev")
_NO_DEVICES = ("", "-1")


def builder(engine: str, cache_dir: Path | None) -> Builder:
    """The builder of a model of FAMILIES for `engine`: auto, openvino or keras; exports are under `cache_dir`.

    "auto" takes OpenVINO on a CPU, and Keras if OpenVINO is not installed, can't run the model, or would leave a GPU
    idle; the log says which it is and why. "openvino" raises EngineError instead. An ONNX file is for OpenVINO alone.
    """

    def build(spec: ModelSpec, weights: Path | None, batch_size: int | None) -> Backbone:
        if spec.is_onnx and weights is not None:
            return onnx(spec, weights, batch_size, engine)
        reason = against_openvino() if engine == "auto" else ""
        if engine == "keras" or reason:
            return _keras(spec, weights, batch_size, reason)
        try:
            return _openvino(spec, weights, batch_size, cache_dir)
        except EngineError as error:
            if engine == "openvino":
                raise
            return _keras(spec, weights, batch_size, str(error).rstrip("."))

    return build


def onnx(spec: ModelSpec, file: Path, batch_size: int | None, engine: str, alone: int = 1) -> Backbone:
    """The model of an ONNX file in OpenVINO, on the CPU, tried on pictures, `alone` of them one by one.

    Raises EngineError if `engine` is keras or OpenVINO is not installed, ModelError as `onnx_backbone.build` does.
    """
    if engine == "keras":
        raise EngineError(
            f"{file} is an ONNX file, which OpenVINO runs and Keras can't, and the engine is keras",
            remedy=left_out("engine", "say openvino"),
        )
    if find_spec("openvino") is None:
        raise EngineError(f"OpenVINO, which runs ONNX files such as {file}, is not installed: pip install openvino.")
    if has_gpu():
        log.warning("A GPU is here, and stays idle: OpenVINO runs ONNX files on the CPU.")
    from workers.models.onnx.onnx_backbone import build

    return build(spec, file, batch_size, alone)


def against_openvino() -> str:
    """Why OpenVINO is not the first choice here; empty when it is."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        return f"KERAS_BACKEND is {backend}"
    if not has_gpu():
        return ""
    if _tensorflow_is_for_cpus():
        log.warning("A GPU is here, and TensorFlow is installed for CPUs alone: pip install 'lookalike[gpu]'.")
        return ""
    return "a GPU is here, which OpenVINO would leave idle"


def _tensorflow_is_for_cpus() -> bool:
    """Whether the TensorFlow that is installed is the build that knows no GPU."""
    return any(distributions(name="tensorflow-cpu"))


def has_gpu() -> bool:
    """Whether the system has a GPU device that it does not hide from us."""
    # This asks the system, because asking TensorFlow takes seconds and half a gigabyte.
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in _NO_DEVICES:
        return False
    return any(DEVICES.glob("nvidia[0-9]*")) or (DEVICES / "dxg").exists()


def _openvino(spec: ModelSpec, weights: Path | None, batch_size: int | None, cache_dir: Path | None) -> Backbone:
    if find_spec("openvino") is None:
        raise EngineError("OpenVINO is not installed: pip install 'lookalike[worker]'.")
    export = exports.find_or_make(spec, weights, cache_dir)
    from workers.models.openvino_backbone import build

    return build(spec, export, batch_size)


def _keras(spec: ModelSpec, weights: Path | None, batch_size: int | None, reason: str) -> Backbone:
    log.info("Keras runs the model%s.", f": {reason}" if reason else "")
    try:
        from workers.models.keras_backbone import build  # It takes seconds and half a gigabyte.
    except ImportError as error:
        raise ModelError(
            f"The model {spec.name} needs Keras and TensorFlow ({error}): pip install 'lookalike[worker]'."
        ) from error
    return build(spec, weights, batch_size)


def levels(spec: ModelSpec, weights: Path | None) -> tuple[str, ...]:
    """The levels of features that the model of `spec` shows in Keras; `weights` is its checked file.

    Raises ModelError when it shows no two, can't be built, or Keras is not installed.
    """
    try:
        from workers.models.architectures.levels import levels_of
        from workers.models.keras_backbone import build_model
    except ImportError as error:
        raise ModelError(
            f"The levels of the model {spec.name} are looked for by Keras and TensorFlow ({error}): pip install "
            "'lookalike[worker]'."
        ) from error
    return levels_of(build_model(spec, weights), spec.weights_file or spec.name)


def keras_gpus() -> list[str]:
    """The accelerators that Keras would compute on, by its names; raises ModelError if Keras is not installed."""
    try:
        from workers.models.keras_backbone import accelerators
    except ImportError as error:
        raise ModelError(f"Keras and TensorFlow are not installed ({error}): pip install 'lookalike[gpu]'.") from error
    return accelerators()
