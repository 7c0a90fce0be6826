"""EfficientNet-Lite0 as an ONNX file, made of the packaged weights without Keras: a network of the real kind."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from shared.models import LITE0_FILE, LITE0_PACKAGE
from tests.support.onnx_files import write
from workers.models.architectures.torch_weights import read_state_dict

LITE0_WORDS = "RGB scale=1/128 mean=0.9921875"
# Repeats, kernel, stride, expansion: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
_STAGES = ((1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6))


def lite0_file(path: Path) -> Path:
    """Write it: images [n, 3, 224, 224], features [n, 1280]."""
    package = find_spec(LITE0_PACKAGE)
    assert package is not None
    assert package.origin is not None
    state = read_state_dict(Path(package.origin).parent / LITE0_FILE)
    nodes: list[Any] = []
    weights: dict[str, NDArray[Any]] = {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}

    def conv(x: str, key: str, norm: str, stride: int = 1, *, activate: bool = True) -> str:
        kernel = state[f"{key}.weight"]
        weights[f"{key}.weight"] = kernel
        groups = 1 if "depthwise" not in key else len(kernel)
        nodes.append(
            helper.make_node(
                "Conv", [x, f"{key}.weight"], [key], strides=[stride] * 2, group=groups, auto_pad="SAME_UPPER"
            )
        )
        parts = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        weights.update({part: state[part] for part in parts})
        nodes.append(helper.make_node("BatchNormalization", [key, *parts], [f"{norm}.out"], epsilon=1e-3))
        if not activate:
            return f"{norm}.out"
        nodes.append(helper.make_node("Clip", [f"{norm}.out", "zero", "six"], [f"{norm}.active"]))
        return f"{norm}.active"

    x, block = conv("images", "_conv_stem", "_bn0", 2), 0
    for repeats, _, stride, expansion in _STAGES:
        for repeat in range(repeats):
            at, entering = f"_blocks.{block}.", x
            if expansion > 1:
                x = conv(x, f"{at}_expand_conv", f"{at}_bn0")
            x = conv(x, f"{at}_depthwise_conv", f"{at}_bn1", stride if repeat == 0 else 1)
            x = conv(x, f"{at}_project_conv", f"{at}_bn2", activate=False)
            if repeat > 0:
                nodes.append(helper.make_node("Add", [x, entering], [f"{at}sum"]))
                x = f"{at}sum"
            block += 1
    x = conv(x, "_conv_head", "_bn1")
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"], axis=1))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 224, 224])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 1280])
    return write(path, nodes, [images], [features], weights)
