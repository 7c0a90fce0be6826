"""How a model takes an image is known from its file or named; what is open or contradicts is refused, never guessed."""

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from shared.errors import ModelError
from shared.models.onnx.image_input import image_input
from shared.models.onnx.onnx_file import read_onnx
from tests.support.onnx_files import WORDS, changed, means_file

NUMBERS = "scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.onnx"


def taken(path: Path, asked: str | None = None) -> str:
    return str(image_input(read_onnx(path), asked))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_size_and_layout_are_read_off_the_shape(path: Path, layout: str) -> None:
    means_file(path, layout=layout)
    assert taken(path, WORDS) == f"32 {layout} RGB scale=1/255"
    assert taken(path, f"32 {layout} {WORDS}") == taken(path, WORDS)


def test_a_size_that_is_open_is_named(path: Path) -> None:
    means_file(path, size="s")
    with pytest.raises(ModelError, match=r"of any size.*name the pixels of a side with the option model_input"):
        taken(path, WORDS)
    assert taken(path, f"96 {WORDS}") == "96 NCHW RGB scale=1/255"


def test_one_open_side_is_as_the_other(path: Path) -> None:
    def half(model: Any) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[3].Clear()

    changed(means_file(path), half)
    assert taken(path, WORDS) == "32 NCHW RGB scale=1/255"


def test_a_layout_that_no_size_tells_is_named(path: Path) -> None:
    means_file(path, size="s", channels="c")
    with pytest.raises(ModelError, match=r"does not say which size is that of the channels.*model_input=NCHW"):
        taken(path, f"96 {WORDS}")
    assert taken(path, f"96 NHWC {WORDS}") == "96 NHWC RGB scale=1/255"


def test_the_number_of_channels_tells_the_layout_where_the_sides_are_open(path: Path) -> None:
    means_file(path, size="s", layout="NHWC")
    assert taken(path, f"96 {WORDS}").startswith("96 NHWC")
    with pytest.raises(ModelError, match="which is no NCHW"):
        taken(path, f"96 NCHW {WORDS}")


@pytest.mark.parametrize(("asked", "missing"), [(None, "RGB or BGR.*nor how the values"), ("RGB", "does not say how"),
                                                ("scale=1", "does not say in which order")])  # fmt: skip
def test_order_and_scale_are_never_guessed(path: Path, asked: str | None, missing: str) -> None:
    means_file(path)
    with pytest.raises(ModelError, match=missing) as caught:
        taken(path, asked)
    assert caught.value.remedy is not None
    assert "model_input" in caught.value.remedy.given


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (f"64 {WORDS}", r"\[\?, 3, 32, 32\], and images of 64 pixels were named"),
        (f"NHWC {WORDS}", "which is no NHWC.*say NCHW"),
    ],
)
def test_what_contradicts_the_shape_is_refused(path: Path, asked: str, said: str) -> None:
    means_file(path)
    with pytest.raises(ModelError, match=said):
        taken(path, asked)


def test_the_file_may_say_all_in_the_same_words(path: Path) -> None:
    means_file(path, size="s", notes={"lookalike.input": f"96 BGR {NUMBERS}"})
    assert taken(path) == f"96 NCHW BGR {NUMBERS}"
    assert taken(path, "BGR") == taken(path)
    with pytest.raises(ModelError, match="says in its metadata that it takes BGR, and RGB was named"):
        taken(path, "RGB")
    with pytest.raises(ModelError, match=r"that it takes mean=0.485,0.456,0.406, and mean=0.5 was named"):
        taken(path, "scale=1/255 mean=0.5")


@pytest.mark.parametrize(
    ("pixel_range", "words"),
    [
        ("NominalRange_0_255", "scale=1"),
        ("Normalized_0_1", "scale=1/255"),
        ("Normalized_1_1", "scale=1/255 mean=0.5 std=0.5"),
    ],
)
def test_the_metadata_that_onnx_defines_is_read(path: Path, pixel_range: str, words: str) -> None:
    notes = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": pixel_range, "Image.ColorSpaceGamma": "SRGB"}
    means_file(path, notes=notes)
    assert taken(path) == f"32 NCHW BGR {words}"


def test_a_mean_that_is_named_goes_with_the_range_that_is_noted(path: Path) -> None:
    means_file(path, notes={"Image.BitmapPixelFormat": "Rgb8", "Image.NominalPixelRange": "Normalized_0_1"})
    assert taken(path, NUMBERS) == f"32 NCHW RGB {NUMBERS}"
    with pytest.raises(ModelError, match="takes scale=1/255, and scale=1 was named"):
        taken(path, "scale=1 mean=123.675,116.28,103.53")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Image.BitmapPixelFormat", "Gray8"),
        ("Image.BitmapPixelFormat", "Rgba8"),
        ("Image.NominalPixelRange", "NominalRange_16_235"),
        ("Image.ColorSpaceGamma", "Linear"),
        ("Image.NominalPixelRange", "something"),
    ],
)
def test_metadata_that_asks_for_what_is_not_made_is_refused(path: Path, key: str, value: str) -> None:
    means_file(path, notes={key: value})
    with pytest.raises(ModelError, match=f"says in its metadata that {key.lower()} is '{value}'; expected one of"):
        taken(path, WORDS)


