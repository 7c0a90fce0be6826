import cv2
import numpy as np
import pytest

from tests.support.images.scenes import Picture, as_jpeg, scene
from workers.verify.agreement.cells import Cells, aligned_cells
from workers.verify.agreement.colours import Colours, are_colours_other
from workers.verify.features import QUERY_KEYPOINTS, STORED_KEYPOINTS, LocalFeatures, local_features

ORIGINAL = scene(1)
AS_IT_IS = np.array([[1.0, 0, 0], [0, 1, 0]])


def told(query: Picture, hit: Picture, matrix: np.ndarray = AS_IT_IS, keypoints: int = QUERY_KEYPOINTS) -> bool:
    """Whether the colours of a query are other than those of what is stored of a hit."""
    ours = local_features(as_jpeg(query), keypoints)
    theirs = LocalFeatures.from_bytes(local_features(hit).to_bytes())
    sizes = (ours.width, ours.height), (theirs.width, theirs.height)
    return are_colours_other(
        Colours(sizes[0], ours.colours, ours.grey),
        Colours(sizes[1], theirs.colours, theirs.grey),
        matrix,
        aligned_cells(ours.grey, theirs.grey, matrix, *sizes),
    )


def dyed(picture: Picture, red: int = 45, blue: int = -30) -> Picture:
    """The middle in another colour, and as bright as before."""
    colours = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb).astype(np.int16)
    height, width = picture.shape[:2]
    colours[height // 5 : -height // 5, width // 5 : -width // 5, 1:] += np.array([red, blue], np.int16)
    return np.asarray(cv2.cvtColor(np.clip(colours, 0, 255).astype(np.uint8), cv2.COLOR_YCrCb2RGB), np.uint8)


def grey(picture: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def mixed(picture: Picture, mixing: list[list[float]]) -> Picture:
    return np.clip(picture @ np.array(mixing).T, 0, 255).astype(np.uint8)


def pale(picture: Picture) -> Picture:
    return (0.5 * picture + 0.5 * grey(picture)).astype(np.uint8)


SEPIA = [[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]]
WARM = [[1.1, 0.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 0.6]]


def test_a_part_in_another_colour_is_told_wherever_the_dye_is() -> None:
    assert told(dyed(ORIGINAL), ORIGINAL)
    assert told(ORIGINAL, dyed(ORIGINAL))
    assert told(pale(dyed(ORIGINAL, 70, -60)), ORIGINAL)


@pytest.mark.parametrize(
    "copy", [ORIGINAL, grey(ORIGINAL), mixed(ORIGINAL, SEPIA), mixed(ORIGINAL, WARM), pale(ORIGINAL)]
)
def test_one_change_of_all_colours_is_none_of_a_part(copy: Picture) -> None:
    assert not told(copy, ORIGINAL)
    assert not told(ORIGINAL, copy)


def test_a_warmer_white_tints_what_is_bright_and_is_no_dye() -> None:
    """A bright wall with two coloured things on it."""
    wall = np.full((360, 300, 3), 235, np.uint8)
    wall[120:, :100], wall[200:, 200:] = (150, 40, 40), (30, 60, 120)
    picture = (wall * (scene(3) / 1_020 + 0.75)).astype(np.uint8)
    assert not told(mixed(picture, WARM), picture)
    assert not told(picture, mixed(picture, WARM))


def test_a_crop_is_compared_with_its_own_part() -> None:
    crop, to_hit = ORIGINAL[60:300, 50:250], np.array([[1.0, 0, 50], [0, 1, 60]])
    assert not told(np.ascontiguousarray(crop), ORIGINAL, to_hit)
    assert told(np.ascontiguousarray(dyed(ORIGINAL, 70, -60)[60:300, 50:250]), ORIGINAL, to_hit)
    assert told(np.ascontiguousarray(crop), dyed(ORIGINAL, 70, -60), to_hit)


def test_what_is_stored_is_compared_with_what_is_stored_where_fields_lie_on_fields() -> None:
    upside_down = np.array([[-1.0, 0, 300], [0, -1, 360]])
    for copy, matrix in ((dyed(ORIGINAL), AS_IT_IS), (np.rot90(dyed(ORIGINAL), 2), upside_down)):
        assert told(np.ascontiguousarray(copy), ORIGINAL, matrix, STORED_KEYPOINTS)
    # Fields of a crop have colours of two fields each.
    crop, to_hit = np.ascontiguousarray(dyed(ORIGINAL, 70, -60)[40:320, 35:265]), np.array([[1.0, 0, 35], [0, 1, 40]])
    assert not told(crop, ORIGINAL, to_hit, STORED_KEYPOINTS)
    assert told(crop, ORIGINAL, to_hit)


def test_what_was_pasted_over_has_colours_of_its_own() -> None:
    covered = ORIGINAL.copy()
    covered[40:260, 30:230] = scene(2)[:220, :200]
    assert not told(covered, ORIGINAL)


def test_few_fields_tell_nothing() -> None:
    corner = np.ascontiguousarray(dyed(ORIGINAL)[80:200, 70:170])
    assert not told(corner, ORIGINAL, np.array([[1.0, 0, 70], [0, 1, 80]]))


def test_without_cells_there_are_no_fields() -> None:
    none, dark = np.zeros((0, 0), bool), np.zeros((0, 0), np.float32)
    one = Colours((9, 9), np.full((6, 6, 2), 128, np.uint8), np.zeros((9, 9), np.uint8))
    assert not are_colours_other(one, one, AS_IT_IS, Cells(none, none, dark, dark))


@pytest.mark.parametrize("seed", [1, 2])
def test_fields_of_a_crop_are_not_compared_with_larger_ones_that_show_more(seed: int) -> None:
    whole = scene(seed, 480, 400)
    crop = np.ascontiguousarray(whole[100:400, 60:340])
    assert not told(whole, crop, np.array([[1.0, 0, -60], [0, 1, -100]]), STORED_KEYPOINTS)
    assert not told(crop, whole, np.array([[1.0, 0, 60], [0, 1, 100]]), STORED_KEYPOINTS)
