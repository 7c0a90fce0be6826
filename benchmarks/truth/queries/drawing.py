"""Put pictures and letters onto others: what pages, memes, collages and prints do to a photograph.

All arrays are RGB uint8 [h, w, 3]. The letters are OpenCV's own strokes, so no font is needed.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from workers.images.encode import Image, encode_jpeg

Generator = np.random.Generator
Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT = (
    "WHEN YOU FIND THE ONE THAT WAS LOST NOBODY SAID IT WOULD BE SO GREEN MONDAY AGAIN BUT STILL NEW ARRIVALS THIS "
    "SUMMER ONLY TODAY EVERYTHING MUST GO LOOK AT HIM HE HAS NO IDEA PLEASE DO NOT TOUCH"
)
_WORDS = _TEXT.split()


def as_image(array: object) -> Image:
    """What OpenCV returned, as the uint8 array that it is."""
    return np.asarray(array, np.uint8)


def plain(height: int, width: int, colour: Colour) -> Image:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def resized(image: Image, width: int, height: int) -> Image:
    """`image` in another size, its pixels averaged where it shrinks."""
    grows = width > image.shape[1] or height > image.shape[0]
    size = (max(1, width), max(1, height))
    return as_image(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if grows else cv2.INTER_AREA))


def covering(image: Image, width: int, height: int) -> Image:
    """`image` scaled until it fills width x height, and its middle cut out in that shape."""
    scale = max(width / image.shape[1], height / image.shape[0])
    scaled = resized(image, max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


def within(image: Image, width: int, height: int) -> Image:
    """`image` scaled to the largest size of its own shape that fits into width x height."""
    scale = min(width / image.shape[1], height / image.shape[0])
    return resized(image, max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))


def pasted(canvas: Image, image: Image, top: int, left: int) -> None:
    """Put `image` onto `canvas`, in place; what sticks out on the right and at the bottom is cut off."""
    part = canvas[top : top + image.shape[0], left : left + image.shape[1]]
    part[:] = image[: part.shape[0], : part.shape[1]]


def words(random: Generator, count: int) -> str:
    """`count` words as memes and pages have them, in a row."""
    return " ".join(random.choice(_WORDS, count))


def line(canvas: Image, text: str, top: int, left: int, height: int, width: int, colour: Colour) -> None:
    """Write a line of text into a box of `canvas`, in place, as large as the box allows, in its middle."""
    thickness = max(1, height // 12)
    (unit_width, unit_height), _ = cv2.getTextSize(text, _FONT, 1.0, thickness)
    scale = min(0.95 * width / unit_width, 0.7 * height / unit_height)
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    corner = (left + (width - text_width) // 2, top + (height + text_height) // 2)
    cv2.putText(canvas, text, corner, _FONT, scale, colour, thickness, cv2.LINE_AA)


def paragraph(canvas: Image, random: Generator, top: int, left: int, width: int, lines: int, pitch: int) -> None:
    """Write lines of running text onto `canvas`, in place, `pitch` pixels apart."""
    for number in range(lines):
        text = words(random, 7).lower()
        (unit_width, _), _ = cv2.getTextSize(text, _FONT, 1.0, 1)
        corner = (left, top + number * pitch + pitch * 3 // 4)
        cv2.putText(canvas, text, corner, _FONT, 0.95 * width / unit_width, (60, 60, 60), 1, cv2.LINE_AA)


def page(image: Image, random: Generator) -> Image:
    """A screenshot of a web page of 1280 x 900 pixels that shows `image` somewhere in an article."""
    canvas = plain(900, 1280, (250, 250, 250))
    canvas[:70] = (222, 225, 230)
    for number in range(3):
        cv2.circle(canvas, (30 + 28 * number, 35), 9, (190 - 40 * number, 90 + 50 * number, 80), -1, cv2.LINE_AA)
    cv2.rectangle(canvas, (130, 18), (1100, 52), WHITE, -1)
    line(canvas, words(random, 3).lower(), 18, 140, 34, 300, (90, 90, 90))
    colour = tuple(int(value) for value in random.integers(40, 200, 3))
    canvas[70:130] = colour
    line(canvas, words(random, 2), 78, 60, 44, 320, WHITE)
    shown = within(image, 620, int(random.integers(380, 540)))
    left, top = 60 + int(random.integers(0, 60)), 215
    line(canvas, words(random, 5), 145, 60, 56, 700, (20, 20, 20))
    pasted(canvas, shown, top, left)
    below = top + shown.shape[0] + 16
    paragraph(canvas, random, below, 60, 680, max(1, (890 - below) // 26), 26)
    for number in range(3):
        box = 150 + number * 245
        cv2.rectangle(canvas, (860, box), (1220, box + 215), (228, 232, 238), -1)
        cv2.rectangle(canvas, (880, box + 20), (990, box + 130), (150 + 30 * number, 170, 200 - 30 * number), -1)
        paragraph(canvas, random, box + 20, 1005, 200, 4, 26)
        line(canvas, words(random, 2), box + 150, 880, 44, 200, (70, 90, 140))
    return canvas


def meme(image: Image, random: Generator) -> Image:
    """`image` in a black frame, with large white letters above and below it."""
    height, width = image.shape[:2]
    edge, strip = max(2, width // 25), max(8, height // 5)
    canvas = plain(height + 2 * strip, width + 2 * edge, BLACK)
    pasted(canvas, image, strip, edge)
    line(canvas, words(random, 3), 0, edge, strip, width, WHITE)
    line(canvas, words(random, 4), strip + height, edge, strip, width, WHITE)
    return canvas


def collage(images: Sequence[Image], random: Generator) -> Image:
    """Four images in two rows of two, each cut to 320 x 320 pixels, with white gaps; the first is in any of them."""
    canvas = plain(664, 664, WHITE)
    for place, image in zip(random.permutation(4), images, strict=True):
        pasted(canvas, covering(image, 320, 320), 8 + 328 * int(place // 2), 8 + 328 * int(place % 2))
    return canvas


def printed(image: Image, random: Generator) -> Image:
    """`image` printed on paper and scanned: faded, askew, unevenly lit, a little soft, with noise."""
    height, width = image.shape[:2]
    edge = max(4, round(0.08 * max(height, width)))
    paper = plain(height + 2 * edge, width + 2 * edge, (244, 242, 236))
    faded = as_image(np.rint(image.astype(np.float32) * 0.82 + 28))
    pasted(paper, faded, edge, edge)
    high, wide = paper.shape[:2]
    corners = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32)
    moved = corners + random.uniform(-0.03, 0.03, (4, 2)).astype(np.float32) * np.float32(max(high, wide))
    bent = cv2.warpPerspective(
        paper,
        cv2.getPerspectiveTransform(corners, moved),
        (wide, high),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(225, 225, 225),
    )
    soft = np.asarray(cv2.GaussianBlur(bent, (0, 0), 0.9), np.float32)
    lit = np.linspace(random.uniform(0.85, 1), random.uniform(0.95, 1.08), wide, dtype=np.float32)
    noise = random.normal(0, 4, soft.shape).astype(np.float32)
    return as_image(np.clip(np.rint(soft * lit[None, :, None] + noise), 0, 255))


def shared_on(image: Image, random: Generator) -> Image:
    """`image` after three networks: scaled and compressed each time, cut at the edges, coloured, with a sticker."""
    first = _compressed(within(image, 360, 360), 45)
    height, width = first.shape[:2]
    cut = first[height // 25 : height - height // 25, width // 25 : width - width // 25]
    hsv = cv2.cvtColor(np.ascontiguousarray(cut), cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 1] = np.clip(hsv[..., 1] * 1.35, 0, 255)
    second = _compressed(as_image(cv2.cvtColor(as_image(np.rint(hsv)), cv2.COLOR_HSV2RGB)), 35)
    third = within(second, 480, 480)
    high, wide = third.shape[:2]
    radius = max(3, min(high, wide) // 9)
    middle = (int(random.integers(radius, wide - radius)), int(random.integers(radius, high - radius)))
    cv2.circle(third, middle, radius, (250, 205, 60), -1, cv2.LINE_AA)
    for side in (-1, 1):
        cv2.circle(third, (middle[0] + side * radius // 3, middle[1] - radius // 4), max(1, radius // 8), BLACK, -1)
    cv2.ellipse(third, middle, (radius // 2, radius // 2), 0, 20, 160, BLACK, max(1, radius // 10), cv2.LINE_AA)
    line(third, "@" + words(random, 1).lower(), high - high // 12, wide // 2, high // 14, wide // 3, WHITE)
    return third


def turned(image: Image, degrees: float, colour: Colour) -> Image:
    """`image` turned against the clock about its middle, on a canvas that holds all of it."""
    height, width = image.shape[:2]
    matrix: npt.NDArray[np.float64] = np.asarray(
        cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1), np.float64
    )
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    wide, high = round(width * cosine + height * sine), round(width * sine + height * cosine)
    matrix[:, 2] += ((wide - width) / 2, (high - height) / 2)
    return as_image(
        cv2.warpAffine(
            image,
            matrix,
            (max(1, wide), max(1, high)),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=colour,
        )
    )


def _compressed(image: Image, quality: int) -> Image:
    bgr = cv2.imdecode(np.frombuffer(encode_jpeg(image, quality), np.uint8), cv2.IMREAD_COLOR)
    return as_image(cv2.cvtColor(as_image(bgr), cv2.COLOR_BGR2RGB))
