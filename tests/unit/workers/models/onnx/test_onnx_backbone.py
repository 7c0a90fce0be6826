"""ONNX files run in OpenVINO: what each pixel becomes on its way in, and what becomes of the output."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from shared.errors import EngineError, FingerprintMismatch, ModelError
from shared.models import resolve_model
from shared.models.onnx.one_file import one_file
from shared.settings import Settings
from tests.support.onnx_files import SIZE, WORDS, changed, linear_file, means_file, means_of, write
from workers.models import engines
from workers.models.embedder import Embedder, load_embedder
from workers.models.onnx import onnx_backbone
from workers.models.onnx.trial_process import tried
from workers.models.openvino_backbone import capabilities

pytestmark = pytest.mark.slow

USUAL = "RGB scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.onnx"


def images(count: int = 9, size: int = SIZE) -> NDArray[np.uint8]:
    """Images whose channels have nothing in common."""
    random = np.random.default_rng(1)
    colours = random.integers(0, 256, (count, 4, 4, 3)).repeat(size // 4, axis=1).repeat(size // 4, axis=2)
    return np.clip(colours + random.integers(-20, 20, colours.shape), 0, 255).astype(np.uint8)


def loaded(path: Path, asked: str | None = None, output: str | None = None, batch_size: int | None = None) -> Embedder:
    return load_embedder(resolve_model(str(path), model_input=asked, model_output=output), path.parent, batch_size)


def unit(features: NDArray[Any]) -> NDArray[np.float64]:
    flat = features.reshape(len(features), -1).astype(np.float64)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What PyTorch's transforms make of pixels: 0 to 1, less the mean, divided by the deviation."""
    return (pixels.astype(np.float64) / 255 - MEAN) / STD


# On the way in.


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("element", ["float32", "float16"])
def test_pixels_are_scaled_as_the_words_say(path: Path, layout: str, element: str) -> None:
    found = loaded(means_file(path, layout=layout, element=element), USUAL).embed(images())
    np.testing.assert_allclose(found, unit(means_of(scaled(images()))), atol=1e-6 if element == "float32" else 1e-3)


def test_blue_comes_first_where_the_words_say_so_and_the_mean_is_in_that_order(path: Path) -> None:
    means_file(path)
    found = loaded(path, "BGR scale=1 mean=103.939,116.779,123.68").embed(images())
    caffe = images()[..., ::-1].astype(np.float64) - [103.939, 116.779, 123.68]
    np.testing.assert_allclose(found, unit(means_of(caffe)), atol=1e-5)
    assert not np.allclose(found, loaded(path, "RGB scale=1 mean=123.68,116.779,103.939").embed(images()), atol=0.1)


def test_bytes_go_in_as_they_are(path: Path) -> None:
    for order, pixels in (("RGB", images()), ("BGR", images()[..., ::-1])):
        found = loaded(means_file(path, element="uint8", layout="NHWC"), order).embed(images())
        np.testing.assert_allclose(found, unit(means_of(pixels)), atol=1e-6)


def test_an_open_size_is_the_one_that_was_named(path: Path) -> None:
    found = loaded(means_file(path, size="s"), f"{SIZE} {USUAL}")
    assert found.image_size == SIZE
    np.testing.assert_allclose(found.embed(images()), unit(means_of(scaled(images()))), atol=1e-6)


@pytest.mark.parametrize("batch", [1, "n", 4])
def test_a_batch_gives_the_rows_of_its_images_one_by_one(path: Path, batch: int | str) -> None:
    means_file(path, batch=batch)
    many, one = loaded(path, USUAL), loaded(path, USUAL, batch_size=1)
    together = many.embed(images())
    assert together.tobytes() == np.concatenate([many.embed(image[None]) for image in images()]).tobytes()
    np.testing.assert_allclose(one.embed(images()), together, atol=1e-6)


def test_a_batch_that_is_fixed_inside_the_graph_is_refused(path: Path) -> None:
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Reshape", ["pooled", "shape"], ["vector"]),
    ]
    taken = helper.make_tensor_value_info("images", TensorProto.FLOAT, [8, 3, 32, 32])
    given = helper.make_tensor_value_info("vector", TensorProto.FLOAT, [8, 12])
    write(path, nodes, [taken], [given], {"shape": np.array([8, 12], np.int64)})
    with pytest.raises(ModelError, match=r"m\.onnx.*for one image, or for any number"):
        loaded(path, WORDS)


# On the way out.


