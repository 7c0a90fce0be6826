"""Real models: the packaged weights see what ImageNet says, and the bytes of an embedding depend on its image alone."""

import io
import json
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.errors import ModelError
from shared.models import LITE0_FILE, LITE0_PACKAGE, MODEL_NAMES, ModelSpec, resolve_model
from shared.models.fusion import known_levels
from workers.images.decode import decode
from workers.models import embedder
from workers.models.embedder import Embedder, OverlappingEmbedder

# Keras asks TensorFlow's arrays for a copy in a way that NumPy 2 wants put otherwise.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.timeout(600),  # TensorFlow alone takes a while on a busy machine.
    pytest.mark.slow,
]

if TYPE_CHECKING:
    import keras
    from keras import layers

    from workers.models import keras_backbone
    from workers.models.architectures import keras_models

# Photographs inside scikit-image, and the ImageNet classes that a person would allow for each.
CLASSES = {
    "chelsea.png": set(range(281, 288)),  # cats
    "coffee.png": {967, 968},  # espresso, cup
    "camera.png": {872},  # tripod
    "motorcycle_left.png": {665, 670},  # moped, motor scooter
}
NOWHERE = Path("no-model-directory")


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """TensorFlow, once the first of these tests runs: loading it here would cost every process that collects tests."""
    global keras, layers, keras_backbone, keras_models
    import keras
    from keras import layers

    from workers.models import keras_backbone
    from workers.models.architectures import keras_models


def load_embedder(spec: ModelSpec, model_dir: Path, batch_size: int | None = None) -> Embedder:
    return embedder.load_embedder(spec, model_dir, batch_size, engine="keras")


def pixels(data: bytes) -> NDArray[np.uint8]:
    return decode(data, 224, 10**8).pixels


@pytest.fixture(scope="module")
def photos() -> dict[str, NDArray[np.uint8]]:
    return {name: pixels((files("skimage") / "data" / name).read_bytes()) for name in CLASSES}


@pytest.fixture(scope="module")
def lite0() -> Embedder:
    return load_embedder(resolve_model("efficientnet-lite0"), NOWHERE)


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that are none of Keras' are not wrapped either."""
    monkeypatch.setattr(keras_backbone, "taking_bytes", lambda model, image_size: model)


@pytest.fixture(scope="module")
def classifier() -> Any:
    package = find_spec(LITE0_PACKAGE)
    assert package is not None
    assert package.origin is not None
    return keras_backbone.lite0(Path(package.origin).parent / LITE0_FILE, 224, classify=True)


@pytest.fixture(scope="module")
def b0_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights for EfficientNetB0 in the layout and with the input statistics of Keras' own file."""
    keras.utils.set_random_seed(7)
    model = keras.applications.EfficientNetB0(include_top=False, weights=None, pooling="avg", input_shape=(224, 224, 3))
    random = np.random.default_rng(7)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            # Offsets near zero and some gain from layer to layer: else all images get nearly the same features.
            centres = (1, 0, 0, 0.6)  # gamma, beta, mean and variance
            layer.set_weights([random.uniform(at - 0.1, at + 0.1, layer.gamma.shape) for at in centres])
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
    folded = keras_models.fold_batch_norm(classifier)
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


