"""Levels of a Keras model: pooled as NumPy pools them, found where they are in reach, refused where they are not."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ModelError
from shared.models.fusion import Fusion, known_levels

# Keras asks TensorFlow's arrays for a copy in a way that NumPy 2 wants put otherwise.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.timeout(600),  # TensorFlow alone takes a while on a busy machine.
    pytest.mark.slow,
]

if TYPE_CHECKING:
    import keras
    from keras import layers

    from workers.models.architectures import levels


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """TensorFlow, once the first of these tests runs: loading it here would cost every process that collects tests."""
    global keras, layers, levels
    import keras
    from keras import layers

    from workers.models.architectures import levels


def tiny() -> Any:
    """Maps of 8, 4 and 2 places a side, the first and the last by two layers each; the pooled last one comes out."""
    keras.utils.set_random_seed(2)
    images = layers.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(images)
    for number, (filters, stride) in enumerate([(4, 2), (5, 1), (6, 2), (7, 2), (8, 1)]):
        x = layers.Conv2D(filters, 3, stride, padding="same", name=f"conv{number}")(x)
    return keras.Model(images, layers.GlobalAveragePooling2D()(x))


def pooled(values: NDArray[np.float32], power: int) -> NDArray[np.float64]:
    means = (np.maximum(values.astype(np.float64), 0) ** power).mean(axis=(1, 2)) ** (1 / power)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return means / np.where(lengths > 0, lengths, 1)


@pytest.mark.parametrize("power", [1, 3])
def test_each_level_is_pooled_and_of_length_1(power: int) -> None:
    model, images = tiny(), np.random.default_rng(1).uniform(0, 255, (3, 16, 16, 3)).astype(np.float32)
    maps = keras.Model(model.input, [model.get_layer(name).output for name in ("conv1", "conv4")])(images)
    found = levels.pooled_levels(model, Fusion(("conv1", "conv4"), power), "tiny")(images)
    expected = np.concatenate([pooled(np.asarray(values), power) for values in maps], axis=1)
    assert found.shape == (3, 5 + 8)
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-5)


def test_what_is_broken_stays_so() -> None:
    """A level that is zero stays zero, and not finite features are told, or a dead model would seem to see."""
    model, images = tiny(), np.full((1, 16, 16, 3), 9.0, np.float32)
    fusion = Fusion(("conv1", "conv4"))
    for value in (0.0, np.nan):
        for layer in (model.get_layer("conv1"), model.get_layer("conv4")):
            layer.set_weights([np.full_like(weights, value) for weights in layer.get_weights()])
        found = np.asarray(levels.pooled_levels(model, fusion, "tiny")(images))
        assert np.isnan(found).all() if np.isnan(value) else not found.any()


def test_the_last_map_of_each_size_is_a_level() -> None:
    assert levels.levels_of(tiny(), "tiny") == ("conv1", "conv2", "conv4")


def test_a_model_inside_a_model_hides_its_levels() -> None:
    images = layers.Input((16, 16, 3))
    inner = tiny()
    backbone = keras.Model(inner.input, inner.get_layer("conv4").output)
    nested = keras.Model(images, layers.GlobalAveragePooling2D()(backbone(images)))
    with pytest.raises(ModelError, match=r"nested shows one level of features, .* not those of a model inside it"):
        levels.levels_of(nested, "nested")
    flat = keras.Model(images, layers.Dense(4)(layers.Flatten()(images)))
    with pytest.raises(ModelError, match="flat shows no level of features"):
        levels.levels_of(flat, "flat")


def test_a_level_that_is_not_there_is_named() -> None:
    for name in ("conv9", "global_average_pooling2d"):
        with pytest.raises(ModelError, match=f"The model tiny has no level '{name}' in reach"):
            levels.pooled_levels(tiny(), Fusion((name, "conv4")), "tiny")


def test_the_levels_that_names_stand_for_are_those_of_keras() -> None:
    model = keras.applications.EfficientNetV2B0(include_top=False, weights=None, input_shape=(224, 224, 3))
    maps = [levels.feature_map(model, level, "v2").shape[1:] for level in known_levels("efficientnetv2-b0") or ()]
    assert maps == [(28, 28, 192), (14, 14, 672), (7, 7, 1280)]