@pytest.mark.parametrize(
    ("output", "pool", "expected"),
    [
        ("map", "mean", lambda fields: fields.mean(axis=(2, 3))),
        ("last", "mean", lambda fields: fields.mean(axis=(2, 3))),
        ("tokens", "mean", lambda fields: fields.mean(axis=(2, 3))),
        ("tokens", "cls", lambda fields: fields[:, :, 0, 0]),
        ("map", "gem", lambda fields: (np.maximum(fields, 1e-6) ** 3).mean(axis=(2, 3)) ** (1 / 3)),
        ("tokens", "gem", lambda fields: (np.maximum(fields, 1e-6) ** 3).mean(axis=(2, 3)) ** (1 / 3)),
    ],
)
def test_places_are_pooled_to_one_vector(
    path: Path, output: str, pool: str, expected: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> None:
    means_file(path, outputs=[output])
    found = loaded(path, USUAL, f"pool={pool}")
    assert found.dim == 3
    np.testing.assert_allclose(found.embed(images()), unit(expected(means_of(scaled(images()), 4))), atol=1e-5)


def test_one_output_of_five_is_computed(path: Path) -> None:
    means_file(path, outputs=["label", "tokens", "point", "map", "vector"])
    for output, fields in (("vector", 2), ("point", 1)):
        found = loaded(path, USUAL, output)
        np.testing.assert_allclose(found.embed(images()), unit(means_of(scaled(images()), fields)), atol=1e-6)


def test_dimensions_that_the_file_does_not_say_are_found(path: Path) -> None:
    changed(means_file(path), lambda model: model.graph.output[0].type.tensor_type.ClearField("shape"))
    spec = resolve_model(str(path), model_input=WORDS)
    assert (spec.dim, load_embedder(spec, path.parent).dim) == (None, 12)
    assert tried(spec, path, Settings()) == {"dim": 12, "pictures": 8}


def test_tokens_that_only_openvino_sees_have_to_be_pooled_all_the_same(path: Path) -> None:
    means_file(path, outputs=["tokens"])
    changed(path, lambda model: model.graph.output[0].type.tensor_type.ClearField("shape"))
    with pytest.raises(ModelError, match=r"\[1,16,3\], is no vector for each image, and can be pooled"):
        loaded(path, WORDS)
    assert loaded(path, WORDS, "pool=mean").dim == 3


@pytest.mark.parametrize("beside", [None, "m.data"])
def test_weights_beside_the_file_are_as_weights_in_it(path: Path, beside: str | None) -> None:
    linear_file(path, beside=beside)
    spec = resolve_model(str(path))
    (path.parent / "job").mkdir()
    (path.parent / "job" / "m.onnx").write_bytes(b"".join(one_file(path)))
    found = load_embedder(spec, path.parent / "job").embed(images())
    assert found.tobytes() == load_embedder(spec, path.parent).embed(images()).tobytes()
    random = np.random.default_rng(0)
    first, second = (random.normal(size=shape).astype(np.float32) for shape in ((3072, 8), (8, 6)))
    flat = (images() / 255).transpose(0, 3, 1, 2).reshape(9, -1)
    np.testing.assert_allclose(found, unit(flat @ first @ second), atol=1e-5)


# What is refused.


def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Callable[[Any], None]:
    """Puts a node behind the model's output, whose result takes its name."""

    def change(model: Any) -> None:
        for one in model.graph.node:
            one.output[:] = ["inner" if name == "vector" else name for name in one.output]
            one.input[:] = ["inner" if name == "vector" else name for name in one.input]
        model.graph.node.append(helper.make_node(kind, inputs, outputs, **attributes))

    return change


def test_an_operator_that_openvino_does_not_know_is_refused(path: Path) -> None:
    def unknown(model: Any) -> None:
        node("Magic", ["inner"], ["vector"], domain="com.example")(model)
        model.opset_import.append(helper.make_opsetid("com.example", 1))

    changed(means_file(path), unknown)
    with pytest.raises(ModelError, match=r"OpenVINO can't run .*m\.onnx \(No conversion .*com\.example\.Magic\)"):
        loaded(path, WORDS)


def test_an_operator_of_a_version_that_openvino_does_not_know_is_refused(path: Path) -> None:
    def later(model: Any) -> None:
        node("NotYetInvented", ["inner"], ["vector"])(model)
        model.opset_import[0].version = 99

    changed(means_file(path), later)
    with pytest.raises(ModelError, match=r"OpenVINO can't run .*m\.onnx \(.*NotYetInvented"):
        loaded(path, WORDS)


def test_features_that_are_random_are_refused(path: Path) -> None:
    def noisy(model: Any) -> None:
        node("Add", ["inner", "noise"], ["vector"])(model)
        made = helper.make_node("RandomNormal", [], ["noise"], shape=[1, 12], mean=0.0, scale=50.0)
        model.graph.node.insert(0, made)

    changed(means_file(path), noisy)
    with pytest.raises(ModelError, match=r"gave another vector to a picture that came alone.*export it for inference"):
        loaded(path, WORDS)


def test_features_that_are_not_finite_are_refused(path: Path) -> None:
    changed(means_file(path), node("Log", ["inner"], ["vector"]))
    with pytest.raises(ModelError, match=r"features that are not finite to \d of 8 pictures"):
        loaded(path, "RGB scale=1/255 mean=0.5 std=0.5")


def test_features_that_are_the_same_for_all_pictures_are_refused(path: Path) -> None:
    changed(means_file(path), node("Sign", ["inner"], ["vector"]))
    with pytest.raises(ModelError, match="gave the same vector to 8 pictures that have nothing in common"):
        loaded(path, WORDS)
    changed(means_file(path), node("Sub", ["inner", "inner"], ["vector"]))
    with pytest.raises(ModelError, match="gave the same vector to 8 pictures"):
        loaded(path, WORDS)


def test_another_number_of_dimensions_than_the_file_says_is_refused(path: Path) -> None:
    def lie(model: Any) -> None:
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7

    changed(means_file(path), lie)
    with pytest.raises(ModelError, match="gives 12 dimensions, and says that it gives 7"):
        loaded(path, WORDS)


def test_a_file_that_changed_is_another_model(path: Path) -> None:
    spec = resolve_model(str(means_file(path)), model_input=WORDS)
    changed(path, lambda model: model.metadata_props.add(key="a", value="b"))
    with pytest.raises(FingerprintMismatch, match="put the weights back that the job was made with"):
        load_embedder(spec, path.parent)


def test_openvino_alone_runs_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    spec = resolve_model(str(means_file(path)), model_input=WORDS)
    with pytest.raises(EngineError, match=r"which OpenVINO runs and Keras can't.*leave the option engine out"):
        load_embedder(spec, path.parent, engine="keras")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(engines, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    caplog.set_level(logging.INFO, "lookalike.worker")
    assert load_embedder(spec, path.parent, engine="auto").dim == 12
    assert "A GPU is here, and stays idle: OpenVINO runs ONNX files on the CPU." in caplog.text
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="is not installed: pip install openvino"):
        load_embedder(spec, path.parent, engine="auto")


def test_float32_is_computed_in_unless_bfloat16_was_asked_for(path: Path) -> None:
    spec = resolve_model(str(means_file(path)), model_input=USUAL)
    assert precision_of(onnx_backbone.build(spec, path, None)) == "f32"
    rounded = resolve_model(str(path), precision="bf16", model_input=USUAL)
    assert rounded.fingerprint != spec.fingerprint
    known = "bf16" if "BF16" in capabilities() else "f32"
    assert precision_of(onnx_backbone.build(rounded, path, None)) == known


def precision_of(backbone: Any) -> str:
    kind = backbone._requests[0].get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
    return str(kind.get_type_name())


def test_no_tensorflow_and_no_onnx_is_imported(path: Path) -> None:
    import subprocess

    means_file(path)
    program = f"""
import sys, pathlib
from shared.models import resolve_model
from workers.models.embedder import load_embedder
path = {str(path)!r}
load_embedder(resolve_model(path, model_input={WORDS!r}), pathlib.Path(path).parent)
print(sorted({{"tensorflow", "keras", "onnx"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


# The whole: a network that Keras builds from the same weights.


def test_a_network_gives_as_an_onnx_file_what_keras_gives(path: Path, run_cache: Path) -> None:
    from importlib.resources import files

    from tests.support.onnx_lite0 import LITE0_WORDS, lite0_file
    from workers.images.decode import decode

    names = ("chelsea.png", "coffee.png", "motorcycle_left.png")
    photos = np.stack([decode((files("skimage") / "data" / name).read_bytes(), 224, 10**8).pixels for name in names])
    keras = load_embedder(resolve_model("efficientnet-lite0"), Path(), engine="openvino", cache_dir=run_cache)
    found = loaded(lite0_file(path), LITE0_WORDS)
    np.testing.assert_allclose(found.embed(photos), keras.embed(photos), atol=1e-5)
    for wrong in (LITE0_WORDS.replace("RGB", "BGR"), "RGB scale=1/255"):
        cosines = (loaded(path, wrong).embed(photos) * keras.embed(photos)).sum(axis=1)
        assert cosines.min() < 0.99
