"""Read what an ONNX file says of itself: its inputs and outputs, its notes, and whether it is whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ModelError
from shared.models.onnx.wire import Message, WireError
from shared.storage import files

# The numbers of the fields that are read, by https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
_MODEL_GRAPH, _MODEL_OPSETS, _MODEL_NOTES = 7, 8, 14
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_TENSOR_NAME = 8
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR, _TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 1, 2
_SHAPE_DIM, _DIM_VALUE = 1, 1
_NOTE_KEY, _NOTE_VALUE = 1, 2
_NOTES_READ = ("lookalike.", "image.")
_ELEMENTS = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output: `element` is the type of its values, as NumPy calls it, or "another type".

    Of the `shape`, None is a size that the file leaves open; the shape is None if the file says nothing of it.
    """

    name: str
    element: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        shape = "" if self.shape is None else f" [{', '.join('?' if n is None else str(n) for n in self.shape)}]"
        return f"{self.name}: {self.element}{shape}"


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What the file at `path` says of itself; `notes` are those of its metadata_props that concern us, by their
    names in small letters.
    """

    path: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    notes: Mapping[str, str]


def read_onnx(path: Path) -> OnnxFile:
    """What an ONNX file says of itself.

    Its weights are not read, whatever their size. Raises ModelError for a file that is none, or that is cut short.
    """
    try:
        with files.opened(path) as file:
            return _read(path, Message(file))
    except WireError as error:
        raise ModelError(
            f"{path} is no whole ONNX file ({error}): expected one that an export wrote to its end; copy or export it "
            "again."
        ) from None
    except OSError as error:
        raise ModelError(f"The model's file {path} can't be read: {error.strerror}.") from error


def _read(path: Path, model: Message) -> OnnxFile:
    graphs: list[Message] = []
    notes: dict[str, str] = {}
    opsets = 0
    for number, message in model.messages(_MODEL_GRAPH, _MODEL_OPSETS, _MODEL_NOTES):
        if number == _MODEL_GRAPH:
            graphs.append(message)
        elif number == _MODEL_OPSETS:
            opsets += 1
        elif (key := message.text(_NOTE_KEY).lower()).startswith(_NOTES_READ):
            notes[key] = message.text(_NOTE_VALUE)
    if len(graphs) != 1:
        raise WireError("it holds no graph")
    if not opsets:  # It comes behind the graph: so ends a file that was cut there.
        raise WireError("it does not say which version of the operators it uses")
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    constants: set[str] = set()
    nodes = 0
    for number, message in graphs[0].messages(_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT):
        if number == _GRAPH_NODE:
            nodes += 1
        elif number == _GRAPH_INITIALIZER:
            constants.add(message.text(_TENSOR_NAME))
        elif number == _GRAPH_INPUT:
            inputs.append(_tensor(message))
        else:
            outputs.append(_tensor(message))
    if not nodes or not outputs:
        raise WireError("its graph computes nothing")
    # Older files list their weights among the inputs too.
    return OnnxFile(path, tuple(one for one in inputs if one.name not in constants), tuple(outputs), notes)


def _tensor(value: Message) -> Tensor:
    name, element, shape = value.text(_VALUE_NAME), "another type", None
    for _, kind in value.messages(_VALUE_TYPE):
        for _, tensor in kind.messages(_TYPE_TENSOR):
            element = _ELEMENTS.get(tensor.number(_TENSOR_ELEMENT) or 0, "another type")
            for _, sizes in tensor.messages(_TENSOR_SHAPE):
                shape = tuple(_size(dim) for _, dim in sizes.messages(_SHAPE_DIM))
    return Tensor(name, element, shape)


def _size(dim: Message) -> int | None:
    value = dim.number(_DIM_VALUE)
    return value if value and value < 1 << 32 else None  # Some exporters write 0 or -1 for an open size.
