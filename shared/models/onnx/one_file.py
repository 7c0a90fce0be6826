"""Make one file of an ONNX file and of the weights that it keeps in files beside it, as a job keeps one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shared.errors import ModelError
from shared.models.onnx.wire import Message, Part, WireError, head
from shared.storage import files

# As in onnx_file.py, by https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_NAME, _TENSOR_RAW, _TENSOR_OUTSIDE, _TENSOR_PLACE = 8, 9, 13, 14
_NOTE_KEY, _NOTE_VALUE = 1, 2
_ELSEWHERE = 1
MOST_BYTES = (1 << 31) - 1  # A protobuf message is no larger.
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive bytes of a file."""

    path: Path
    start: int
    length: int


Piece = bytes | Stretch


def one_file(path: Path) -> Iterator[bytes]:
    """The bytes of an ONNX file that holds all its weights: those of the file itself if it does so already.

    A file that is no ONNX file is given as it is. Raises ModelError if a file beside it is missing or too short, or all
    of it is too much for one file, OSError for what can't be read.
    """
    with files.opened(path) as file:
        try:
            pieces = _of_model(path, Message(file))
        except WireError:
            pieces = None
    if pieces is None:
        yield from files.blocks_of(path)
        return
    if (total := _length(pieces)) > MOST_BYTES:
        raise ModelError(
            f"{path} and the weights beside it are {total:,} bytes, and one file holds {MOST_BYTES:,} at most: export "
            "it in float16."
        )
    for piece in pieces:
        yield from (piece,) if isinstance(piece, bytes) else _read(piece)


def _of_model(path: Path, model: Message) -> list[Piece] | None:
    """The pieces of the whole; None if the file has all its weights."""
    pieces: list[Piece] = []
    outside = False
    for part in model.parts():
        if part.number != _MODEL_GRAPH:
            pieces.append(_stretch(path, part))
            continue
        inside: list[Piece] = []
        for field in model.of(part).parts():
            if field.number == _GRAPH_INITIALIZER and model.of(field).number(_TENSOR_PLACE) == _ELSEWHERE:
                tensor = list(_of_tensor(path, model.of(field)))
                inside += [head(_GRAPH_INITIALIZER, _length(tensor)), *tensor]
                outside = True
            else:
                inside.append(_stretch(path, field))
        pieces += [head(_MODEL_GRAPH, _length(inside)), *inside]
    return _joined(pieces) if outside else None


def _of_tensor(path: Path, tensor: Message) -> Iterator[Piece]:
    """A tensor whose values are in another file, with its values."""
    said: dict[str, str] = {}
    for part in tensor.parts():
        if part.number == _TENSOR_OUTSIDE:
            note = tensor.of(part)
            said[note.text(_NOTE_KEY)] = note.text(_NOTE_VALUE)
        elif part.number != _TENSOR_PLACE:
            yield _stretch(path, part)
    values = _values(path, tensor.text(_TENSOR_NAME), said)
    yield head(_TENSOR_RAW, values.length)
    yield values


def _values(path: Path, name: str, said: dict[str, str]) -> Stretch:
    """Where the values of the tensor `name` are, by what the file says: location, offset and length."""
    location = PurePosixPath(said.get("location", ""))
    if location.is_absolute() or not location.parts or ".." in location.parts:
        raise ModelError(f"{path} keeps weights in {str(location)!r}, which is not beside it: export it again.")
    beside = path.parent / location
    try:
        size = beside.stat().st_size
        start, length = int(said.get("offset", "0")), int(said.get("length", "-1"))
    except OSError as error:
        raise ModelError(
            f"{path} keeps its weights in {beside}, which can't be read ({error.strerror}): put it beside it."
        ) from error
    except ValueError:
        raise ModelError(f"{path} says nonsense of where its weights {name!r:.80} are: export it again.") from None
    length = size - start if length < 0 else length
    if start < 0 or length < 0 or start + length > size:
        raise ModelError(
            f"{path} keeps its weights in {beside}, which has {size:,} bytes, and {start + length:,} are expected: "
            "copy or export both again."
        )
    return Stretch(beside, start, length)


def _stretch(path: Path, part: Part) -> Stretch:
    return Stretch(path, part.start, part.end - part.start)


def _length(pieces: Iterable[Piece]) -> int:
    return sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces)


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same with neighbouring stretches as one, as a graph has thousands of nodes."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else b""
        if isinstance(piece, bytes) or isinstance(last, bytes):
            joined.append(piece)
        elif (last.path, last.start + last.length) == (piece.path, piece.start):
            joined[-1] = Stretch(last.path, last.start, last.length + piece.length)
        else:
            joined.append(piece)
    return joined


def _read(stretch: Stretch) -> Iterator[bytes]:
    with files.opened(stretch.path) as file:
        file.seek(stretch.start)
        left = stretch.length
        while left:
            block = file.read(min(left, _BLOCK))
            if not block:
                raise ModelError(f"{stretch.path} became shorter while it was read: try again when it is whole.")
            left -= len(block)
            yield block
