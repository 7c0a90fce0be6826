"""Real models: the packaged weights see what ImageNet says, and the bytes of an embedding depend on its image alone."""

import io
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray
from PIL import Image

from shared.errors import ModelError
from shared.models import LITE0_FILE, LITE0_PACKAGE, MODEL_NAMES, ModelSpec, resolve_model
from workers import embedder as registry
from workers import keras_embedder as room
from workers.decode import decode
from workers.embedder import Embedder

# Keras asks TensorFlow's arrays for a copy in a way that NumPy 2 wants put otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

# Photographs inside scikit-image, and the ImageNet classes that a person would allow for each.
CLASSES = {
    "chelsea.png": set(range(281, 288)),  # cats
    "coffee.png": {967, 968},  # espresso, cup
    "camera.png": {872},  # tripod
    "motorcycle_left.png": {665, 670},  # moped, motor scooter
}
NOWHERE = Path("no-model-directory")


def load_embedder(spec: ModelSpec, model_dir: Path, batch_size: int | None = None) -> Embedder:
    return registry.load_embedder(spec, model_dir, batch_size, engine="keras")


def pixels(data: bytes) -> NDArray[np.uint8]:
    return decode(data, 224, 10**8).pixels


@pytest.fixture(scope="module")
def photos() -> dict[str, NDArray[np.uint8]]:
    return {name: pixels((files("skimage") / "data" / name).read_bytes()) for name in CLASSES}


@pytest.fixture(scope="module")
def lite0() -> Embedder:
    return load_embedder(resolve_model("efficientnet-lite0"), NOWHERE)


@pytest.fixture(scope="module")
def classifier() -> Any:
    package = find_spec(LITE0_PACKAGE)
    assert package is not None
    assert package.origin is not None
    return room.lite0(Path(package.origin).parent / LITE0_FILE, 224, classify=True)


@pytest.fixture(scope="module")
def b0_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights for EfficientNetB0 in the layout and with the input statistics of Keras' own file."""
    model = keras.applications.EfficientNetB0(include_top=False, weights=None, pooling="avg", input_shape=(224, 224, 3))
    random = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, value.shape) for value in layer.get_weights()])
        if isinstance(layer, layers.Normalization):
            layer.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]) ** 2, np.array(0)])
    path = tmp_path_factory.mktemp("weights") / "efficientnetb0_notop.h5"
    model.save(path)
    return path


def test_the_packaged_weights_see_what_imagenet_says(classifier: Any, photos: dict[str, NDArray[np.uint8]]) -> None:
    logits = classifier.predict_on_batch(np.stack(list(photos.values())).astype(np.float32))
    found = dict(zip(photos, logits.argmax(axis=1), strict=True))
    assert {name: int(found[name]) in allowed for name, allowed in CLASSES.items()} == dict.fromkeys(CLASSES, True)


def test_folding_changes_a_model_by_rounding_alone(classifier: Any, photos: dict[str, NDArray[np.uint8]]) -> None:
    images = np.stack(list(photos.values())).astype(np.float32)
    folded = room.fold_batch_norm(classifier)
    assert sum(isinstance(layer, layers.BatchNormalization) for layer in classifier.layers) == 49
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in folded.layers)
    np.testing.assert_allclose(folded.predict_on_batch(images), classifier.predict_on_batch(images), atol=1e-4)


def test_a_photo_is_nearer_to_its_poor_copy_than_to_any_other(
    lite0: Embedder, photos: dict[str, NDArray[np.uint8]]
) -> None:
    copies = []
    for name in photos:
        file = io.BytesIO()
        Image.open(io.BytesIO((files("skimage") / "data" / name).read_bytes())).convert("RGB").save(
            file, "JPEG", quality=30
        )
        copies.append(pixels(file.getvalue()))
    cosines = lite0.embed(np.stack(list(photos.values()))) @ lite0.embed(np.stack(copies)).T
    own = np.diag(cosines)
    others = cosines[~np.eye(len(photos), dtype=bool)]
    assert own.min() > 0.9
    assert own.min() > others.max() + 0.2


