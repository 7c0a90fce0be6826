"""Choose the engine that runs a Keras model here: OpenVINO from an export, or Keras itself."""

import logging
import os
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from shared.errors import EngineError, ModelError
from shared.models import ModelSpec
from workers.models import exports
from workers.models.backbone import Backbone, Builder

log = logging.getLogger("lookalike.worker")

FAMILIES = ("efficientnet", "efficientnetv2", "custom")
"""The families of models that Keras builds: the beginning of a name, up to the first hyphen."""

DEVICES = Path("/dev")
_NO_DEVICES = ("", "-1")


def builder(engine: str, cache_dir: Path | None) -> Builder:
    """The builder of a model of FAMILIES for `engine`: auto, openvino or keras; exports are under `cache_dir`.

    "auto" takes OpenVINO on a CPU, and Keras if OpenVINO is not installed, can't run the model, or would leave a GPU
    idle; the log says which it is and why. "openvino" raises EngineError instead.
    """

    def build(spec: ModelSpec, weights: Path | None, batch_size: int | None) -> Backbone:
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


def keras_gpus() -> list[str]:
    """The accelerators that Keras would compute on, by its names; raises ModelError if Keras is not installed."""
    try:
        from workers.models.keras_backbone import accelerators
    except ImportError as error:
        raise ModelError(f"Keras and TensorFlow are not installed ({error}): pip install 'lookalike[gpu]'.") from error
    return accelerators()
