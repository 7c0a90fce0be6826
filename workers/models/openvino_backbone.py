"""Run models in OpenVINO, without TensorFlow or Keras: those that were exported, and any other that it can read."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import EngineError, LookalikeError
from shared.models import ModelSpec
from shared.processes.memory import give_back

# OpenVINO reports imports and conversions to its makers, to which no user of a worker agreed. If the package that
# reports is missing, it does without.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402

__all__ = [
    "CompiledBackbone",
    "OpenVinoBackbone",
    "build",
    "capabilities",
    "last_line",
    "log_running",
    "openvino",
    "precision_here",
]

log = logging.getLogger("lookalike.worker")

_LEAST_BATCH = 8
_DEVICE = "CPU"
_NEEDS = {"bf16": "BF16"}  # The capability that a CPU must have; float16 is left to GPUs.


class CompiledBackbone:
    """A model that OpenVINO compiled for one image, and that several streams of one thread or more run side by side.

    A batch of 8 through one stream of all cores costs more CPU time: layer by layer its threads wait for each other,
    and for the threads that decode, and the values between two layers have left the caches.
    """

    one_by_one = True

    def __init__(self, read: Callable[[Any], Any], what: Path, batch_size: int | None, precision: str) -> None:
        """`read` gives the model, which takes uint8 [1, size, size, 3], from the core of OpenVINO that it is given.

        `batch_size` is how many images a call holds at most; None takes 8, or two a core where that is more. With 1,
        all cores work on one image, and it takes the least time. Raises EngineError when OpenVINO can't run it, which
        names `what`.
        """
        cores = _cores()
        self.batch_size = batch_size or max(_LEAST_BATCH, 2 * cores)
        streams = min(self.batch_size, cores)
        try:
            core = openvino.Core()
            compiled = core.compile_model(
                read(core),
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
            self._requests = openvino.AsyncInferQueue(compiled, streams)
            self._requests.set_callback(_keep)
            self.dim = int(compiled.output(0).shape[1])
        except LookalikeError:
            raise
        except Exception as error:  # OpenVINO raises RuntimeError, and its bindings raise other errors.
            raise EngineError(f"OpenVINO can't run {what} ({last_line(error)}).") from error

    def forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        features = np.empty((len(batch), self.dim), np.float32)
        for number in range(len(batch)):
            self._requests.start_async([batch[number : number + 1]], features[number], share_inputs=True)
        self._requests.wait_all()
        return features


class OpenVinoBackbone(CompiledBackbone):
    """An exported model."""

    def __init__(self, export: Path, image_size: int, batch_size: int | None, precision: str) -> None:
        """`export` is the model's .xml, which takes uint8; the rest is as for `CompiledBackbone`."""

        def read(core: Any) -> Any:
            model = core.read_model(export)
            model.reshape([1, image_size, image_size, 3])
            return model

        super().__init__(read, export, batch_size, precision)
        # The compiled model has its own values in memory, as the CPU needs them; the mapped file is not read again.
        give_back(export.with_suffix(".bin").resolve())


def _keep(request: Any, feature: NDArray[np.float32]) -> None:
    """Copy the result of a stream into its row before the stream computes the next."""
    feature[:] = request.get_output_tensor(0).data[0]


def _cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build(spec: ModelSpec, export: Path, batch_size: int | None) -> OpenVinoBackbone:
    """Compile the export of `spec`; in float32 if the CPU lacks the precision that the spec allows."""
    precision = precision_here(spec)
    backbone = OpenVinoBackbone(export, spec.image_size, batch_size, precision)
    log_running(backbone.batch_size, precision)
    return backbone


def precision_here(spec: ModelSpec) -> str:
    """The precision that this machine computes a model in: float32 if it lacks the one that the spec allows."""
    if spec.precision == "f32" or _NEEDS.get(spec.precision) in capabilities():
        return spec.precision
    log.warning("OpenVINO does not compute in %s on a CPU like this; float32 gives the same hits.", spec.precision)
    return "f32"


def log_running(batch_size: int, precision: str) -> None:
    """Say in the log what runs a model, and how."""
    log.info(
        "OpenVINO %s runs the model in %s, %d images a call.",
        openvino.__version__.partition("-")[0],
        precision,
        batch_size,
    )


def capabilities() -> list[str]:
    """The number formats that this machine's CPU can compute in, by OpenVINO's names: FP32, BF16, INT8 ..."""
    return list(openvino.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))


def last_line(error: Exception) -> str:
    """The last line of an error: OpenVINO's errors begin with places in its own source."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip("- .")