def test_embeddings_are_unit_vectors_of_the_known_dimensions(
    lite0: Embedder, photos: dict[str, NDArray[np.uint8]]
) -> None:
    found = lite0.embed(np.stack(list(photos.values())))
    assert (lite0.dim, found.shape, found.dtype) == (1280, (4, 1280), np.float32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_an_embedding_does_not_depend_on_what_else_is_in_its_batch(
    lite0: Embedder, photos: dict[str, NDArray[np.uint8]]
) -> None:
    random = np.random.default_rng(2).integers(0, 256, (7, 224, 224, 3), dtype=np.uint8)
    images = np.concatenate([random, *[photo[None] for photo in photos.values()]])
    together = lite0.embed(images).astype(np.float16)
    alone = np.concatenate([lite0.embed(image[None]) for image in images]).astype(np.float16)
    assert together.tobytes() == alone.tobytes()
    assert len(np.unique(together, axis=0)) == len(images)


def test_a_weights_file_gives_what_the_download_of_the_same_file_gives(
    b0_file: Path, monkeypatch: pytest.MonkeyPatch, photos: dict[str, NDArray[np.uint8]]
) -> None:
    asked: list[str] = []

    def downloaded(name: str, *_: Any, **__: Any) -> str:
        asked.append(name)
        return str(b0_file)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", downloaded)
    images = np.stack(list(photos.values()))
    by_download = load_embedder(resolve_model("efficientnet-b0"), NOWHERE, 4)
    by_file = load_embedder(resolve_model("efficientnet-b0", b0_file), b0_file.parent, 4)
    assert asked == [b0_file.name]
    assert by_file.dim == 1280
    found = by_file.embed(images)
    assert np.ptp(found, axis=0).max() > 1e-3
    np.testing.assert_allclose(found, by_download.embed(images), atol=2e-5)


def test_a_download_that_fails_names_the_file_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def offline(name: str, *_: Any, **__: Any) -> str:
        asked.append(name)
        raise Exception("URL fetch failure on https://x: None -- no network")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    for name in ("efficientnet-b0", "efficientnetv2-b0"):
        with pytest.raises(ModelError, match=r"no network.*--weights PATH") as caught:
            load_embedder(resolve_model(name), NOWHERE)
        assert asked[-1] in str(caught.value)
    assert asked == ["efficientnetb0_notop.h5", "efficientnetv2-b0_notop.h5"]


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    tiny(layers.Dense(3)).save(path)
    with pytest.raises(
        ModelError, match=r"other\.h5 does not hold the weights of efficientnet-b0.*efficientnetb0_notop"
    ):
        load_embedder(resolve_model("efficientnet-b0", path), tmp_path)


@pytest.mark.parametrize("name", [name for name in MODEL_NAMES if name != "efficientnet-lite0"])
def test_every_known_name_is_a_model_of_keras_with_the_stated_dimensions(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[float, str]] = []

    def stop(width_coefficient: float, *_: Any, name: str, **__: Any) -> Any:
        made.append((width_coefficient, name))
        raise ValueError("far enough")

    module = "efficientnet" if name.startswith("efficientnet-") else "efficientnet_v2"
    function = "EfficientNet" if name.startswith("efficientnet-") else "EfficientNetV2"
    monkeypatch.setattr(f"keras.src.applications.{module}.{function}", stop)
    with pytest.raises(ModelError, match="far enough"):
        room.build(resolve_model(name), None, None)
    [(width, keras_name)] = made
    assert keras_name.replace("efficientnetb", "efficientnet-b") == name
    # The top convolution: 1280 filters times the width, to the nearest 8. EfficientNetV2 widens only B2 and B3.
    assert resolve_model(name).dim == int(1280 * width + 4) // 8 * 8


def tiny(*tail: Any, size: int | None = 32) -> Any:
    image = layers.Input((size, size, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    for layer in tail:
        x = layer(x)
    return keras.Model(image, x)


def saved(model: Any, folder: Path) -> Path:
    model.save(folder / "mine.keras")
    return folder / "mine.keras"


def test_a_keras_file_embeds_rgb_from_0_to_255(tmp_path: Path) -> None:
    model = tiny(layers.Dense(5))
    path = saved(model, tmp_path)
    embedder = load_embedder(resolve_model(str(path)), tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    expected = model.predict_on_batch(images.astype(np.float32))
    assert (embedder.dim, embedder.image_size, embedder.batch_size) == (5, 32, room._CPU_BATCH)
    np.testing.assert_allclose(
        embedder.embed(images), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5
    )


def test_a_keras_file_of_any_image_size_is_fed_224_pixels(tmp_path: Path) -> None:
    path = saved(tiny(size=None), tmp_path)
    embedder = load_embedder(resolve_model(str(path)), tmp_path, 2)
    assert (embedder.dim, embedder.image_size, embedder.batch_size) == (4, 224, 2)


def unpooled() -> Any:
    image = layers.Input((32, 32, 3))
    return keras.Model(image, layers.Conv2D(4, 3)(image))


def two_outputs() -> Any:
    image = layers.Input((32, 32, 3))
    x = layers.Flatten()(image)
    return keras.Model(image, [x, layers.Dense(2)(x)])


@pytest.mark.parametrize(("make", "found"), [(unpooled, "30, 30, 4"), (two_outputs, "3072.*2")])
def test_a_keras_file_without_one_vector_an_image_is_refused(
    tmp_path: Path, make: Callable[[], Any], found: str
) -> None:
    path = saved(make(), tmp_path)
    with pytest.raises(ModelError, match=rf"{found}.*expected one output, \[n, dimensions\]"):
        load_embedder(resolve_model(str(path)), tmp_path)


def test_code_in_a_keras_file_is_never_run(tmp_path: Path) -> None:
    path = saved(tiny(layers.Lambda(lambda x: x * 2)), tmp_path)
    with pytest.raises(ModelError, match=r"mine\.keras can't be loaded.*never run"):
        load_embedder(resolve_model(str(path)), tmp_path)


def test_a_model_that_takes_another_image_size_is_refused(tmp_path: Path) -> None:
    path = saved(tiny(), tmp_path)
    with pytest.raises(ModelError, match=r"first batch of \[8, 48, 48, 3\] \(ValueError.*expected"):
        load_embedder(replace(resolve_model(str(path)), image_size=48), tmp_path)


def test_a_state_dict_of_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "read_state_dict", lambda path: {"_conv_stem.weight": np.zeros((32, 3, 3, 3))})
    with pytest.raises(ModelError, match=r"w\.pth holds no EfficientNet-Lite0"):
        room.lite0(tmp_path / "w.pth", 224)


def test_a_batch_is_larger_where_there_is_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    for accelerator in (False, True):
        monkeypatch.setattr(room, "_has_accelerator", lambda found=accelerator: found)
        sizes.append(room.KerasBackbone(tiny(), 32, None, "tiny").batch_size)
    assert sizes == [8, 128]


def test_nothing_is_compiled_by_xla_on_a_cpu() -> None:
    if room._has_accelerator() or keras.config.backend() != "tensorflow":
        pytest.skip("only TensorFlow on a CPU suffers from it")
    model = tiny()
    room.KerasBackbone(model, 32, 1, "tiny")
    assert model.jit_compile is False


class Stubborn:
    """A model that XLA can't compile, or with `broken` nothing can."""

    jit_compile = True

    def __init__(self, broken: bool) -> None:
        self.works = False
        self.broken = broken

    def make_predict_function(self, force: bool = False) -> None:
        self.works = force and not self.jit_compile and not self.broken

    def predict_on_batch(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.works:
            raise RuntimeError("libdevice not found")
        return np.ones((len(batch), 6), np.float32)


def test_a_model_that_xla_can_not_compile_runs_without_it(caplog: pytest.LogCaptureFixture) -> None:
    assert room.KerasBackbone(Stubborn(broken=False), 32, 2, "stubborn").dim == 6
    assert "libdevice not found" in caplog.text


def test_a_model_that_fails_either_way_is_refused() -> None:
    with pytest.raises(ModelError, match="RuntimeError: libdevice not found"):
        room.KerasBackbone(Stubborn(broken=True), 32, 2, "stubborn")


def test_settings_in_someones_home_do_not_change_the_model(tmp_path: Path) -> None:
    path = saved(tiny(), tmp_path)
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float16")
    keras.config.set_dtype_policy("mixed_float16")
    load_embedder(resolve_model(str(path)), tmp_path, 1)
    assert (keras.config.image_data_format(), keras.config.floatx()) == ("channels_last", "float32")
    assert keras.config.dtype_policy().name == "float32"
