"""Run exported models in OpenVINO, without TensorFlow or Keras."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import EngineError
from shared.models import ModelSpec
from shared.processes.memory import give_back

# OpenVINO reports imports and conversions to its makers, to which no user of a worker agreed. If the package that
# reports is missing, it does without.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402

__all__ = ["OpenVinoBackbone", "build", "capabilities", "openvino"]

log = logging.getLogger("lookalike.worker")

_LEAST_BATCH = 8
_DEVICE = "CPU"
_NEEDS = {"bf16": "BF16"}  # The capability that a CPU must have; float16 is left to GPUs.


class OpenVinoBackbone:
    """An exported model, compiled for one image, that several streams of one thread or more run side by side.

    A batch of 8 through one stream of all cores costs more CPU time: layer by layer its threads wait for each other,
    and for the threads that decode, and the values between two layers have left the caches.
    """

    one_by_one = True

    def __init__(self, export: Path, image_size: int, batch_size: int | None, precision: str) -> None:
        """`export` is the model's .xml, which takes uint8. `batch_size` is how many images a call holds at most; None
        takes 8, or two a core where that is more. With 1, all cores work on one image, and it takes the least time.
        Raises EngineError when OpenVINO can't run it."""
        cores = _cores()
        self.batch_size = batch_size or max(_LEAST_BATCH, 2 * cores)
        streams = min(self.batch_size, cores)
        try:
            core = openvino.Core()
            model = core.read_model(export)
            model.reshape([1, image_size, image_size, 3])
            compiled = core.compile_model(
                model,
                _DEVICE,
                {
                    # Left to itself, OpenVINO takes bfloat16 where the CPU has it, and features differ by machine.
                    "INFERENCE_PRECISION_HINT": precision,
                    "NUM_STREAMS": streams,
                    "INFERENCE_NUM_THREADS": cores,
                    # Threads that decode share the cores, and so may other workers.
                    "ENABLE_CPU_PINNING": False,
                },
            )
            # The compiled model has its own values in memory, as the CPU needs them; the mapped file is not read again.
            give_back(export.with_suffix(".bin").resolve())
            self._requests = openvino.AsyncInferQueue(compiled, streams)
            self._requests.set_callback(_keep)
            self.dim = int(compiled.output(0).shape[1])
        except Exception as error:  # OpenVINO raises RuntimeError, and its bindings raise other errors.
            raise EngineError(f"OpenVINO can't run {export} ({_last_line(error)}).") from error

    def forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        features = np.empty((len(batch), self.dim), np.float32)
        for number in range(len(batch)):
            self._requests.start_async([batch[number : number + 1]], features[number], share_inputs=True)
        self._requests.wait_all()
        return features


def _keep(request: Any, feature: NDArray[np.float32]) -> None:
    """Copy the result of a stream into its row before the stream computes the next."""
    feature[:] = request.get_output_tensor(0).data[0]


def _cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build(spec: ModelSpec, export: Path, batch_size: int | None) -> OpenVinoBackbone:
    """Compile the export of `spec`; in float32 if the CPU lacks the precision that the spec allows."""
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
    """The number formats that this machine's CPU can compute in, by OpenVINO's names: FP32, BF16, INT8 ..."""
    return list(openvino.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))


def _last_line(error: Exception) -> str:
    """The last line of an error: OpenVINO's errors begin with places in its own source."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip().rstrip(".")
