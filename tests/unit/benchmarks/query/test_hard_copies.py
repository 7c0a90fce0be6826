import cv2
import numpy as np
import pytest

from benchmarks.query.hard_copies import HARD, hard_copy
from tests.support.images.scenes import scene
from workers.verify.features import QUERY_KEYPOINTS, local_features
from workers.verify.same_picture import verify

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", HARD)
def test_a_hard_copy_shows_its_original_and_none_of_another(name: str) -> None:
    pictures = [scene(number, 533, 400) for number in range(5)]
    data = hard_copy(name, pictures[0], pictures[1:4])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    own = local_features(np.ascontiguousarray(decoded[:, :, ::-1], np.uint8), QUERY_KEYPOINTS)
    assert verify(own, local_features(pictures[0])) is not None
    assert verify(own, local_features(pictures[4])) is None
