"""Build and load the Keras models that names stand for, on any backend of Keras."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from shared.errors import ModelError
from shared.errors.remedy import Remedy
from shared.models import CUSTOM_MODEL, DEFAULT_MODEL, ModelSpec, imagenet_file
from workers.models.architectures.levels import pooled_levels
from workers.models.architectures.torch_weights import read_state_dict

# EfficientNet-Lite0 as its authors publish it: repeats, kernel, stride, expansion, filters.
# https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
_LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_LITE0_CLASSES = 1000
_LONGEST_SAID = 300  # Some errors of Keras quote the whole configuration of a layer.
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
# Keras' EfficientNet, and only its first version, divides by these once more when it loads "imagenet" by itself.
_IMAGENET_STDDEV = (0.229, 0.224, 0.225)


def build_model(spec: ModelSpec, weights: Path | None) -> Any:
    """The Keras model of `spec` in float32, ready for inference; that of a fused model gives its pooled levels.

    `weights` is its checked file; without one Keras downloads them. Raises ModelError for weights that can't be loaded
    or belong to another architecture, for a `.keras` file that holds code, and for levels that the model lacks.
    """
    prepare()
    model = _whole(spec, weights)
    return model if spec.fusion is None else pooled_levels(model, spec.fusion, spec.name)


def _whole(spec: ModelSpec, weights: Path | None) -> Any:
    if spec.name == CUSTOM_MODEL:
        return _load_custom(_required(weights))
    if spec.name == DEFAULT_MODEL:
        return fold_batch_norm(lite0(_required(weights), spec.image_size))
    return fold_batch_norm(_application(spec, weights))


def lite0(weights: Path, image_size: int, *, classify: bool = False) -> Any:
    """EfficientNet-Lite0 with the weights of a PyTorch state dict.

    Takes RGB 0-255, [n, image_size, image_size, 3], and gives the 1280 pooled features, or with `classify` the logits
    of the 1000 ImageNet classes.
    """
    state = read_state_dict(weights)
    pending: list[tuple[Any, list[NDArray[Any]]]] = []

    def conv(x: Any, layer: Any, key: str, norm: str, *, activate: bool = True, level: str | None = None) -> Any:
        # PyTorch keeps [out, in, h, w]; Keras wants [h, w, in, out], and [h, w, channels, 1] depthwise.
        axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
        norm_layer = layers.BatchNormalization(epsilon=1e-3)
        pending.append((layer, [state[f"{key}.weight"].transpose(axes)]))
        pending.append((norm_layer, [state[f"{norm}.{part}"] for part in _BATCH_NORM]))
        x = norm_layer(layer(x))
        return layers.ReLU(6.0, name=level)(x) if activate else x

    def plain(filters: int, kernel: int = 1, stride: int = 1) -> Any:
        return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False)

    try:
        inputs = layers.Input((image_size, image_size, 3))
        x = layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
        x = conv(x, plain(32, 3, 2), "_conv_stem", "_bn0")
        block = 0
        for repeats, kernel, stride, expansion, filters in _LITE0_STAGES:
            for repeat in range(repeats):
                at, entering, step = f"_blocks.{block}.", x, stride if repeat == 0 else 1
                if expansion > 1:
                    expand = plain(expansion * x.shape[-1])
                    x = conv(x, expand, f"{at}_expand_conv", f"{at}_bn0", level=f"block{block}_expand")
                depthwise = layers.DepthwiseConv2D(kernel, step, padding="same", use_bias=False)
                x = conv(x, depthwise, f"{at}_depthwise_conv", f"{at}_bn1")
                x = conv(x, plain(filters), f"{at}_project_conv", f"{at}_bn2", activate=False)
                if repeat > 0:
                    x = layers.Add()([x, entering])
                block += 1
        x = layers.GlobalAveragePooling2D()(conv(x, plain(1280), "_conv_head", "_bn1", level="head"))
        if classify:
            dense = layers.Dense(_LITE0_CLASSES)
            pending.append((dense, [state["_fc.weight"].T, state["_fc.bias"]]))
            x = dense(x)
        for layer, values in pending:
            layer.set_weights(values)
    except (KeyError, ValueError) as error:
        raise ModelError(f"{weights} holds no EfficientNet-Lite0 ({first_line(error)}).") from error
    return keras.Model(inputs, x)


def fold_batch_norm(model: Any) -> Any:
    """The same Functional model with each BatchNormalization folded into the convolution before it.

    At inference both are linear, so one can do the work of two: 1.15 to 1.3 times the rate on a CPU, and features that
    differ by rounding alone.
    """
    consumers: dict[int, int] = {}
    for layer in model.layers:
        for tensor in keras.tree.flatten(layer.input):
            consumers[id(tensor)] = consumers.get(id(tensor), 0) + 1
    convolutions = {
        id(layer.output): layer
        for layer in model.layers
        if type(layer) in (layers.Conv2D, layers.DepthwiseConv2D)
        and layer.activation is keras.activations.linear
        and consumers.get(id(layer.output)) == 1
    }
    folded = {
        convolutions[id(layer.input)].name: layer
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization) and id(layer.input) in convolutions
    }
    gone = {layer.name for layer in folded.values()}

    def copy(layer: Any) -> Any:
        if layer.name in gone:
            return layers.Identity(name=layer.name)
        config = layer.get_config() | ({"use_bias": True} if layer.name in folded else {})
        return type(layer).from_config(config)

    # A BatchNormalization is called with a mask, which the Identity in its place does not know.
    clone = keras.models.clone_model(model, clone_function=copy, call_function=lambda layer, *args, **_: layer(*args))
    for layer in model.layers:
        values = _folded(layer, folded[layer.name]) if layer.name in folded else layer.get_weights()
        if values and layer.name not in gone:
            copied = clone.get_layer(layer.name)
            copied.set_weights(values)
            if isinstance(copied, layers.Normalization):
                copied.finalize_state()
    return clone


def _folded(convolution: Any, norm: Any) -> list[NDArray[Any]]:
    kernel, *bias = (value.astype(np.float64) for value in convolution.get_weights())
    gamma, beta, mean, variance = (value.astype(np.float64) for value in norm.get_weights())
    scale = gamma / np.sqrt(variance + norm.epsilon)
    depthwise = isinstance(convolution, layers.DepthwiseConv2D)
    return [kernel * (scale[:, None] if depthwise else scale), beta + (sum(bias) - mean) * scale]


def _application(spec: ModelSpec, weights: Path | None) -> Any:
    """An EfficientNet or EfficientNetV2 of `keras.applications`, pooled, with its preprocessing inside."""
    first = spec.name.startswith("efficientnet-")
    variant = spec.name.partition("-")[2].upper()
    make: Callable[..., Any] = getattr(keras.applications, f"EfficientNet{'' if first else 'V2'}{variant}")
    shape = (spec.image_size, spec.image_size, 3)
    file_name = imagenet_file(spec.name)
    if weights is None:
        try:
            return make(include_top=False, weights="imagenet", pooling="avg", input_shape=shape)
        except Exception as error:  # Keras raises a bare Exception when a download fails.
            raise ModelError(
                f"Keras could not download the ImageNet weights of {spec.name} ({first_line(error)})",
                remedy=Remedy(
                    "option",
                    does=f"download {file_name} on a machine that can, and make the job with {{}}",
                    given={"weights": "PATH"},
                ),
            ) from error
    model = make(include_top=False, weights=None, pooling="avg", input_shape=shape)
    try:
        model.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(
            f"{weights} does not hold the weights of {spec.name} without its top ({first_line(error)}); expected a "
            f"file like {file_name}."
        ) from error
    if first:
        _as_if_downloaded(model)
    return model


def _as_if_downloaded(model: Any) -> None:
    """Give a model loaded from Keras' ImageNet file the input scale that `weights="imagenet"` gives it.

    Keras then inserts a layer that divides by the root of the standard deviation once more; without it the same file
    gives other features. Here the variance of the Normalization layer takes that factor.
    """
    norm = next(layer for layer in model.layers if isinstance(layer, layers.Normalization))
    mean, variance, *count = norm.get_weights()
    norm.set_weights([mean, variance * np.asarray(_IMAGENET_STDDEV, variance.dtype), *count])
    norm.finalize_state()


def _load_custom(path: Path) -> Any:
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # A file can hold anything, such as a custom layer, and each fails in its own way.
        raise ModelError(
            f"{path} can't be loaded as a Keras model ({first_line(error)}); expected a file that model.save "
            "wrote, of Keras' own layers only, because code in a file is never run."
        ) from error


def prepare() -> None:
    """Fix the settings that a keras.json in a home directory, or the float32 of a GPU, could change.

    GPUs multiply "float32" with ten bits of a fraction unless that is forbidden; a job that allows less precision asks
    for float16. GPU memory is left to other processes until it is needed.
    """
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)
        # A GPU that is already in use keeps the growth that was set then.
        with contextlib.suppress(RuntimeError):
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
    elif backend == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    elif backend == "torch":
        import torch

        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def _required(weights: Path | None) -> Path:
    if weights is None:
        raise ModelError("This model needs a weights file, and its spec names none.")
    return weights


def first_line(error: Exception) -> str:
    """The first line of a library's error, short enough for a sentence."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return line if len(line) <= _LONGEST_SAID else f"{line[:_LONGEST_SAID]} …"
