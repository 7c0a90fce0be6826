"""A model's name, weights and fingerprint, known without TensorFlow."""

import hashlib
import json
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from shared.errors import FingerprintMismatch, ModelError
from shared.models import LITE0_FILE, LITE0_PACKAGE, MODEL_NAMES, ModelSpec, resolve_model
from shared.models.imported import imported_model
from shared.models.preprocessing import DECODES, OPAQUE_PREPROCESSING
from tests.support.onnx_files import means_file


def keras_file(path: Path, config: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", b"weights of " + path.name.encode())
    return path


def functional(*shapes: list[int | None], last: str = "Dense") -> dict[str, Any]:
    inputs = [
        {"class_name": "InputLayer", "config": {"batch_shape": shape, "name": f"input_{number}"}}
        for number, shape in enumerate(shapes)
    ]
    # The output layer does not come last in the list, as it need not in a file of Keras.
    output = {"class_name": last, "config": {"units": 7, "name": "output"}}
    between = {"class_name": "Dense", "config": {"units": 99, "name": "hidden"}}
    config = {"layers": [inputs[0], output, between, *inputs[1:]], "output_layers": ["output", 0, 0]}
    return {"class_name": "Functional", "config": config}


def test_the_default_model_has_the_weights_of_the_installed_package() -> None:
    package = find_spec(LITE0_PACKAGE)
    assert package is not None
    assert package.origin is not None
    weights = Path(package.origin).parent / LITE0_FILE
    assert resolve_model("efficientnet-lite0").weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_the_fingerprint_of_the_default_model_stays_what_released_jobs_carry() -> None:
    spec = resolve_model("efficientnet-lite0")
    assert spec.fingerprint == "efficientnet-lite0@6fbe6e88645c"
    older = replace(spec, preprocessing=OPAQUE_PREPROCESSING)  # Of before transparency was put on white.
    assert older.fingerprint == "efficientnet-lite0@4e4578a1d35c"


@pytest.mark.parametrize(
    ("name", "dim", "chunk_size"),
    [
        ("efficientnet-lite0", 1280, 1000),
        ("efficientnet-b0", 1280, 1000),
        ("efficientnet-b4", 1792, 500),
        ("efficientnet-b7", 2560, 200),
        ("efficientnetv2-b3", 1536, 500),
        ("efficientnetv2-l", 1280, 200),
    ],
)
def test_a_known_name_gives_its_dimensions_and_chunk_size_at_224_pixels(name: str, dim: int, chunk_size: int) -> None:
    spec = resolve_model(name)
    assert (spec.name, spec.dim, spec.chunk_size, spec.image_size) == (name, dim, chunk_size, 224)


def test_no_two_models_share_a_fingerprint() -> None:
    assert len({resolve_model(name).fingerprint for name in MODEL_NAMES}) == len(MODEL_NAMES) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"name": "efficientnet-lite1"},
        {"weights_sha256": "0" * 64},
        {"image_size": 240},
        {"preprocessing": "BGR"},
        {"weights": "imagenet"},
        {"precision": "bf16"},
    ],
)
def test_whatever_changes_an_embedding_changes_the_fingerprint(change: dict[str, Any]) -> None:
    spec = resolve_model("efficientnet-lite0")
    assert replace(spec, **change).fingerprint != spec.fingerprint


@pytest.mark.parametrize("change", [{"chunk_size": 10}, {"dim": None}])
def test_the_fingerprint_leaves_out_what_changes_no_embedding(change: dict[str, Any]) -> None:
    spec = resolve_model("efficientnet-b0")
    assert replace(spec, **change) != spec
    assert replace(spec, **change).fingerprint == spec.fingerprint


@pytest.mark.parametrize("decode", DECODES)
def test_the_way_of_decoding_is_kept_and_is_in_the_fingerprint(decode: str, tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"weights")
    custom = str(keras_file(tmp_path / "mine.keras", functional([None, 96, 96, 3])))
    for name, weights in (("efficientnet-lite0", None), ("efficientnet-b4", tmp_path / "w.h5"), (custom, None)):
        spec = resolve_model(name, weights, decode=decode)
        assert spec.decode == decode
        assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
        same = spec.fingerprint == resolve_model(name, weights).fingerprint
        assert same == (decode == "reduced")


def test_a_way_of_decoding_that_is_none_is_refused() -> None:
    with pytest.raises(ModelError, match="'quick'; expected one of reduced, strict"):
        resolve_model("efficientnet-lite0", decode="quick")
    spec = replace(resolve_model("efficientnet-lite0"), preprocessing="BGR 0-1")
    with pytest.raises(FingerprintMismatch, match="wants its images so: BGR 0-1; this version"):
        _ = spec.decode


