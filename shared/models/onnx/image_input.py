"""Find how an ONNX model takes an image, by what its file says of itself and what a person named."""

from collections.abc import Mapping
from typing import Any

from shared.errors import ModelError
from shared.errors.remedy import Remedy, left_out
from shared.models.onnx.input_words import LAYOUTS, UNSCALED, ImageInput, are_equal, said_in, shown
from shared.models.onnx.onnx_file import OnnxFile, Tensor

INPUT_NOTE = "lookalike.input"
"""The entry of a file's metadata_props that says what an ImageInput says, in the same words."""

_OPTION = "model_input"
_EXAMPLE = "RGB scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225"
_LEAST, _MOST = 8, 4096  # Pixels of a side. No model takes less: so it is seen which size is the number of channels.
_ELEMENTS = ("float32", "float16", "uint8")
# How far apart 0 and 255 may be for a model: it is 1 or 2 for most, 4.5 with the usual std, 255 for the oldest.
_NARROWEST, _WIDEST = 0.4, 300.0

# What ONNX itself defines for images: https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md.
_PIXEL_FORMAT, _PIXEL_RANGE, _GAMMA = "image.bitmappixelformat", "image.nominalpixelrange", "image.colorspacegamma"
_FORMATS: dict[str, dict[str, Any]] = {"rgb8": {"order": "RGB"}, "bgr8": {"order": "BGR"}}
_RANGES: dict[str, dict[str, Any]] = {
    "nominalrange_0_255": {"scale": 1.0},
    "normalized_0_1": {"scale": 1 / 255},
    "normalized_1_1": {"scale": 1 / 255, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
}


def image_input(file: OnnxFile, asked: str | None) -> ImageInput:
    """How the model of a file takes an image, by what the file says and what was `asked` in words.

    Raises ModelError for a model that takes anything but one image of three channels, and where the two leave something
    open or say different things.
    """
    tensor = _one_image(file)
    noted = _noted(file)
    named = {} if asked is None else said_in(asked, "What was named of the model's input")
    for key in sorted(noted.keys() & named.keys()):
        if not are_equal(noted[key], named[key]):
            raise ModelError(
                f"{file.path} says in its metadata that it takes {shown(key, noted[key])}, and "
                f"{shown(key, named[key])} was named",
                remedy=left_out(_OPTION, "name what the file says"),
            )
    said = noted | named
    said["layout"] = _layout(file, tensor, said)
    said["size"] = _size(file, tensor, said)
    if tensor.element == "uint8":
        _require_unscaled(file, said)
        said = UNSCALED | said
    _require_all(file, said)
    found = ImageInput(**(UNSCALED | said))
    _require_usual(file, found)
    return found


def _one_image(file: OnnxFile) -> Tensor:
    listed = "; ".join(map(str, file.inputs)) or "nothing"
    if len(file.inputs) != 1:
        raise ModelError(
            f"{file.path} takes {len(file.inputs)} inputs ({listed}); expected one, of images. Of a model of images "
            "and texts, export the part for images."
        )
    (tensor,) = file.inputs
    if tensor.element not in _ELEMENTS or tensor.shape is None or len(tensor.shape) != 4:
        raise ModelError(
            f"{file.path} takes {listed}; expected images, [n, 3, size, size] or [n, size, size, 3], of "
            f"{', '.join(_ELEMENTS[:-1])} or {_ELEMENTS[-1]}."
        )
    return tensor


def _layout(file: OnnxFile, tensor: Tensor, said: Mapping[str, Any]) -> str:
    assert tensor.shape is not None
    fitting = [layout for layout in LAYOUTS if _fits(tensor.shape, layout)]
    asked: str | None = said.get("layout")
    if not fitting:
        raise ModelError(f"{file.path} takes {tensor}; expected square images of three channels.")
    if asked is not None:
        if asked not in fitting:
            raise ModelError(
                f"{file.path} takes {tensor}, which is no {asked}", remedy=left_out(_OPTION, f"say {fitting[0]}")
            )
        return asked
    if len(fitting) > 1:
        raise ModelError(
            f"{file.path} takes {tensor}, and does not say which size is that of the channels",
            remedy=Remedy("option", does="name the layout with {}", given={_OPTION: "NCHW … or NHWC …"}),
        )
    return fitting[0]


def _fits(shape: tuple[int | None, ...], layout: str) -> bool:
    channels, *sides = (shape[place] for place in ((1, 2, 3) if layout == "NCHW" else (3, 1, 2)))
    known = {side for side in sides if side is not None}
    return channels in (3, None) and len(known) < 2 and all(side >= _LEAST for side in known)


def _size(file: OnnxFile, tensor: Tensor, said: Mapping[str, Any]) -> int:
    assert tensor.shape is not None
    sides = tensor.shape[2:4] if said["layout"] == "NCHW" else tensor.shape[1:3]
    fixed = next((side for side in sides if side is not None), None)
    asked: int | None = said.get("size")
    if fixed is None and asked is None:
        raise ModelError(
            f"{file.path} takes {tensor}, of any size, and does not say which one it was trained with",
            remedy=Remedy("option", does="name the pixels of a side with {}", given={_OPTION: "224 …"}),
        )
    if fixed is not None and asked is not None and fixed != asked:
        raise ModelError(
            f"{file.path} takes {tensor}, and images of {asked} pixels were named",
            remedy=left_out(_OPTION, f"say {fixed}"),
        )
    size = fixed or asked or 0
    if not _LEAST <= size <= _MOST:
        raise ModelError(f"{file.path} takes images of {size:,} pixels a side; {_LEAST} to {_MOST:,} can be made.")
    return size


def _require_unscaled(file: OnnxFile, said: Mapping[str, Any]) -> None:
    """Raise ModelError if the bytes that a model takes were to be scaled."""
    for key, unscaled in UNSCALED.items():
        if not are_equal(said.get(key, unscaled), unscaled):
            raise ModelError(
                f"{file.path} takes uint8, which is 0 to 255 as it is, and {shown(key, said[key])} was named",
                remedy=Remedy("option", does=f"leave {key} out of {{}}", given={_OPTION: ""}),
            )


def _require_all(file: OnnxFile, said: Mapping[str, Any]) -> None:
    """Raise ModelError unless all is said that a file's shapes can't tell."""
    missing = []
    if "order" not in said:
        missing.append("in which order it takes the channels (RGB or BGR)")
    if "scale" not in said:
        missing.append("how the values of 0 to 255 are scaled (scale=1/255 or scale=1, then mean and std)")
    if missing:
        raise ModelError(
            f"{file.path} does not say {', nor '.join(missing)}, and only who trained it knows",
            remedy=Remedy("option", does="name that with such as {}", given={_OPTION: _EXAMPLE}),
        )


def _require_usual(file: OnnxFile, found: ImageInput) -> None:
    """Raise ModelError for numbers of one convention with the scale of another, which make nonsense of every image."""
    for low, high in found.ranges:
        if not (low <= 0 <= high and _NARROWEST <= high - low <= _WIDEST):
            raise ModelError(
                f"For {file.path} the values 0 to 255 would become {low:.4g} to {high:.4g} ({found}), which no model "
                "takes: mean and std are of values that are scaled already, as 0.485 is for scale=1/255 and 123.675 "
                "for scale=1."
            )


def _noted(file: OnnxFile) -> dict[str, Any]:
    """What the metadata of a file says of its input; ModelError for what lookalike can't make."""
    said: dict[str, Any] = {}
    for name, known in ((_PIXEL_FORMAT, _FORMATS), (_PIXEL_RANGE, _RANGES), (_GAMMA, {"srgb": {}})):
        value = file.notes.get(name)
        if value is not None and value.lower() not in known:
            raise ModelError(
                f"{file.path} says in its metadata that {name} is {value!r:.80}; expected one of {', '.join(known)}."
            )
        said |= known[value.lower()] if value is not None else {}
    own = said_in(file.notes[INPUT_NOTE], f"The entry {INPUT_NOTE} of {file.path}") if INPUT_NOTE in file.notes else {}
    for key in sorted(said.keys() & own.keys()):
        if not are_equal(said[key], own[key]):
            raise ModelError(
                f"{file.path} says in its metadata that it takes {shown(key, said[key])}, and that it takes "
                f"{shown(key, own[key])} (in {INPUT_NOTE}): correct one of the two."
            )
    return said | own
