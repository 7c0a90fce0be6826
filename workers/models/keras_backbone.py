"""Run Keras models as backbones, from bytes to features, by calls that suit a CPU or a GPU."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take three quarters of a GPU at once.

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from shared.errors import ModelError
from shared.models import ModelSpec
from workers.models.architectures.keras_models import build_model, first_line, lite0, prepare

__all__ = [
    "GpuBackbone",
    "KerasBackbone",
    "accelerators",
    "build",
    "build_model",
    "in_half",
    "lite0",
    "taking_bytes",
    "traced",
]

log = logging.getLogger("lookalike.worker")

_CPU_BATCH = 8  # 16 and 32 gain nothing on a CPU and cost memory; 1 costs a quarter of the rate.
_GPU_BATCH = 256  # The number of images that a GPU is first asked to take, halved as often as they don't fit.
_OUT_OF_MEMORY = ("resource_exhausted", "resourceexhausted", "out of memory", "outofmemory", "oom when allocating")


class KerasBackbone:
    """A Keras model that takes batches of one size; compiled once, when it is made."""

    one_by_one = False
    place_matters = True
    """Whether the place of an image in its batch must not change a bit of its features, if that can be avoided."""

    def __init__(self, model: Any, image_size: int, batch_size: int, name: str) -> None:
        self.batch_size = batch_size
        shape = (batch_size, image_size, image_size, 3)
        one = np.random.default_rng(0).integers(0, 256, shape[1:], dtype=np.uint8)
        try:
            self._model = taking_bytes(model, image_size)
            found = _first_batch(self._model, np.broadcast_to(one, shape))
        except Exception as error:  # Keras raises errors of any kind for a wrong shape or little memory.
            raise ModelError(
                f"The model {name} failed on a first batch of {list(shape)} ({type(error).__name__}: "
                f"{first_line(error)}); expected one that takes such images and fits into memory."
            ) from error
        if not isinstance(found, np.ndarray) or found.ndim != 2 or len(found) != batch_size:
            shapes = keras.tree.map_structure(lambda output: ["n", *np.shape(output)[1:]], found)
            raise ModelError(f"The model {name} gives {shapes} for n images; expected one output, [n, dimensions].")
        self.dim = found.shape[1]
        # On some CPUs the last rows of a matrix, which its blocks leave over, are added up in another order: one
        # picture in every place of a batch has other features in the last place. Then no image gets that place.
        self._spare = self.place_matters and not np.array_equal(found, np.broadcast_to(found[0], found.shape))

    def forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._spare:
            batch = np.concatenate([batch, batch[-1:]])
        features: NDArray[np.float32] = self._model.predict_on_batch(batch)
        return features[: self.batch_size]


class GpuBackbone(KerasBackbone):
    """A Keras model on a GPU: batches as large as fit, each moved there while the one before is being computed."""

    place_matters = False  # The size of a batch matters more there, and depends on the machine.

    def __init__(self, model: Any, image_size: int, batch_size: int | None, name: str) -> None:
        """`batch_size` None finds the largest that fits: 256, halved as often as memory does not suffice."""
        size = batch_size or _GPU_BATCH
        while True:
            try:
                super().__init__(model, image_size, size, name)
                return
            except ModelError as error:
                if batch_size or size == 1 or not _is_out_of_memory(error.__cause__):
                    raise
            log.info("The GPU's memory does not hold %d images of the model %s at a time; trying half.", size, name)
            size //= 2

    def to_device(self, batch: NDArray[np.uint8]) -> Any:
        """Begin to move a batch to the GPU, for `forward`."""
        return keras.ops.convert_to_tensor(batch)

    def forward(self, batch: Any) -> NDArray[np.float32]:
        try:
            return super().forward(batch)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            raise ModelError(
                f"The GPU has no memory left for {self.batch_size} images at a time, which it had when the model was "
                f"loaded ({first_line(error)}): see who else uses it, or set LOOKALIKE_BATCH_SIZE to less."
            ) from error


def build(spec: ModelSpec, weights: Path | None, batch_size: int | None) -> KerasBackbone:
    """Build the model of `spec`; `weights` is its checked file, None when Keras downloads them.

    Raises ModelError as `build_model` does, and for a model that does not give one [n, dimensions] output.
    """
    model = build_model(spec, weights)
    backbone: KerasBackbone
    precision = "f32"
    if has_gpu():
        if spec.precision != "f32":
            precision = "f16"
            in_half(model)
        backbone = GpuBackbone(model, spec.image_size, batch_size, spec.name)
    else:
        if spec.precision != "f32":
            log.warning(
                "Keras computes in float32 on a CPU, which gives a job of %s the same hits, more slowly.",
                spec.precision,
            )
        backbone = KerasBackbone(model, spec.image_size, batch_size or _CPU_BATCH, spec.name)
    log.info(
        "Keras %s on %s runs the model in %s on %s, %d images a call.",
        keras.__version__,
        keras.config.backend(),
        precision,
        "a GPU" if isinstance(backbone, GpuBackbone) else "the CPU",
        backbone.batch_size,
    )
    return backbone


def in_half(model: Any) -> None:
    """Let `model` compute in float16, in place: its weights, and means over many pixels, stay in float32.

    Half of a float32's bits are half of its traffic, and GPUs multiply them many times faster.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            in_half(layer)
        elif not isinstance(layer, layers.InputLayer | layers.GlobalAveragePooling2D):
            layer.dtype_policy = "mixed_float16"


