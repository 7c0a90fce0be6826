"""The words that say how an ONNX model takes an image: size, layout, order of the channels, scale, mean and std."""

import math
from dataclasses import dataclass, fields
from typing import Any, Self

from shared.errors import ModelError

LAYOUTS = ("NCHW", "NHWC")
ORDERS = ("RGB", "BGR")
Triple = tuple[float, float, float]
UNSCALED: dict[str, Any] = {"scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
"""The fields of an ImageInput that leave values as they are."""
_LEFT_OUT = ("mean", "std")  # Where they change nothing.


@dataclass(frozen=True, slots=True)
class ImageInput:
    """What becomes of a decoded image, uint8 [size, size, 3] RGB, before a model takes it.

    Its channels are put in `order`, each value becomes (scale * value - mean) / std with the numbers of its channel, of
    which `mean` and `std` have one each in that order, and the axes come as `layout` says. As text it is what a person
    writes: "224 NCHW RGB scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225".
    """

    size: int
    layout: str
    order: str
    scale: float
    mean: Triple
    std: Triple

    def __str__(self) -> str:
        words = [str(self.size), self.layout, self.order, shown("scale", self.scale)]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values != UNSCALED[name]:
                words.append(shown(name, values))
        return " ".join(words)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`; ModelError for any other text."""
        said = said_in(text, "The model's input")
        missing = [field.name for field in fields(cls) if field.name not in said and field.name not in _LEFT_OUT]
        if missing:
            raise ModelError(f"The model's input is {text!r}, which lacks {' and '.join(missing)}.")
        return cls(**(UNSCALED | said))

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """What becomes of the values 0 and 255 in each channel."""
        both = zip(self.mean, self.std, strict=True)
        return [((0 - mean) / std, (255 * self.scale - mean) / std) for mean, std in both]


def said_in(text: str, what: str) -> dict[str, Any]:
    """What the words of a text say, by the names of ImageInput's fields, each at most once; `what` begins errors."""
    said: dict[str, Any] = {}
    for word in text.split():
        key, value = _word(word, what)
        if key in said:
            raise ModelError(f"{what} is {text!r:.200}, which says {key} twice.")
        said[key] = value
    if "scale" not in said and said.keys() & {"mean", "std"}:
        raise ModelError(
            f"{what} is {text!r:.200}, with a mean or std of values whose scale it does not say: add scale=1/255 if "
            "they are for 0 to 1, scale=1 if they are for 0 to 255."
        )
    return said


def _word(word: str, what: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if word in LAYOUTS:
        return "layout", word
    if word in ORDERS:
        return "order", word
    if not equals and word.isdecimal() and word.isascii():
        return "size", int(word[:9])
    if name in UNSCALED and equals:
        numbers = [_number(part, word, what) for part in value.split(",")]
        if name == "scale" and len(numbers) == 1 and numbers[0] > 0:
            return name, numbers[0]
        if name != "scale" and len(numbers) in (1, 3) and (name == "mean" or min(numbers) > 0):
            return name, tuple(numbers * (3 // len(numbers)))
    raise ModelError(
        f"{what} has {word!r:.80}; expected words such as 224, NCHW or NHWC, RGB or BGR, scale=1/255, "
        "mean=0.485,0.456,0.406 and std=0.229,0.224,0.225 (one number or three, scale and std above 0)."
    )


def _number(text: str, word: str, what: str) -> float:
    above, _, below = text.partition("/")
    try:
        number = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise ModelError(f"{what} has {word!r:.80}, where {text!r:.40} is no number; expected such as 0.5 or 1/255.")
    return number


def _written(number: float) -> str:
    """A number so that it is read back as it is: 1/255 for what no decimal says."""
    if 1e-9 < number < 1 and len(repr(number)) > 6 and 1 / round(1 / number) == number:
        return f"1/{round(1 / number)}"
    return repr(number).removesuffix(".0")


def are_equal(one: Any, other: Any) -> bool:
    """Whether two values of a field mean the same; numbers may differ by their last digits."""
    if isinstance(one, tuple):
        return all(map(are_equal, one, other))
    return math.isclose(one, other, rel_tol=1e-6) if isinstance(one, float) else bool(one == other)


def shown(key: str, value: Any) -> str:
    """A field and its value as a person writes them."""
    if key not in UNSCALED:
        return str(value)
    numbers = value if isinstance(value, tuple) else (value,)
    return f"{key}={','.join(map(_written, numbers if len(set(numbers)) > 1 else numbers[:1]))}"