def test_metadata_that_contradicts_itself_is_refused(path: Path) -> None:
    means_file(path, notes={"Image.BitmapPixelFormat": "Bgr8", "lookalike.input": "RGB scale=1"})
    with pytest.raises(ModelError, match=r"takes BGR, and that it takes RGB \(in lookalike\.input\)"):
        taken(path)
    means_file(path, notes={"lookalike.input": "RGB 1/255"})
    with pytest.raises(ModelError, match=r"The entry lookalike\.input of .*m\.onnx has '1/255'; expected words"):
        taken(path)


def test_bytes_are_not_scaled(path: Path) -> None:
    means_file(path, element="uint8")
    assert taken(path, "RGB") == "32 NCHW RGB scale=1"
    assert taken(path, "RGB scale=1") == "32 NCHW RGB scale=1"
    with pytest.raises(ModelError, match="does not say in which order"):
        taken(path)
    with pytest.raises(ModelError, match="takes uint8, which is 0 to 255 as it is, and scale=1/255 was named"):
        taken(path, WORDS)


@pytest.mark.parametrize(
    ("numbers", "ends"),
    [
        ("scale=1 mean=0.485,0.456,0.406 std=0.229,0.224,0.225", "-2.118 to 1111"),
        ("scale=1/255 mean=123.675,116.28,103.53 std=58.395,57.12,57.375", "-2.118 to -2.101"),
        ("scale=1/65025", "0 to 0.003922"),
        ("scale=1/255 mean=0.5 std=127.5", "-0.003922 to 0.003922"),
        ("scale=255", "0 to 6.502e.04"),
    ],
)
def test_numbers_of_one_convention_with_the_scale_of_another_are_refused(path: Path, numbers: str, ends: str) -> None:
    means_file(path)
    with pytest.raises(ModelError, match=f"0 to 255 would become {ends}"):
        taken(path, f"RGB {numbers}")


@pytest.mark.parametrize(
    "numbers",
    [
        "scale=1",
        "scale=1/255",
        "scale=1/127.5 mean=1",
        "scale=1/128 mean=0.9921875",
        "scale=1 mean=103.939,116.779,123.68",
        "scale=1 mean=123.675,116.28,103.53 std=58.395,57.12,57.375",
        "scale=1/255 mean=0.48145466,0.4578275,0.40821073 std=0.26862954,0.26130258,0.27577711",
    ],
)
def test_the_conventions_that_people_train_with_are_taken(path: Path, numbers: str) -> None:
    means_file(path)
    assert taken(path, f"RGB {numbers}").startswith("32 NCHW RGB scale=")


def of_inputs(*inputs: Any) -> Any:
    def change(model: Any) -> None:
        model.graph.ClearField("input")
        model.graph.input.extend(inputs)

    return change


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([("images", TensorProto.FLOAT, ["n", 1, 32, 32])], "expected square images of three channels"),
        ([("images", TensorProto.FLOAT, ["n", 4, 32, 32])], "expected square images of three channels"),
        ([("images", TensorProto.FLOAT, ["n", 3, 32, 64])], "expected square images of three channels"),
        ([("images", TensorProto.FLOAT, ["n", 3, 3, 3])], "expected square images of three channels"),
        ([("images", TensorProto.INT32, ["n", 3, 32, 32])], r"images: int32 \[\?, 3, 32, 32\]; expected images"),
        ([("images", TensorProto.DOUBLE, ["n", 3, 32, 32])], "of float32, float16 or uint8"),
        ([("input_ids", TensorProto.INT64, ["n", 77])], r"input_ids: int64 \[\?, 77\]; expected images"),
        ([("images", TensorProto.FLOAT, ["n", 3072])], "expected images"),
        ([("images", TensorProto.FLOAT, None)], "expected images"),
        ([("frames", TensorProto.FLOAT, ["n", 8, 3, 32, 32])], "expected images"),
        (
            [("input_ids", TensorProto.INT64, ["n", 77]), ("pixel_values", TensorProto.FLOAT, ["n", 3, 32, 32])],
            "takes 2 inputs .input_ids.*pixel_values.*expected one, of images",
        ),
        ([], r"takes 0 inputs \(nothing\)"),
    ],
)
def test_a_model_of_anything_but_square_images_is_refused(path: Path, inputs: list[Any], said: str) -> None:
    changed(means_file(path), of_inputs(*(helper.make_tensor_value_info(*one) for one in inputs)))
    with pytest.raises(ModelError, match=said):
        taken(path, WORDS)


def test_a_size_beyond_reason_is_refused(path: Path) -> None:
    means_file(path, size="s")
    for size in ("7", "100000", "0"):
        with pytest.raises(ModelError, match="8 to 4,096 can be made"):
            taken(path, f"{size} {WORDS}")
