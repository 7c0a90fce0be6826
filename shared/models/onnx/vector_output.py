"""Which output of an ONNX model is the embedding, and how it is pooled, from its file or named by a person."""

from dataclasses import dataclass
from typing import Self

from shared.errors import ModelError
from shared.errors.remedy import Remedy, left_out
from shared.models.onnx.onnx_file import OnnxFile, Tensor

POOLS = ("mean", "cls", "gem")
"""The mean over all places or tokens, the first token, the cube root of the mean of the cubes."""
OUTPUT_NOTE = "lookalike.output"
"""The entry of a file's metadata_props that says what a VectorOutput says, in the same words."""

MOST_DIMENSIONS = 65_536
_OPTION = "model_output"
_ELEMENTS = ("float32", "float16", "float64", "bfloat16")

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class VectorOutput:
    """The output `name` of a model, and its `pool`, one of POOLS or None: as text "last_hidden_state pool=cls"."""

    name: str
    pool: str | None

    def __str__(self) -> str:
        return self.name if self.pool is None else f"{self.name} pool={self.pool}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`; ModelError for a text without a name."""
        name, pool = _said(text, "The model's output")
        if name is None:
            raise ModelError(f"The model's output is {text!r}, which names none.")
        return cls(name, pool)


@dataclass(frozen=True, slots=True)
class Reduction:
    """How an output of one image, [1, …], becomes a vector [1, dim]: what is pooled are its `axes`, none if there is
    one vector. `dim` is None if the shape leaves it open.
    """

    axes: tuple[int, ...]
    dim: int | None


def vector_output(file: OnnxFile, asked: str | None) -> tuple[VectorOutput, int | None]:
    """The output of a file's model that is the embedding, and its dimensions if the file says them.

    That is by what the file says, and what was `asked` in words. Raises ModelError for a choice that is left open, and
    for an output that can't be an embedding.
    """
    what = "What was named of the model's output"
    if asked is None and OUTPUT_NOTE in file.notes:
        asked, what = file.notes[OUTPUT_NOTE], f"The entry {OUTPUT_NOTE} of {file.path}"
    name, pool = (None, None) if asked is None else _said(asked, what)
    tensor = _chosen(file, name)
    if tensor.element not in _ELEMENTS:
        others = _others(file, tensor)
        raise ModelError(
            f"The output {tensor} of {file.path} can't be an embedding; expected one of {', '.join(_ELEMENTS)}{others}."
        )
    dim = None if tensor.shape is None else reduction(f"The output {tensor} of {file.path}", tensor.shape, pool).dim
    return VectorOutput(tensor.name, pool), dim


def reduction(what: str, shape: Shape, pool: str | None) -> Reduction:
    """How an output of this shape becomes a vector; `what` begins the errors.

    Raises ModelError for a shape that can't be pooled so, or that needs a `pool` and has none.
    """
    if len(shape) == 2:
        found, needed = Reduction((), shape[1]), False
    elif len(shape) == 3:
        found, needed = Reduction((1,), shape[2]), shape[1] != 1
    elif len(shape) == 4:
        found, needed = _of_map(what, shape), shape[1:3] != (1, 1) and shape[2:] != (1, 1)
        if pool == "cls":
            raise ModelError(
                f"{what} is a map of features, which has no first token",
                remedy=Remedy("option", does="pool it with {} or gem", given={_OPTION: "pool=mean"}),
            )
    else:
        raise ModelError(f"{what} is no vector for each image; expected [n, dimensions], or tokens or a map of them.")
    if needed and pool is None:
        which = "mean, cls or gem" if len(shape) == 3 else "mean or gem"
        raise ModelError(
            f"{what} is no vector for each image, and can be pooled to one",
            remedy=Remedy("option", does=f"say how with {{}}: {which}", given={_OPTION: "pool=mean"}),
        )
    if len(shape) == 2 and pool is not None:
        raise ModelError(
            f"{what} is one vector for each image, and pool={pool} was named",
            remedy=Remedy("option", does="leave pool out of {}", given={_OPTION: ""}),
        )
    if found.dim is not None and not 1 <= found.dim <= MOST_DIMENSIONS:
        raise ModelError(f"{what} has {found.dim:,} dimensions; 1 to {MOST_DIMENSIONS:,} can be searched.")
    return found


def _of_map(what: str, shape: Shape) -> Reduction:
    """That of a map of features, [n, d, h, w] or [n, h, w, d]: of square images the two equal sizes are the places."""
    _, first, second, third = shape
    if None in (first, second, third):
        return Reduction((), None)
    if (second == third) == (first == second):
        raise ModelError(
            f"{what} is no square map of features of which one can tell where its dimensions are; expected "
            "[n, dimensions, h, h] or [n, h, h, dimensions]."
        )
    return Reduction((2, 3), first) if second == third else Reduction((1, 2), third)


def _chosen(file: OnnxFile, name: str | None) -> Tensor:
    listed = "; ".join(map(str, file.outputs))
    if name is None:
        if len(file.outputs) > 1:
            raise ModelError(
                f"{file.path} gives {len(file.outputs)} outputs ({listed}), and does not say which is the embedding",
                remedy=Remedy("option", does="name it with {}", given={_OPTION: file.outputs[0].name}),
            )
        return file.outputs[0]
    for tensor in file.outputs:
        if tensor.name == name:
            return tensor
    raise ModelError(
        f"{file.path} has no output {name!r:.120}; it gives {listed}", remedy=left_out(_OPTION, "name one of these")
    )


def _others(file: OnnxFile, chosen: Tensor) -> str:
    others = [tensor.name for tensor in file.outputs if tensor is not chosen and tensor.element in _ELEMENTS]
    return f", as of {', '.join(others)}" if others else ""


def _said(text: str, what: str) -> tuple[str | None, str | None]:
    """The name and the pool in the words of a text."""
    pools = [word for word in text.split() if word.startswith("pool=")]
    name = " ".join(word for word in text.split() if not word.startswith("pool="))
    if len(pools) > 1 or (pools and pools[0].removeprefix("pool=") not in POOLS):
        raise ModelError(f"{what} is {text!r:.200}; expected its name, and one of pool={', pool='.join(POOLS)}.")
    return name or None, pools[0].removeprefix("pool=") if pools else None
