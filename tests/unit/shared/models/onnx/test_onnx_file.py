"""What an ONNX file says of itself is read without onnx, and a file that is none, or not all of one, is refused."""

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from shared.errors import ModelError
from shared.models.onnx.onnx_file import read_onnx
from tests.support.onnx_files import changed, means_file


def test_inputs_outputs_and_notes_are_those_that_onnx_wrote(tmp_path: Path) -> None:
    notes = {"lookalike.input": "RGB", "Image.BitmapPixelFormat": "Rgb8", "names": "x" * 2_000_000}
    found = read_onnx(means_file(tmp_path / "m.onnx", size="s", outputs=["tokens", "label"], notes=notes))
    assert [str(one) for one in found.inputs] == ["images: float32 [?, 3, ?, ?]"]
    assert [str(one) for one in found.outputs] == ["tokens: float32 [?, 16, 3]", "label: int64 [?]"]
    assert found.notes == {"lookalike.input": "RGB", "image.bitmappixelformat": "Rgb8"}


@pytest.mark.parametrize("element", ["float32", "float16", "uint8"])
def test_the_type_of_the_input_is_told(tmp_path: Path, element: str) -> None:
    (tensor,) = read_onnx(means_file(tmp_path / "m.onnx", element=element, batch=1)).inputs
    assert (tensor.name, tensor.element, tensor.shape) == ("images", element, (1, 3, 32, 32))


def test_weights_that_an_older_file_lists_as_inputs_are_none(tmp_path: Path) -> None:
    def list_weights(model: Any) -> None:
        model.graph.input.append(helper.make_tensor_value_info("token_shape", TensorProto.INT64, [3]))

    path = changed(means_file(tmp_path / "m.onnx"), list_weights)
    assert [one.name for one in read_onnx(path).inputs] == ["images"]


def test_a_shape_that_is_not_said_and_a_type_that_is_no_tensor_are_told(tmp_path: Path) -> None:
    def unsaid(model: Any) -> None:
        model.graph.output[0].type.tensor_type.ClearField("shape")
        model.graph.input.append(
            helper.make_tensor_sequence_value_info("frames", TensorProto.FLOAT, [None, 3, None, None])
        )

    found = read_onnx(changed(means_file(tmp_path / "m.onnx"), unsaid))
    assert str(found.outputs[0]) == "vector: float32"
    assert str(found.inputs[1]) == "frames: another type"


def test_sizes_that_are_zero_or_negative_are_open(tmp_path: Path) -> None:
    def odd(model: Any) -> None:
        for dim, value in zip(model.graph.input[0].type.tensor_type.shape.dim, (-1, 3, 0, 32), strict=True):
            dim.dim_value = value

    assert read_onnx(changed(means_file(tmp_path / "m.onnx"), odd)).inputs[0].shape == (None, 3, None, 32)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x89PNG\r\n\x1a\n", b"<!DOCTYPE html><html>", b"PK\x03\x04", b"\x08\x08", b"version https://git-lfs"],
)
def test_a_file_that_is_no_onnx_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(ModelError, match=r"m\.onnx is no whole ONNX file \(.*\): expected one that an export wrote"):
        read_onnx(tmp_path / "m.onnx")


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = means_file(tmp_path / "m.onnx")
    data = path.read_bytes()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(ModelError, match="is no whole ONNX file"):
            read_onnx(path)


def test_a_graph_without_nodes_or_outputs_is_refused(tmp_path: Path) -> None:
    path = changed(means_file(tmp_path / "m.onnx"), lambda model: model.graph.ClearField("output"))
    with pytest.raises(ModelError, match="computes nothing"):
        read_onnx(path)
    path = changed(means_file(tmp_path / "m.onnx"), lambda model: model.graph.ClearField("node"))
    with pytest.raises(ModelError, match="computes nothing"):
        read_onnx(path)


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx can't be read"):
        read_onnx(tmp_path / "gone.onnx")
