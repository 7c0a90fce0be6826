"""Take the features of several levels out of a Keras model: pooled, each of length 1, side by side."""

from typing import Any

import keras

from shared.errors import ModelError
from shared.models.fusion import Fusion

_SMALLEST = 1e-24
_MOST_LEVELS = 3
_COLOURS = 3


def pooled_levels(model: Any, fusion: Fusion, name: str) -> Any:
    """The Functional `model` that gives the levels of `fusion`, float32 [n, width], each pooled and of length 1.

    They are pooled in float32, whatever the model computes in. Raises ModelError, which calls the model `name`, when it
    has no such level.
    """
    pooled = [_unit(_pooled(feature_map(model, level, name), fusion.power)) for level in fusion.levels]
    return keras.Model(model.input, keras.ops.concatenate(pooled, axis=-1))


def feature_map(model: Any, level: str, name: str) -> Any:
    """The output of the layer called `level`, [n, height, width, channels]; ModelError when there is none."""
    found = next((layer for layer in model.layers if layer.name == level), None)
    if found is None or not is_feature_map(found):
        raise ModelError(
            f"The model {name} has no level {level!r} in reach, of which its embeddings are made: run it with the "
            "version of Keras that the job was made with."
        )
    return found.output


def is_feature_map(layer: Any) -> bool:
    """Whether a layer gives one square map of features, of 2 x 2 places or more."""
    shape: tuple[int | None, ...] = getattr(getattr(layer, "output", None), "shape", ())
    return len(shape) == 4 and shape[1] is not None and shape[1] == shape[2] and shape[1] > 1 and bool(shape[3])


def levels_of(model: Any, name: str) -> tuple[str, ...]:
    """The names of two or three levels of a model that can be fused, the largest map first: the last feature map, and
    twice the last one before of twice the side or more. Raises ModelError where it shows no two.
    """
    layers = model.layers if isinstance(model, keras.Model) else []
    # What has no more channels than an image is one, rescaled at most.
    maps = [layer for layer in layers if is_feature_map(layer) and layer.output.shape[3] > _COLOURS]
    found = maps[-1:]
    while found and len(found) < _MOST_LEVELS:
        side = 2 * found[0].output.shape[1]
        larger = [layer for layer in maps if layer.output.shape[1] >= side]
        if not larger:
            break
        found.insert(0, larger[-1])
    if len(found) < 2:
        raise ModelError(
            f"The model {name} shows {'one level' if found else 'no level'} of features, and fusion takes two at "
            "least: save it as one Functional or Sequential model whose convolutions are its own layers, not those of "
            "a model inside it."
        )
    return tuple(layer.name for layer in found)


def _pooled(values: Any, power: int) -> Any:
    values = keras.ops.cast(values, "float32")
    # The larger of a value and 0, and NaN of NaN: a maximum hides that on some machines, and so a model that is broken.
    values = (values + keras.ops.absolute(values)) * 0.5
    powers = values
    for _ in range(power - 1):  # A product is many times faster than a power, and exact.
        powers = powers * values
    return keras.ops.power(keras.ops.mean(powers, axis=(1, 2)), 1 / power)


def _unit(features: Any) -> Any:
    squares = keras.ops.sum(features * features, axis=-1, keepdims=True)
    return features / keras.ops.sqrt(keras.ops.maximum(squares, _SMALLEST))
