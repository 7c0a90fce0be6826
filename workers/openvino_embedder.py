"""Exported models as backbones: the only room that runs OpenVINO, without TensorFlow or Keras."""

import logging
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import EngineError
from shared.models import ModelSpec

# OpenVINO reports imports and conversions to its makers, which nobody who runs a worker agreed to. Where the package
# that reports is missing, it does without.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402

__all__ = ["OpenVinoBackbone", "build", "capabilities", "openvino"]

log = logging.getLogger("lookalike.worker")

_BATCH = 8
_DEVICE = "CPU"
_NEEDS = {"bf16": "BF16"}  # What a CPU has to have; float16 is left to GPUs.


class OpenVinoBackbone:
    """An exported model, compiled for batches of one size."""

    def __init__(self, export: Path, image_size: int, batch_size: int | None, precision: str) -> None:
        """`export` is the model's .xml, which takes uint8. Raises EngineError when OpenVINO can't run it."""
        self.batch_size = batch_size or _BATCH
        try:
            core = openvino.Core()
            model = core.read_model(export)
            model.reshape([self.batch_size, image_size, image_size, 3])
            compiled = core.compile_model(
                model,
                _DEVICE,
                {
                    # Left to itself, OpenVINO takes bfloat16 where the CPU has it, and features differ by machine.
                    "INFERENCE_PRECISION_HINT": precision,
                    "PERFORMANCE_HINT": "LATENCY",
                    # Threads that decode share the cores, and so may other workers.
                    "ENABLE_CPU_PINNING": False,
                },
            )
            self._request = compiled.create_infer_request()
            self.dim = int(compiled.output(0).shape[1])
        except Exception as error:  # OpenVINO raises RuntimeError, and what its bindings make of other things.
            raise EngineError(f"OpenVINO can't run {export} ({_last_line(error)}).") from error

    def forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._request.infer([batch])
        return np.array(self._request.get_output_tensor(0).data, np.float32)


def build(spec: ModelSpec, export: Path, batch_size: int | None) -> OpenVinoBackbone:
    """Compile the export of `spec`; in float32 where the CPU has not the precision that the spec allows."""
    precision = spec.precision
    if precision != "f32" and _NEEDS.get(precision) not in capabilities():
        log.warning("OpenVINO does not compute in %s on a CPU like this; float32 gives the same hits.", precision)
        precision = "f32"
    backbone = OpenVinoBackbone(export, spec.image_size, batch_size, precision)
    log.info(
        "OpenVINO %s runs the model in %s, %d images a call.",
        openvino.__version__.partition("-")[0],
        precision,
        backbone.batch_size,
    )
    return backbone


def capabilities() -> list[str]:
    """What this machine's CPU can compute in, as OpenVINO calls it: FP32, BF16, INT8 ..."""
    return list(openvino.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))


def _last_line(error: Exception) -> str:
    """OpenVINO's errors begin with the places in its own source that they came through."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip().rstrip(".")
