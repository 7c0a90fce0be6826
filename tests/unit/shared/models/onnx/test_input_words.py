"""The words for an image's way into a model: written and read back, and none that could mean two things."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ModelError
from shared.models.onnx.input_words import ImageInput, said_in

USUAL = "224 NCHW RGB scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225"
numbers = st.floats(1e-6, 1e6)


def test_the_usual_words_are_read() -> None:
    found = ImageInput.parse(USUAL)
    assert found == ImageInput(224, "NCHW", "RGB", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert str(found) == USUAL


@given(
    st.integers(8, 4096),
    st.sampled_from(["NCHW", "NHWC"]),
    st.sampled_from(["RGB", "BGR"]),
    st.one_of(numbers, st.integers(2, 10_000).map(lambda n: 1 / n)),
    st.tuples(numbers, numbers, numbers),
    st.tuples(numbers, numbers, numbers),
)
def test_what_is_written_is_read_back_to_the_bit(
    size: int, layout: str, order: str, scale: float, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> None:
    one = ImageInput(size, layout, order, scale, mean, std)
    assert ImageInput.parse(str(one)) == one


def test_the_same_said_otherwise_is_written_alike() -> None:
    other = "std=.229,.224,.225 RGB mean=.485,.456,.406 scale=0.00392156862745098 NCHW 224"
    assert str(ImageInput.parse(other)) == USUAL
    assert str(ImageInput.parse("NHWC BGR scale=1.0 mean=0 std=1,1,1 96")) == "96 NHWC BGR scale=1"


def test_one_number_is_for_all_channels() -> None:
    assert said_in("scale=1/127.5 mean=1 std=2", "It") == {
        "scale": 1 / 127.5, "mean": (1.0, 1.0, 1.0), "std": (2.0, 2.0, 2.0)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rgb", "It has 'rgb'; expected words such as 224"),
        ("224 scale=1/255 RGB BGR", "says order twice"),
        ("224 224", "says size twice"),
        ("-224", "expected words"),
        ("224x224", "expected words"),
        ("scale=", "is no number"),
        ("scale=1/0", "'1/0' is no number"),
        ("scale=nan", "'nan' is no number"),
        ("scale=inf", "'inf' is no number"),
        ("scale=0", "above 0"),
        ("scale=-1/255", "above 0"),
        ("scale=1,1,1", "expected words"),
        ("scale=1 std=0,1,1", "above 0"),
        ("scale=1 mean=1,2", "one number or three"),
        ("scale=1 mean=a,b,c", "'a' is no number"),
        ("scale=1 mean=0.1, 0.2, 0.3", "is no number"),
        ("mean=0.485,0.456,0.406", "a mean or std of values whose scale it does not say: add scale=1/255"),
        ("std=58.395,57.12,57.375", "whose scale it does not say"),
        ("gamma=2.2", "expected words"),
    ],
)
def test_words_that_are_none_or_leave_something_open_are_refused(text: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        said_in(text, "It")


@pytest.mark.parametrize("text", ["", "224 NCHW RGB", "224 NCHW scale=1", "NCHW RGB scale=1", "224 RGB scale=1"])
def test_a_manifest_has_to_say_all(text: str) -> None:
    with pytest.raises(ModelError, match="which lacks"):
        ImageInput.parse(text)


def test_what_becomes_of_black_and_white() -> None:
    assert ImageInput.parse("96 NCHW RGB scale=1/255 mean=0.5 std=0.5").ranges == [(-1.0, 1.0)] * 3
