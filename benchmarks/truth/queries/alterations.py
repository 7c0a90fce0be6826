"""The alterations that people make of photographs: those of the product, and harder ones.

Each is drawn from a generator that is seeded by the photograph's number and the alteration's name: the same query comes
again, whatever else is measured.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from benchmarks.truth.queries import drawing
from benchmarks.truth.queries.drawing import Generator
from workers.images.alterations import ALTERATIONS
from workers.images.encode import QUALITY, Image, checked, encode_jpeg

Change = Callable[[Image, Sequence[Image], Generator], Image]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which a query differs from its original.

    `change` takes the original, `others` further photographs and a generator, and leaves them as they are.
    `same_pixels` says that the copy still shows the whole original and nothing else, upright, turned by 90s or
    mirrored: what a verdict "same pixels" is to know.
    """

    name: str
    sentence: str
    change: Change
    quality: int = QUALITY
    others: int = 0
    same_pixels: bool = False

    def __call__(self, image: Image, others: Sequence[Image], number: int) -> bytes:
        """JPEG bytes of `image` (RGB uint8 [h, w, 3]) altered; the same for the same images and `number`."""
        random = np.random.default_rng([number, zlib.crc32(self.name.encode())])
        return encode_jpeg(self.change(checked(image), others, random), self.quality)


def _product(name: str, *, same_pixels: bool = False) -> Kind:
    ours = ALTERATIONS[name]
    return Kind(
        ours.name, ours.sentence, lambda image, others, random: ours.change(image), ours.quality, 0, same_pixels
    )


def _unchanged(image: Image, others: Sequence[Image], random: Generator) -> Image:
    return image


def _part(image: Image, share: float, random: Generator) -> Image:
    height, width = image.shape[:2]
    high, wide = max(1, round(height * share**0.5)), max(1, round(width * share**0.5))
    top, left = int(random.integers(0, height - high + 1)), int(random.integers(0, width - wide + 1))
    return np.ascontiguousarray(image[top : top + high, left : left + wide])


def _crop(share: float) -> Change:
    return lambda image, others, random: _part(image, share, random)


def _mirrored_crop(image: Image, others: Sequence[Image], random: Generator) -> Image:
    return np.ascontiguousarray(_part(image, 0.5, random)[:, ::-1])


def _quarter_turn(image: Image, others: Sequence[Image], random: Generator) -> Image:
    return np.ascontiguousarray(np.rot90(image, int(random.choice([1, 3]))))


def _half_turn(image: Image, others: Sequence[Image], random: Generator) -> Image:
    return np.ascontiguousarray(image[::-1, ::-1])


def _any_turn(image: Image, others: Sequence[Image], random: Generator) -> Image:
    degrees = float(random.uniform(10, 80)) + 90 * int(random.integers(4))
    shade = int(random.choice([0, 128, 255]))
    return drawing.turned(image, degrees, (shade, shade, shade))


def _colour_filter(image: Image, others: Sequence[Image], random: Generator) -> Image:
    # A warm or a cold cast, half of the colour mixed away, and the contrast of an old print.
    cast = np.array([1.15, 1.0, 0.7] if random.integers(2) else [0.72, 0.98, 1.2], np.float32)
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    mixed = (0.5 * image + 0.5 * grey) * cast
    return drawing.as_image(np.clip(np.rint(255 * (np.clip(mixed, 0, 255) / 255) ** 0.85), 0, 255))


def _darker(image: Image, others: Sequence[Image], random: Generator) -> Image:
    return drawing.as_image(np.rint(255 * (image.astype(np.float32) * 0.7 / 255) ** 1.3))


def _over(image: Image, others: Sequence[Image], random: Generator) -> Image:
    height, width = image.shape[:2]
    canvas = image.copy()
    small = drawing.covering(others[0], round(width * 0.55), round(height * 0.5))
    top, left = (
        int(random.integers(2)) * (height - small.shape[0]),
        int(random.integers(2)) * (width - small.shape[1]),
    )
    drawing.pasted(canvas, small, top, left)
    return canvas