def traced(model: Any, image_size: int) -> Any:
    """The model as a TensorFlow function of float32 [n, image_size, image_size, 3], for conversion."""
    import tensorflow as tf

    images = tf.TensorSpec([None, image_size, image_size, 3], tf.float32, name="images")
    return tf.function(lambda batch: model(batch, training=False), input_signature=[images])


def has_gpu() -> bool:
    """Whether Keras' backend sees a GPU, or another device that is no CPU."""
    if keras.config.backend() == "torch":
        import torch

        return bool(torch.cuda.is_available())
    return any(not device.startswith("cpu") for device in keras.distribution.list_devices())


def accelerators() -> list[str]:
    """The devices other than CPUs that Keras sees, by Keras' names."""
    prepare()
    if keras.config.backend() == "torch":
        return ["cuda"] if has_gpu() else []
    return [device for device in keras.distribution.list_devices() if not device.startswith("cpu")]


def taking_bytes(model: Any, image_size: int) -> Any:
    """The model as one of uint8 images that gives float32: so a batch is moved in a quarter of the bytes.

    A model of a person's own may not cast integers by itself.
    """
    images = keras.Input((image_size, image_size, 3), dtype="uint8")
    features = model(keras.ops.cast(images, "float32"))
    return keras.Model(images, keras.tree.map_structure(_as_float32, features))


def _as_float32(output: Any) -> Any:
    return keras.ops.cast(output, "float32")


def _first_batch(model: Any, batch: NDArray[np.uint8]) -> Any:
    """Compile the model by a first call; without XLA, if that is what fails.

    On a GPU Keras lets XLA compile, which is faster, but can't work where the CUDA toolkit's own files are not found.
    """
    try:
        return model.predict_on_batch(batch)
    except Exception as error:
        if keras.config.backend() != "tensorflow" or not model.jit_compile or _is_out_of_memory(error):
            raise
        log.warning("XLA can't compile the model here (%s); going on without it, more slowly.", first_line(error))
        model.jit_compile = False
        model.make_predict_function(force=True)
        return model.predict_on_batch(batch)


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether a backend failed for lack of memory: each backend, and XLA in two of them, says so in its own way."""
    said = f"{type(error).__name__}: {error}".lower()
    return error is not None and (isinstance(error, MemoryError) or any(word in said for word in _OUT_OF_MEMORY))