def test_a_weights_file_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    first, copy, other = (tmp_path / name for name in ("first.h5", "copy.h5", "other.h5"))
    first.write_bytes(b"weights")
    copy.write_bytes(b"weights")
    other.write_bytes(b"other weights")
    spec, same, different = (resolve_model("efficientnet-b4", path) for path in (first, copy, other))
    assert (spec.weights, spec.weights_file) == ("file", "first.h5")
    assert spec.weights_sha256 == hashlib.sha256(b"weights").hexdigest()
    assert spec.fingerprint == same.fingerprint
    assert spec.fingerprint not in (different.fingerprint, resolve_model("efficientnet-b4").fingerprint)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_spec_comes_back_from_its_json(name: str) -> None:
    spec = resolve_model(name)
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": "RGB"}, "colour"),
        ({"image_size": "224"}, "image_size"),
        ({"dim": True}, "dim"),
        ({"weights": "moon"}, "moon"),
        ({"image_size": 0}, "image size 0"),
        ({"weights_sha256": None}, "sha256"),
        ({"weights": "file"}, "file name"),
        ({"weights": "file", "weights_file": "../other/w.h5"}, "plain file name"),
    ],
)
def test_json_that_is_no_spec_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    data = resolve_model("efficientnet-lite0").to_json() | change
    with pytest.raises(ModelError, match=named):
        ModelSpec.from_json(data)


def test_json_that_lacks_a_key_is_refused_by_name() -> None:
    data = resolve_model("efficientnet-lite0").to_json()
    del data["preprocessing"]
    with pytest.raises(ModelError, match="look at preprocessing"):
        ModelSpec.from_json(data)


@pytest.mark.parametrize("name", ["efficientnet-b9", "EfficientNetB4", "model.h5", ""])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_model(name)
    assert all(known in str(caught.value) for known in MODEL_NAMES)
    assert repr(name) in str(caught.value)


def test_the_packaged_model_takes_no_other_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"leave .*w\.h5 out"):
        resolve_model("efficientnet-lite0", tmp_path / "w.h5")


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.h5 does not exist"):
        resolve_model("efficientnet-b4", tmp_path / "gone.h5")
    with pytest.raises(ModelError, match=r"gone\.keras does not exist"):
        resolve_model(str(tmp_path / "gone.keras"))
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(ModelError, match="can't be read"):
        resolve_model(str(tmp_path / "folder.keras"))


def test_weights_in_another_layout_are_refused_before_they_are_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"\.h5"):
        resolve_model("efficientnet-b4", tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("config", "image_size", "dim"),
    [
        (functional([None, 96, 96, 3]), 96, 7),
        (functional([None, None, None, 3]), 224, 7),
        (functional([None, 160, 160, 3], last="GlobalAveragePooling2D"), 160, None),
        ({"config": {"name": "own"}, "build_config": {"input_shape": [None, 64, 64, 3]}}, 64, None),
        (
            {
                "config": {
                    "layers": [
                        {"class_name": "InputLayer", "config": {"batch_shape": [None, 32, 32, 3], "name": "in"}},
                        {"class_name": "Dense", "config": {"units": 5, "name": "out"}},
                    ]
                }
            },
            32,
            5,
        ),
    ],
)
def test_a_keras_file_tells_its_image_size_and_dimensions(
    tmp_path: Path, config: dict[str, Any], image_size: int, dim: int | None
) -> None:
    path = keras_file(tmp_path / "mine.keras", config)
    spec = resolve_model(str(path))
    assert (spec.name, spec.weights, spec.weights_file) == ("custom", "file", "mine.keras")
    assert (spec.image_size, spec.dim, spec.chunk_size) == (image_size, dim, 200)
    assert spec.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "config",
    [
        functional([None, 96, 64, 3]),
        functional([None, None, 96, 3]),
        functional([None, 3, 96, 96]),
        functional([None, 96, 96, 1]),
        functional([None, 96, 96, 3], [None, 96, 96, 3]),
        functional([None, 10]),
        {"config": {"name": "own"}},
        {"config": []},
        [],
    ],
)
def test_a_keras_file_that_takes_no_square_rgb_image_is_refused(tmp_path: Path, config: Any) -> None:
    path = keras_file(tmp_path / "mine.keras", config)
    with pytest.raises(ModelError, match=r"mine\.keras.*expected"):
        resolve_model(str(path))


def test_a_keras_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.keras"
    path.write_bytes(b"\x89HDF\r\n\x1a\n an older format of Keras")
    with pytest.raises(ModelError, match=r"model\.save"):
        resolve_model(str(path))


def test_a_keras_file_brings_its_own_weights(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "mine.keras", functional([None, 96, 96, 3]))
    with pytest.raises(ModelError, match="its own weights"):
        resolve_model(str(path), tmp_path / "w.h5")


# ONNX files.