def _inset(image: Image, others: Sequence[Image], random: Generator) -> Image:
    canvas = drawing.within(others[0], 800, 800)
    height, width = canvas.shape[:2]
    small = drawing.within(image, round(width * 0.38), round(height * 0.38))
    top, left = random.integers(0, (height - small.shape[0] + 1, width - small.shape[1] + 1))
    drawing.pasted(canvas, small, int(top), int(left))
    return canvas


def _letterbox(image: Image, others: Sequence[Image], random: Generator) -> Image:
    height, width = image.shape[:2]
    wide, high = max(width, round(height * 16 / 9)), max(height, round(width * 9 / 16))
    canvas = drawing.plain(high, wide, drawing.BLACK)
    drawing.pasted(canvas, image, (high - height) // 2, (wide - width) // 2)
    return canvas


def _squash(image: Image, others: Sequence[Image], random: Generator) -> Image:
    height, width = image.shape[:2]
    return drawing.resized(image, round(width * 0.65), height)


def _blur(image: Image, others: Sequence[Image], random: Generator) -> Image:
    return drawing.as_image(cv2.GaussianBlur(image, (0, 0), max(image.shape[:2]) / 150))


KINDS: Final = (
    Kind("jpeg quality 10", "Written again as JPEG at quality 10.", _unchanged, quality=10, same_pixels=True),
    _product("jpeg quality 20", same_pixels=True),
    Kind("crop to 60 %", "A part of 60 % of the area, anywhere, in the shape of the whole.", _crop(0.6)),
    Kind("crop to 40 %", "A part of 40 % of the area.", _crop(0.4)),
    Kind("crop to 25 %", "A part of 25 % of the area.", _crop(0.25)),
    Kind("turn by 90", "Turned by 90 degrees, left or right.", _quarter_turn, same_pixels=True),
    Kind("turn by 180", "Upside down.", _half_turn, same_pixels=True),
    Kind("any turn", "Turned by an angle at least 10 degrees away from each of 0, 90, 180 and 270.", _any_turn),
    _product("small rotation"),
    _product("flip", same_pixels=True),
    _product("grey", same_pixels=True),
    Kind("colour filter", "Half of the colour taken away, a warm or a cold cast, less contrast.", _colour_filter),
    _product("brightness"),
    Kind("darker", "Seven tenths of the light, and a gamma of 1.3.", _darker),
    _product("text"),
    Kind("meme", "In a black frame, with large letters above and below.", lambda i, o, r: drawing.meme(i, r)),
    Kind("screenshot", "Inside an article of a web page of 1280 x 900.", lambda i, o, r: drawing.page(i, r)),
    Kind(
        "collage",
        "One of four in a square, cut to a square itself.",
        lambda i, o, r: drawing.collage([i, *o], r),
        others=3,
    ),
    Kind("picture in picture", "Inside another photograph, on 14 % of its area at most.", _inset, others=1),
    Kind("pasted over", "A corner, 28 % of the area, under another photograph.", _over, others=1),
    Kind(
        "print and scan",
        "Faded, on paper, askew, unevenly lit, soft, with noise.",
        lambda i, o, r: drawing.printed(i, r),
        quality=80,
    ),
    Kind("letterbox", "With black bars to 16:9.", _letterbox),
    Kind("squash", "65 % as wide, as high as before.", _squash, same_pixels=True),
    Kind("mirrored crop", "A part of half of the area, mirrored.", _mirrored_crop),
    Kind("blur", "Gaussian blur of a 150th of the longer side.", _blur, same_pixels=True),
    Kind("64 px", "The longer side 64 pixels.", lambda i, o, r: drawing.within(i, 64, 64), same_pixels=True),
    Kind(
        "social chain",
        "Scaled and compressed three times, cut at its edges, more colour, a sticker, a name.",
        lambda i, o, r: drawing.shared_on(i, r),
        quality=50,
    ),
)
"""All 27, in the order in which tables print them."""
