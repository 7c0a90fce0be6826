import numpy as np
import pytest

from tests.support.images.scenes import flat, resized, scene
from workers.verify.agreement.cells import CELL, aligned_cells

SIZE = (192, 144)
AS_IT_IS = np.array([[1.0, 0, 0], [0, 1, 0]])
ALL = (SIZE[0] // CELL) * (SIZE[1] // CELL)


def grey(seed: int) -> np.ndarray:
    return np.ascontiguousarray(scene(seed, SIZE[1], SIZE[0])[:, :, 1])


def test_a_picture_is_aligned_with_itself_in_all_cells() -> None:
    cells = aligned_cells(grey(1), grey(1), AS_IT_IS, SIZE, SIZE)
    assert cells.compared > 0.7 * ALL
    assert cells.share == 1.0


def test_two_pictures_are_aligned_in_hardly_any() -> None:
    cells = aligned_cells(grey(1), grey(2), AS_IT_IS, SIZE, SIZE)
    assert cells.compared > 0.7 * ALL
    assert cells.share < 0.2


def test_other_contrast_and_brightness_change_nothing() -> None:
    darker = (grey(1) * 0.4 + 30).astype(np.uint8)
    assert aligned_cells(darker, grey(1), AS_IT_IS, SIZE, SIZE).share > 0.9


def test_flat_cells_prove_nothing() -> None:
    plain = flat(120)[: SIZE[1], : SIZE[0], 0]
    assert aligned_cells(plain, plain, AS_IT_IS, SIZE, SIZE).compared == 0
    assert aligned_cells(plain, plain, AS_IT_IS, SIZE, SIZE).share == 0
    half = grey(1)
    half[:, SIZE[0] // 2 :] = 120
    assert aligned_cells(half, half, AS_IT_IS, SIZE, SIZE).compared <= ALL / 2


def test_texture_where_the_other_has_none_is_a_difference() -> None:
    plain = np.full_like(grey(1), 120)
    for query, hit in ((grey(1), plain), (plain, grey(1))):
        cells = aligned_cells(query, hit, AS_IT_IS, SIZE, SIZE)
        assert cells.compared > 0.7 * ALL
        assert cells.aligned == 0


@pytest.mark.parametrize("scale", [0.5, 0.8, 2.0])
def test_thumbnails_of_other_sizes_are_brought_together(scale: float) -> None:
    size = (int(SIZE[0] * scale), int(SIZE[1] * scale))
    query = resized(np.repeat(grey(1)[:, :, None], 3, axis=2), *size)[:, :, 0]
    matrix = np.array([[4 / scale, 0, 0], [0, 4 / scale, 0]])
    cells = aligned_cells(query, grey(1), matrix, size, (4 * SIZE[0], 4 * SIZE[1]))
    assert cells.compared >= 6
    assert cells.share == 1.0


def test_a_query_that_is_much_coarser_is_not_compared() -> None:
    matrix = np.array([[4.0, 0, 0], [0, 4, 0]])
    assert aligned_cells(np.ascontiguousarray(grey(1)[::4, ::4]), grey(1), matrix, (48, 36), SIZE).compared == 0


def test_only_the_region_that_both_show_is_compared() -> None:
    crop = grey(1)[24:96, 48:144]
    cells = aligned_cells(crop, grey(1), np.array([[1.0, 0, 48], [0, 1, 24]]), (96, 72), SIZE)
    assert cells.share == 1.0
    assert 50 <= cells.compared <= 88


def test_a_region_without_a_whole_cell_compares_none() -> None:
    away = np.array([[1.0, 0, SIZE[0] - 5], [0, 1, 0]])
    assert aligned_cells(grey(1), grey(1), away, SIZE, SIZE).compared == 0
    one = np.zeros((1, 1), np.uint8)
    assert aligned_cells(one, one, AS_IT_IS, (1, 1), (1, 1)).compared == 0
