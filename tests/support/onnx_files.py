"""Small ONNX files, written by the onnx package, whose outputs can be computed by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = 32
WORDS = "RGB scale=1/255"
"""What is named of the input of `means_file`, where nothing else matters."""

_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def means_file(
    path: Path,
    *,
    layout: str = "NCHW",
    element: str = "float32",
    batch: int | str = "n",
    size: int | str = SIZE,
    channels: int | str = 3,
    outputs: Sequence[str] = ("vector",),
    notes: Mapping[str, str] | None = None,
) -> Path:
    """A model of the mean colours of fields of an image; see `means_of`.

    `outputs` are of "vector" [n, 12], the means of four quarters; "map" [n, 3, 4, 4], those of sixteen fields;
    "last" [n, 4, 4, 3], the same with the channels last; "tokens" [n, 16, 3]; "point" [n, 3, 1, 1], of the whole; and
    "label", int64 [n], the largest. Of `batch`, `size` and `channels` a text is a size that the file leaves open.
    """
    sides = [size, size] if isinstance(size, int) else [f"{size}_h", f"{size}_w"]
    shape = [batch, channels, *sides] if layout == "NCHW" else [batch, *sides, channels]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=_TYPES["float16" if element == "float16" else "float32"])
    ]
    image = "floats"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", ["floats"], ["first"], perm=[0, 3, 1, 2]))
        image = "first"
    sized = size if isinstance(size, int) else SIZE
    nodes += [
        _pool(image, "quarters", sized // 2),
        _pool(image, "map", sized // 4),
        helper.make_node("Flatten", ["quarters"], ["vector"], axis=1),
        helper.make_node("Transpose", ["map"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["last", "token_shape"], ["tokens"]),
        helper.make_node("GlobalAveragePool", [image], ["point"]),
        helper.make_node("ArgMax", ["vector"], ["label"], axis=1, keepdims=0),
    ]
    kind = TensorProto.FLOAT16 if element == "float16" else TensorProto.FLOAT
    shapes = {"vector": [batch, 12], "map": [batch, 3, 4, 4], "last": [batch, 4, 4, 3], "tokens": [batch, 16, 3],
              "point": [batch, 3, 1, 1], "label": [batch]}  # fmt: skip
    given = [
        helper.make_tensor_value_info(name, TensorProto.INT64 if name == "label" else kind, shapes[name])
        for name in outputs
    ]
    return write(
        path,
        nodes,
        [helper.make_tensor_value_info("images", _TYPES[element], shape)],
        given,
        {"token_shape": np.array([0, 16, 3], np.int64)},
        notes,
    )


def means_of(values: NDArray[Any], fields: int = 2) -> NDArray[np.float64]:
    """What `means_file` computes of float [n, size, size, 3]: the means [n, 3, fields, fields]."""
    count, size, _, channels = values.shape
    side = size // fields
    split = values.astype(np.float64).reshape(count, fields, side, fields, side, channels)
    return split.mean(axis=(2, 4)).transpose(0, 3, 1, 2)


def write(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Mapping[str, NDArray[Any]],
    notes: Mapping[str, str] | None = None,
    opset: int = 13,
) -> Path:
    """Write a graph of these nodes."""
    initializers = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    for key, value in (notes or {}).items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def linear_file(path: Path, *, beside: str | None = None) -> Path:
    """A model that multiplies images [n, 3, 32, 32] by weights, [n, 6]; they are in the file `beside` it if named."""
    random = np.random.default_rng(0)
    weights = {
        "first": random.normal(size=(3072, 8)).astype(np.float32),
        "second": random.normal(size=(8, 6)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "first"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "second"], ["vector"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 6])
    write(path, nodes, [images], [vector], weights, {"lookalike.input": WORDS})
    if beside is not None:
        onnx.save(onnx.load(path), path, save_as_external_data=True, location=beside, size_threshold=0)
    return path


def changed(path: Path, change: Any) -> Path:
    """Apply `change` to the model of a file, and write it back."""
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def _pool(image: str, name: str, side: int) -> Any:
    return helper.make_node("AveragePool", [image], [name], kernel_shape=[side, side], strides=[side, side])
