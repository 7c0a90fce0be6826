"""Pictures that show too little, or the same over and over: no verdict of them, and no long time."""

from itertools import combinations, product

import numpy as np
import pytest

from shared.messages.verdicts import Evidence
from tests.support.images.scenes import POOR, Picture, as_jpeg, floor, logo, noise, resized, scene, tiles
from workers.verify.features import QUERY_KEYPOINTS, STORED_KEYPOINTS, local_features
from workers.verify.matching import matched
from workers.verify.pixels import same_pixels
from workers.verify.same_picture import verify


def verdicts(query: Picture, candidate: Picture) -> list[Evidence]:
    ours, theirs = local_features(query, QUERY_KEYPOINTS), local_features(candidate)
    return [
        proof for proof in (verify(ours, theirs), same_pixels(query, theirs), same_pixels(query, candidate)) if proof
    ]


@pytest.mark.parametrize("kind", POOR)
def test_two_of_a_kind_are_never_one_picture(kind: str) -> None:
    for first, second in combinations(POOR[kind], 2):
        assert verdicts(as_jpeg(first), second) == []
        assert verdicts(as_jpeg(second), first) == []


def test_no_kind_is_taken_for_another_or_for_a_photo() -> None:
    chosen = [pictures[0] for pictures in POOR.values()] + [scene(1), floor(1), tiles(1), logo(1)]
    for first, second in combinations(chosen, 2):
        assert verdicts(as_jpeg(first), second) == []


@pytest.mark.parametrize("kind", ["flat", "black", "gradient", "letter", "one pixel"])
def test_what_shows_almost_nothing_is_not_proved_by_a_copy_of_itself(kind: str) -> None:
    for picture in POOR[kind]:
        assert verdicts(as_jpeg(picture, 60), picture) == []


@pytest.mark.parametrize("kind", ["flat", "black", "gradient", "letter"])
def test_what_shows_almost_nothing_is_not_proved_by_itself_in_another_place(kind: str) -> None:
    for picture in POOR[kind]:
        elsewhere = np.roll(picture, (30, 17), axis=(0, 1))
        assert verdicts(as_jpeg(np.ascontiguousarray(elsewhere)), picture) == []


def test_sheets_of_thousands_of_equal_logos_are_not_one_picture() -> None:
    sheets = [np.tile(resized(logo(seed)[75:225, 75:225], 10, 10), (48, 48, 1)) for seed in (1, 2)]
    elsewhere = np.ascontiguousarray(np.roll(sheets[0], (3, 4), axis=(0, 1)))
    assert verdicts(as_jpeg(elsewhere), sheets[0]) == []
    assert verdicts(as_jpeg(sheets[1]), sheets[0]) == []


@pytest.mark.parametrize("seed", range(3))
def test_one_motif_over_and_over_is_not_proved_to_be_another_picture_of_it(seed: int) -> None:
    picture = tiles(seed)
    elsewhere = np.ascontiguousarray(np.roll(picture, (13, 22), axis=(0, 1)))
    assert verdicts(as_jpeg(elsewhere), picture) == []
    assert verdicts(as_jpeg(tiles(seed + 10)), picture) == []


def test_different_logos_on_white_are_not_one_picture() -> None:
    for first, second in combinations([logo(seed) for seed in range(8)], 2):
        assert verdicts(as_jpeg(first), second) == []


def test_a_logo_in_the_corner_of_two_photos_does_not_make_them_one() -> None:
    mark = resized(scene(50, 200, 200), 70, 70)
    first, second = scene(1).copy(), scene(2).copy()
    first[10:80, 10:80] = mark
    second[10:80, 10:80] = mark
    assert verdicts(as_jpeg(first), second) == []


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (300, 5), (1, 2_000), (20, 4_000)])
def test_tiny_and_thin_pictures_are_compared_without_a_verdict(size: tuple[int, int]) -> None:
    strip = np.ascontiguousarray(scene(1, 300, 4_000)[: size[0], : size[1]])
    for other in (scene(2), strip[::-1, ::-1].copy(), np.ascontiguousarray(scene(3, 300, 4_000)[: size[0], : size[1]])):
        verdicts(strip, other)
        assert verdicts(other, scene(4)) == []
    assert verdicts(strip, scene(2)) == []


def test_no_picture_has_more_keypoints_or_matches_than_its_share() -> None:
    for picture in (noise(1, 900), tiles(1, 40, 1_200), scene(1, 900, 900)):
        query, stored = local_features(picture, QUERY_KEYPOINTS), local_features(picture)
        assert len(query.points) <= QUERY_KEYPOINTS
        assert len(stored.points) <= STORED_KEYPOINTS
        assert len(matched(query.bits, stored.bits)) <= len(stored.points)


def test_a_texture_that_repeats_has_few_matches_of_its_own() -> None:
    picture = tiles(2)
    query, stored = local_features(as_jpeg(picture), QUERY_KEYPOINTS), local_features(picture)
    own = local_features(as_jpeg(scene(2)), QUERY_KEYPOINTS), local_features(scene(2))
    assert len(matched(query.bits, stored.bits)) < len(matched(own[0].bits, own[1].bits)) / 2


def test_no_keypoints_on_either_side_are_no_proof() -> None:
    empty, full = local_features(np.full((300, 300, 3), 7, np.uint8)), local_features(scene(1))
    for query, stored in product((empty, full), repeat=2):
        assert (verify(query, stored) is not None) == (query is full and stored is full)