def test_an_onnx_file_is_known_by_its_bytes_and_by_how_it_is_used(tmp_path: Path) -> None:
    path = means_file(tmp_path / "mine.onnx", outputs=["map", "vector"])
    asked: dict[str, Any] = {"model_input": "RGB scale=1/255", "model_output": "vector"}
    spec = resolve_model(str(path), **asked)
    assert (spec.name, spec.weights, spec.weights_file) == ("onnx", "file", "mine.onnx")
    assert (spec.image_size, spec.dim, spec.chunk_size) == (32, 12, 200)
    assert (spec.input, spec.output) == ("32 NCHW RGB scale=1/255", "vector")
    assert spec.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    others = [
        resolve_model(str(path), **asked | {"model_input": "BGR scale=1/255"}),
        resolve_model(str(path), **asked | {"model_input": "RGB scale=1"}),
        resolve_model(str(path), **asked | {"model_input": "RGB scale=1/255 mean=0.5"}),
        resolve_model(str(path), **asked | {"model_output": "map pool=mean"}),
        resolve_model(str(path), **asked | {"model_output": "map pool=gem"}),
        resolve_model(str(path), precision="bf16", **asked),
        resolve_model(str(path), decode="strict", **asked),
        resolve_model(str(means_file(tmp_path / "mine.onnx", outputs=["vector"])), **asked),
    ]
    assert len({one.fingerprint for one in [spec, *others]}) == 1 + len(others)
    said_otherwise = resolve_model(str(path), model_input="scale=0.00392156862745098 NCHW RGB 32 mean=0")
    assert said_otherwise.fingerprint == others[-1].fingerprint


def test_the_manifest_of_any_other_model_is_as_it_was() -> None:
    assert not {"input", "output"} & resolve_model("efficientnet-b0").to_json().keys()


def test_words_for_an_onnx_file_are_for_one_alone(tmp_path: Path) -> None:
    custom = str(keras_file(tmp_path / "mine.keras", functional([None, 96, 96, 3])))
    for name in ("efficientnet-b0", custom):
        for option in ("model_input", "model_output"):
            words: dict[str, Any] = {option: "RGB"}
            with pytest.raises(ModelError, match=r"which is no \.onnx file: leave the option model_(in|out)put out"):
                resolve_model(name, **words)


def test_float16_is_for_gpus_and_an_onnx_file_is_not(tmp_path: Path) -> None:
    path = means_file(tmp_path / "mine.onnx")
    with pytest.raises(ModelError, match=r"run on CPUs alone, and f16 is for GPUs.*precision"):
        resolve_model(str(path), precision="f16", model_input="RGB scale=1/255")
    with pytest.raises(ModelError, match=r"gone\.onnx does not exist"):
        resolve_model(str(tmp_path / "gone.onnx"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"input": None}, "both are expected for an ONNX file"),
        ({"output": None}, "both are expected for an ONNX file"),
        ({"name": "custom"}, "only for one"),
        ({"input": "64 NCHW RGB scale=1/255"}, "images of 32 pixels"),
        ({"input": "32 NCHW RGB"}, "lacks scale"),
        ({"output": "pool=cls"}, "names none"),
        ({"output": 3}, "look at output"),
    ],
)
def test_a_manifest_that_says_nonsense_of_an_onnx_file_is_refused(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    spec = resolve_model(str(means_file(tmp_path / "mine.onnx")), model_input="RGB scale=1/255")
    with pytest.raises(ModelError, match=named):
        ModelSpec.from_json(spec.to_json() | change)


def test_imported_vectors_may_be_called_onnx() -> None:
    assert not imported_model("onnx", 4).is_onnx


def test_an_imported_model_is_its_name_and_dimensions() -> None:
    model = imported_model("ViT-B/32", 512)
    assert (model.is_imported, model.dim, model.image_size, model.weights) == (True, 512, 0, "none")
    assert model.fingerprint == "ViT-B/32@2e0717531c7c"  # What jobs carry.
    assert imported_model("ViT-B/32", 512, chunk_size=7).fingerprint == model.fingerprint
    assert imported_model("ViT-B/32", 768).fingerprint != model.fingerprint
    assert imported_model("ViT-L/14", 512).fingerprint != model.fingerprint
    assert ModelSpec.from_json(json.loads(json.dumps(model.to_json()))) == model
    assert not resolve_model("efficientnet-lite0").is_imported


@pytest.mark.parametrize("name", ["", " ", "two words", "-x", "é", "a\n", "x" * 101])
def test_a_name_that_nothing_can_be_called_by_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="can't name a model"):
        imported_model(name, 4)


@pytest.mark.parametrize("dim", [0, -1, 65_537])
def test_dimensions_that_no_index_takes_are_refused(dim: int) -> None:
    with pytest.raises(ModelError, match="1 to 65,536 can be imported"):
        imported_model("made-up", dim)


def test_an_imported_model_without_dimensions_is_none() -> None:
    with pytest.raises(ModelError, match="has no number of dimensions"):
        replace(imported_model("made-up", 4), dim=None)
    with pytest.raises(ModelError, match="must be at least 1"):
        replace(resolve_model("efficientnet-lite0"), image_size=0)
