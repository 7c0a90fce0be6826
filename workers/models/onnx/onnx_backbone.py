"""Run the model of an ONNX file in OpenVINO: its input made of decoded images, its output pooled to one vector."""

from pathlib import Path
from typing import Any

import numpy as np
from openvino import opset13 as ops

from shared.errors import ModelError
from shared.models import ModelSpec
from shared.models.onnx.input_words import UNSCALED, ImageInput
from shared.models.onnx.vector_output import VectorOutput, reduction
from workers.models.onnx.trial import try_out
from workers.models.openvino_backbone import CompiledBackbone, last_line, log_running, openvino, precision_here

_GEM_POWER, _GEM_LEAST = 3.0, 1e-6


def build(spec: ModelSpec, file: Path, batch_size: int | None, alone: int = 1) -> CompiledBackbone:
    """Compile the ONNX `file` of `spec`, and try it on pictures, `alone` of them also one by one.

    Images go through it one at a time, whatever batch it was exported for. Raises ModelError when OpenVINO can't read
    or run it, or what comes out can't be embeddings.
    """
    taken, given = spec.image_input, spec.vector_output
    precision = precision_here(spec)
    backbone = CompiledBackbone(lambda core: _read(core, file, taken, given), file, batch_size, precision)
    if spec.dim not in (None, backbone.dim):
        raise ModelError(
            f"The model {file} gives {backbone.dim} dimensions, and says that it gives {spec.dim}: export it again."
        )
    try_out(backbone, spec.image_size, f"The model {file}", alone)
    log_running(backbone.batch_size, precision)
    return backbone


def _read(core: Any, file: Path, taken: ImageInput, given: VectorOutput) -> Any:
    """The model of uint8 [1, size, size, 3], RGB, that gives float32 [1, dim]."""
    model = core.read_model(file)
    outputs = [output for output in model.outputs if given.name in output.get_names()]
    if len(model.inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"OpenVINO finds {len(model.inputs)} inputs in {file} and {len(outputs)} outputs {given.name!r}; expected "
            "one of each."
        )
    model = openvino.Model(outputs, model.get_parameters(), "features")
    _take_one_image(model, file, taken)
    _give_one_vector(model, file, given)
    return _of_bytes(model, taken)


def _take_one_image(model: Any, file: Path, taken: ImageInput) -> None:
    """Fix the shape of the input in place: one image, of the size that was named where the file leaves it open."""
    size, found = taken.size, model.input(0).partial_shape
    try:
        model.reshape([1, 3, size, size] if taken.layout == "NCHW" else [1, size, size, 3])
    except Exception as error:  # As in the compilation.
        raise ModelError(
            f"The model {file} takes {found}, and can't take one image of {size} pixels ({last_line(error)}): export "
            "it for one image, or for any number, and of this size."
        ) from error


def _give_one_vector(model: Any, file: Path, given: VectorOutput) -> None:
    """Pool the output in place, in float32."""
    output = model.output(0)
    shape, what = output.partial_shape, f"The output {given.name} of {file}"
    if shape.is_dynamic or len(shape) == 0 or shape[0].get_length() != 1:
        raise ModelError(
            f"{what} is {shape} for one image; expected [1, dimensions], or what is pooled to it: export "
            "the model for one image, or for any number."
        )
    found = reduction(f"{what}, {shape},", tuple(output.shape), given.pool)
    result = output.get_node()
    values = ops.convert(result.input_value(0), "f32")
    if given.pool == "cls":
        values = ops.gather(values, np.int64(0), np.int64(1))
    elif found.axes and given.pool == "gem":
        cubes = ops.power(ops.maximum(values, np.float32(_GEM_LEAST)), np.float32(_GEM_POWER))
        values = ops.power(ops.reduce_mean(cubes, np.array(found.axes), False), np.float32(1 / _GEM_POWER))
    elif found.axes:
        values = ops.reduce_mean(values, np.array(found.axes), False)
    result.input(0).replace_source_output(values.output(0))
    model.validate_nodes_and_infer_types()


def _of_bytes(model: Any, taken: ImageInput) -> Any:
    """The model of images as they are decoded: it puts the channels in order, then scales, then moves the axes."""
    prepared = openvino.preprocess.PrePostProcessor(model)
    image = prepared.input()
    image.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    image.model().set_layout(openvino.Layout(taken.layout))
    steps = image.preprocess()
    if taken.order == "BGR":
        steps.reverse_channels()
    if (taken.scale, taken.mean, taken.std) != tuple(UNSCALED.values()):
        # (scale * value - mean) / std, as OpenVINO says it: first less a mean, then divided.
        steps.convert_element_type(openvino.Type.f32)
        steps.mean([mean / taken.scale for mean in taken.mean])
        steps.scale([std / taken.scale for std in taken.std])
    return prepared.build()