class Uneven:
    """A model that adds up the last image of a batch in another order."""

    jit_compile = False

    def __init__(self) -> None:
        self.asked: list[int] = []

    def predict_on_batch(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.asked.append(len(batch))
        found = batch.mean(axis=(1, 2)).astype(np.float32)
        found[-1] = np.nextafter(found[-1], np.float32(1000))
        return found


@pytest.mark.usefixtures("as_it_is")
def test_a_place_in_which_an_image_comes_out_otherwise_is_left_empty() -> None:
    model, images = Uneven(), np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    backbone = keras_backbone.KerasBackbone(model, 8, 4, "uneven")
    expected = images.mean(axis=(1, 2)).astype(np.float32)
    np.testing.assert_array_equal(backbone.forward(images), expected)
    np.testing.assert_array_equal(backbone.forward(images[::-1]), expected[::-1])
    assert model.asked == [4, 5, 5]
    even = Device(1000, MemoryError())
    assert keras_backbone.KerasBackbone(even, 8, 4, "even").forward(images).shape == (4, 6)
    assert even.asked == [4, 4]


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
    assert np.ptp(found, axis=0).max() > 0.01
    np.testing.assert_allclose(found, by_download.embed(images), atol=1e-3)


def test_a_download_that_fails_names_the_file_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def offline(name: str, *_: Any, **__: Any) -> str:
        asked.append(name)
        raise Exception("URL fetch failure on https://x: None -- no network")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    for name in ("efficientnet-b0", "efficientnetv2-b0"):
        with pytest.raises(ModelError, match=r"no network.*the option weights=PATH") as caught:
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


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("efficientnetv2-b0", lambda data: data),
        ("efficientnet-b0", lambda data: data[: len(data) // 2]),
        ("efficientnet-b0", lambda data: b"PK\3\4 no HDF5"),
        ("efficientnet-b0", lambda data: b""),
    ],
    ids=["another architecture", "cut short", "another format", "empty"],
)
def test_a_weights_file_that_does_not_hold_the_model_is_refused(
    name: str, harm: Callable[[bytes], bytes], b0_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.h5"
    path.write_bytes(harm(b0_file.read_bytes()))
    with pytest.raises(ModelError, match=rf"mine\.h5 does not hold the weights of {name} without its top.*_notop\.h5"):
        load_embedder(resolve_model(name, path), tmp_path)


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
        keras_backbone.build(resolve_model(name), None, None)
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
    assert (embedder.dim, embedder.image_size, embedder.batch_size) == (5, 32, keras_backbone._CPU_BATCH)
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


def rewritten(path: Path, change: Callable[[dict[str, Any]], None], *, weights_bytes: int | None = None) -> Path:
    """The `.keras` file at `path` with its last layer changed, or with so many bytes of its weights."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    change(config["config"]["layers"][-1])
    content["config.json"] = json.dumps(config).encode()
    content["model.weights.h5"] = content["model.weights.h5"][:weights_bytes]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


# What a file may say of a layer to have something run or imported that is none of Keras' layers.
UNSAFE: dict[str, dict[str, Any]] = {
    "a layer of one's own": {"module": "mine", "class_name": "MyLayer", "registered_name": "mine>MyLayer"},
    "a module that can be imported": {"module": "lk_marker", "class_name": "Layer", "registered_name": "Layer"},
    "a function of the system": {"module": "os", "class_name": "system", "registered_name": "system"},
    "a builtin": {"module": "builtins", "class_name": "exec", "registered_name": "exec"},
    "a tool of Keras": {"module": "keras.utils", "class_name": "get_file", "registered_name": None},
    "what Keras imports": {"module": "keras.src.utils.file_utils", "class_name": "os", "registered_name": None},
}


@pytest.mark.parametrize("what", UNSAFE)
def test_a_keras_file_with_what_is_no_layer_of_keras_is_refused_and_nothing_runs(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "lk_marker.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Layer: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = rewritten(saved(tiny(layers.Dense(5)), tmp_path), lambda layer: layer.update(UNSAFE[what]))
    monkeypatch.setattr(os, "system", lambda command: marker.touch())
    monkeypatch.setattr("builtins.exec", lambda code: marker.touch())
    monkeypatch.setattr("keras.utils.get_file", lambda *_, **__: marker.touch())
    spec = replace(resolve_model(str(path)), dim=None)
    with pytest.raises(ModelError, match=r"mine\.keras can't be loaded.*code in a file is never run") as caught:
        load_embedder(spec, tmp_path)
    assert not marker.exists()
    assert "lk_marker" not in sys.modules
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("activation", ["system", "exec"])
def test_a_function_that_a_layer_names_is_looked_for_in_keras_alone(activation: str, tmp_path: Path) -> None:
    named = {"module": "os", "class_name": "function", "config": activation, "registered_name": activation}
    path = saved(tiny(layers.Dense(5)), tmp_path)
    rewritten(path, lambda layer: layer["config"].update(activation=named))
    with pytest.raises(ModelError, match=r"mine\.keras can't be loaded.*never run"):
        load_embedder(resolve_model(str(path)), tmp_path)


@pytest.mark.parametrize("weights_bytes", [0, 3000])
def test_a_keras_file_whose_weights_are_cut_short_is_refused(weights_bytes: int, tmp_path: Path) -> None:
    path = saved(tiny(layers.Dense(5)), tmp_path)
    rewritten(path, lambda layer: None, weights_bytes=weights_bytes)
    with pytest.raises(ModelError, match=r"mine\.keras can't be loaded as a Keras model \(.*; expected a file"):
        load_embedder(resolve_model(str(path)), tmp_path)


def test_a_keras_file_whose_layers_do_not_fit_its_weights_is_refused(tmp_path: Path) -> None:
    path = saved(tiny(layers.Dense(5)), tmp_path)
    rewritten(path, lambda layer: layer["config"].update(units=6))
    with pytest.raises(ModelError, match=r"mine\.keras can't be loaded"):
        load_embedder(resolve_model(str(path)), tmp_path)


def test_a_model_that_takes_another_image_size_is_refused(tmp_path: Path) -> None:
    path = saved(tiny(), tmp_path)
    with pytest.raises(ModelError, match=r"first batch of \[8, 48, 48, 3\] \(ValueError.*expected"):
        load_embedder(replace(resolve_model(str(path)), image_size=48), tmp_path)


def test_a_state_dict_of_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_models, "read_state_dict", lambda path: {"_conv_stem.weight": np.zeros((32, 3, 3, 3))})
    with pytest.raises(ModelError, match=r"w\.pth holds no EfficientNet-Lite0"):
        keras_backbone.lite0(tmp_path / "w.pth", 224)


def test_nothing_is_compiled_by_xla_on_a_cpu() -> None:
    if keras_backbone.has_gpu() or keras.config.backend() != "tensorflow":
        pytest.skip("only TensorFlow on a CPU suffers from it")
    backbone = keras_backbone.KerasBackbone(tiny(), 32, 1, "tiny")
    assert backbone._model.jit_compile is False


def test_a_batch_goes_in_as_bytes_and_is_scaled_inside_the_model() -> None:
    model = tiny(layers.Rescaling(1 / 255))
    backbone = keras_backbone.KerasBackbone(model, 32, 3, "tiny")
    assert [(tensor.dtype, tensor.shape) for tensor in backbone._model.inputs] == [("uint8", (None, 32, 32, 3))]
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = backbone.forward(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model.predict_on_batch(images.astype(np.float32)), rtol=1e-5)


def test_float32_is_float32_throughout_and_gpu_memory_is_not_taken_at_once(tmp_path: Path) -> None:
    if keras.config.backend() != "tensorflow":
        pytest.skip("TensorFlow's own switches")
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(True)
    keras_backbone.build_model(resolve_model(str(saved(tiny(), tmp_path))), tmp_path / "mine.keras")
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    for gpu in tf.config.list_physical_devices("GPU"):
        assert tf.config.experimental.get_memory_growth(gpu)


class Device:
    """A model on a GPU whose memory holds so many images at a time; more of them end in `error`."""

    jit_compile = True

    def __init__(self, holds: int, error: Exception) -> None:
        self.holds, self.error = holds, error
        self.asked: list[int] = []

    def predict_on_batch(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.asked.append(len(batch))
        if len(batch) > self.holds:
            raise self.error
        return np.ones((len(batch), 6), np.float32)


class OutOfMemoryError(RuntimeError):
    """What PyTorch calls it."""


FULL = [
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2147483648 bytes."),  # JAX, and XLA
    OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    type("ResourceExhaustedError", (Exception,), {})("{{function_node __wrapped__Conv2D}} failed to allocate"),
    ValueError("OOM when allocating tensor with shape[256,96,112,112]"),
]


@pytest.mark.usefixtures("as_it_is")
@pytest.mark.parametrize("error", FULL)
@pytest.mark.parametrize(
    ("holds", "asked"), [(1000, [256]), (100, [256, 128, 64]), (1, [256 >> by for by in range(9)])]
)
def test_a_gpu_takes_the_largest_batch_that_fits(
    error: Exception, holds: int, asked: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lookalike.worker")
    model = Device(holds, error)
    backbone = keras_backbone.GpuBackbone(model, 8, None, "large")
    assert (backbone.batch_size, model.asked) == (asked[-1], asked)
    assert caplog.text.count("trying half") == len(asked) - 1
    assert "XLA" not in caplog.text  # Which is not at fault.


@pytest.mark.usefixtures("as_it_is")
@pytest.mark.parametrize(("batch_size", "asked"), [(None, [256 >> by for by in range(9)]), (64, [64])])
def test_a_gpu_that_holds_not_even_what_it_must_is_an_error(batch_size: int | None, asked: list[int]) -> None:
    model = Device(0, FULL[0])
    with pytest.raises(
        ModelError, match=rf"first batch of \[{asked[-1]}, 8, 8, 3\].*expected one that .*fits into memory"
    ):
        keras_backbone.GpuBackbone(model, 8, batch_size, "huge")
    assert model.asked == asked


@pytest.mark.usefixtures("as_it_is")
def test_an_error_of_another_kind_is_not_tried_again_with_less() -> None:
    model = Device(0, ValueError("expected min_ndim=2"))
    model.jit_compile = False
    with pytest.raises(ModelError, match=r"first batch of \[256, 8, 8, 3\] \(ValueError: expected min_ndim=2"):
        keras_backbone.GpuBackbone(model, 8, None, "wrong")
    assert model.asked == [256]


@pytest.mark.usefixtures("as_it_is")
def test_memory_that_is_gone_later_is_an_error_that_says_what_to_do() -> None:
    model = Device(16, FULL[0])
    backbone = keras_backbone.GpuBackbone(model, 8, 16, "large")
    model.holds = 0
    with pytest.raises(ModelError, match=r"no memory left for 16 images at a time.*LOOKALIKE_BATCH_SIZE"):
        backbone.forward(np.zeros((16, 8, 8, 3), np.uint8))
    model.error = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        backbone.forward(np.zeros((16, 8, 8, 3), np.uint8))


@pytest.mark.parametrize("gpu", [False, True])
def test_batches_are_handed_over_on_a_gpu_alone(gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_backbone, "has_gpu", lambda: gpu)
    spec = resolve_model(str(saved(tiny(layers.Dense(5)), tmp_path)))
    embedder = load_embedder(spec, tmp_path, 4)
    images = np.random.default_rng(1).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    expected = embedder.embed(images)
    assert isinstance(embedder, OverlappingEmbedder) == gpu
    if isinstance(embedder, OverlappingEmbedder):
        both = [embedder.hand_over(images), embedder.hand_over(images[::-1])]
        assert both[0]().tobytes() == expected.tobytes()
        assert both[1]().tobytes() == expected[::-1].tobytes()


def test_in_half_a_model_gives_nearly_the_same_features(
    lite0: Embedder,
    photos: dict[str, NDArray[np.uint8]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "lookalike.worker")
    images = np.stack(list(photos.values()))
    spec = resolve_model("efficientnet-lite0", precision="f16")
    on_a_cpu = load_embedder(spec, NOWHERE, 4)
    assert "float32 on a CPU, which gives a job of f16 the same hits" in caplog.text
    monkeypatch.setattr(keras_backbone, "has_gpu", lambda: True)
    half = load_embedder(spec, NOWHERE, 4)
    assert "runs the model in f16 on a GPU, 4 images a call" in caplog.text
    exact, found = lite0.embed(images), half.embed(images)
    assert (half.fingerprint, half.fingerprint != lite0.fingerprint) == (spec.fingerprint, True)
    assert np.abs(on_a_cpu.embed(images) - exact).max() < 1e-6
    cosines = (found * exact).sum(axis=1)
    assert 0.9999 < cosines.min() < 0.9999999
    unasked = load_embedder(resolve_model("efficientnet-lite0"), NOWHERE, 4).embed(images)
    assert np.abs(unasked - exact).max() < 1e-6


def test_in_half_weights_and_means_stay_whole() -> None:
    inner = tiny()
    images = layers.Input((32, 32, 3))
    model = keras.Model(images, layers.Dense(3)(inner(layers.Rescaling(1 / 255)(images))))
    keras_backbone.in_half(model)
    policies = {type(layer).__name__: layer.compute_dtype for layer in [*model.layers, *inner.layers]}
    assert policies["GlobalAveragePooling2D"] == "float32"
    assert {policies[name] for name in ("Rescaling", "Conv2D", "Dense")} == {"float16"}
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}


def test_on_a_gpu_features_are_those_of_a_cpu(photos: dict[str, NDArray[np.uint8]], tmp_path: Path) -> None:
    if not keras_backbone.has_gpu():
        pytest.skip("There is no GPU.")
    images = np.stack(list(photos.values()))
    exact = load_embedder(resolve_model("efficientnet-lite0"), NOWHERE)
    half = load_embedder(resolve_model("efficientnet-lite0", precision="f16"), NOWHERE)
    assert exact.batch_size in [256 >> by for by in range(9)]
    assert isinstance(exact, OverlappingEmbedder)
    by_cpu = embedded_elsewhere({"CUDA_VISIBLE_DEVICES": "-1"}, images, tmp_path)
    assert (exact.embed(images) * by_cpu).sum(axis=1).min() > 0.99999
    assert (half.embed(images) * by_cpu).sum(axis=1).min() > 0.999
    many = np.concatenate([images] * 200)  # Several batches, and a part of one.
    np.testing.assert_allclose(exact.embed(many), np.concatenate([exact.embed(images)] * 200), atol=1e-5)
    both = [exact.hand_over(many), exact.hand_over(many[::-1])]
    np.testing.assert_allclose(both[0](), both[1]()[::-1], atol=1e-5)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_on_another_backend_of_keras_the_embeddings_are_those_on_tensorflow(
    backend: str, lite0: Embedder, photos: dict[str, NDArray[np.uint8]], tmp_path: Path
) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed.")
    images = np.stack([*photos.values(), *list(photos.values())[:2]] * 2)
    found = embedded_elsewhere({"KERAS_BACKEND": backend}, images, tmp_path)
    assert found.shape == (12, 1280)
    assert (found * lite0.embed(images)).sum(axis=1).min() >= 0.99999


def embedded_elsewhere(environment: dict[str, str], images: NDArray[np.uint8], folder: Path) -> NDArray[np.float32]:
    """What a process with `environment` embeds `images` to with Keras and the default model."""
    program = """
import os, pathlib, sys
import numpy as np
from shared.models import resolve_model
from workers.models.embedder import load_embedder
folder = pathlib.Path(sys.argv[1])
embedder = load_embedder(resolve_model("efficientnet-lite0"), folder, engine="keras")
import keras
assert keras.config.backend() == os.environ.get("KERAS_BACKEND", "tensorflow")
np.save(folder / "found.npy", embedder.embed(np.load(folder / "images.npy")))
"""
    np.save(folder / "images.npy", images)
    done = subprocess.run(
        [sys.executable, "-c", program, folder],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    found: NDArray[np.float32] = np.load(folder / "found.npy")
    return found


class Stubborn:
    """A model that XLA can't compile, or with `broken` nothing can."""

    jit_compile = True

    def __init__(self, broken: bool) -> None:
        self.works = False
        self.broken = broken

    def make_predict_function(self, force: bool = False) -> None:
        self.works = force and not self.jit_compile and not self.broken

    def predict_on_batch(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not self.works:
            raise RuntimeError("libdevice not found")
        return np.ones((len(batch), 6), np.float32)


@pytest.mark.usefixtures("as_it_is")
def test_a_model_that_xla_can_not_compile_runs_without_it(caplog: pytest.LogCaptureFixture) -> None:
    assert keras_backbone.GpuBackbone(Stubborn(broken=False), 32, 2, "stubborn").dim == 6
    assert "libdevice not found" in caplog.text


@pytest.mark.usefixtures("as_it_is")
def test_a_model_that_fails_either_way_is_refused() -> None:
    with pytest.raises(ModelError, match="RuntimeError: libdevice not found"):
        keras_backbone.KerasBackbone(Stubborn(broken=True), 32, 2, "stubborn")


def test_settings_in_someones_home_do_not_change_the_model(tmp_path: Path) -> None:
    path = saved(tiny(), tmp_path)
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float16")
    keras.config.set_dtype_policy("mixed_float16")
    load_embedder(resolve_model(str(path)), tmp_path, 1)
    assert (keras.config.image_data_format(), keras.config.floatx()) == ("channels_last", "float32")
    assert keras.config.dtype_policy().name == "float32"


def test_the_packaged_model_has_the_levels_that_are_fused(classifier: Any) -> None:
    maps = [classifier.get_layer(level).output.shape[1:] for level in known_levels("efficientnet-lite0") or ()]
    assert maps == [(28, 28, 240), (14, 14, 672), (7, 7, 1280)]
