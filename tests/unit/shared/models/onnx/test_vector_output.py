"""Which output is the embedding is known or named, and so is how it is pooled."""

from pathlib import Path

import pytest

from shared.errors import ModelError
from shared.models.onnx.onnx_file import read_onnx
from shared.models.onnx.vector_output import Reduction, VectorOutput, reduction, vector_output
from tests.support.onnx_files import changed, means_file

ALL = ("vector", "map", "tokens", "point", "label")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.onnx"


def given(path: Path, asked: str | None = None) -> tuple[str, int | None]:
    output, dim = vector_output(read_onnx(path), asked)
    return str(output), dim


@pytest.mark.parametrize(
    ("output", "asked", "found"),
    [
        ("vector", None, ("vector", 12)),
        ("point", None, ("point", 3)),
        ("tokens", "pool=cls", ("tokens pool=cls", 3)),
        ("tokens", "tokens pool=mean", ("tokens pool=mean", 3)),
        ("map", "pool=gem map", ("map pool=gem", 3)),
        ("last", "pool=mean", ("last pool=mean", 3)),
    ],
)
def test_the_one_output_is_taken_and_pooled_as_named(
    path: Path, output: str, asked: str | None, found: tuple[str, int]
) -> None:
    assert given(means_file(path, outputs=[output]), asked) == found


def test_of_five_outputs_one_is_named(path: Path) -> None:
    means_file(path, outputs=ALL)
    with pytest.raises(
        ModelError, match=r"gives 5 outputs \(vector: float32 \[\?, 12\]; map: .*; label: int64 \[\?\]\)"
    ):
        given(path)
    with pytest.raises(ModelError, match="does not say which is the embedding"):
        given(path, "pool=mean")
    assert given(path, "vector") == ("vector", 12)
    with pytest.raises(ModelError, match="has no output 'vectors'; it gives vector: float32"):
        given(path, "vectors")


def test_the_file_may_name_it(path: Path) -> None:
    means_file(path, outputs=ALL, notes={"lookalike.output": "tokens pool=cls"})
    assert given(path) == ("tokens pool=cls", 3)
    assert given(path, "vector") == ("vector", 12)
    means_file(path, outputs=ALL, notes={"lookalike.output": "tokens pool=max"})
    with pytest.raises(ModelError, match=r"The entry lookalike\.output of .*m\.onnx is 'tokens pool=max'"):
        given(path)


def test_an_output_of_integers_is_no_embedding(path: Path) -> None:
    with pytest.raises(ModelError, match=r"label: int64 \[\?\] of .*m\.onnx can't be an embedding"):
        given(means_file(path, outputs=["label"]))
    with pytest.raises(ModelError, match=r"can't be an embedding; expected one of .*, as of vector, point"):
        given(means_file(path, outputs=["label", "vector", "point"]), "label")


def test_what_has_to_be_pooled_says_so(path: Path) -> None:
    for output, ways in (("tokens", "mean, cls or gem"), ("map", "mean or gem")):
        with pytest.raises(ModelError, match=f"no vector for each image.*say how with the option model_output.*{ways}"):
            given(means_file(path, outputs=[output]))


@pytest.mark.parametrize(
    ("output", "asked", "said"),
    [
        ("vector", "pool=mean", "is one vector for each image, and pool=mean was named"),
        ("map", "pool=cls", "has no first token"),
        ("tokens", "pool=max", "expected its name, and one of pool=mean, pool=cls, pool=gem"),
        ("tokens", "pool=mean pool=cls", "expected its name"),
    ],
)
def test_a_pool_that_does_not_fit_is_refused(path: Path, output: str, asked: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        given(means_file(path, outputs=[output]), asked)


def test_an_output_whose_shape_is_not_said_is_left_to_who_runs_it(path: Path) -> None:
    changed(means_file(path), lambda model: model.graph.output[0].type.tensor_type.ClearField("shape"))
    assert given(path) == ("vector", None)


@pytest.mark.parametrize(
    ("shape", "pool", "found"),
    [
        ((1, 512), None, Reduction((), 512)),
        ((None, None), None, Reduction((), None)),
        ((1, 1, 512), None, Reduction((1,), 512)),
        ((1, 257, 768), "mean", Reduction((1,), 768)),
        ((None, None, 768), "cls", Reduction((1,), 768)),
        ((1, 1280, 7, 7), "gem", Reduction((2, 3), 1280)),
        ((1, 7, 7, 1280), "mean", Reduction((1, 2), 1280)),
        ((1, 1, 1, 512), None, Reduction((1, 2), 512)),
        ((None, 2048, None, None), "gem", Reduction((), None)),
    ],
)
def test_where_the_places_and_where_the_dimensions_are(
    shape: tuple[int | None, ...], pool: str | None, found: Reduction
) -> None:
    assert reduction("It", shape, pool) == found


@pytest.mark.parametrize(
    ("shape", "pool"),
    [((), None), ((5,), None), ((1, 2, 3, 4, 5), "mean"), ((1, 7, 7, 7), "mean"), ((1, 2, 3, 4), "gem"),
     ((1, 70_000), None), ((None, 2048, None, None), None)],
)  # fmt: skip
def test_a_shape_that_is_no_vector_is_refused(shape: tuple[int, ...], pool: str | None) -> None:
    with pytest.raises(ModelError, match=r"It (is no|has 70,000 dimensions)"):
        reduction("It", shape, pool)


def test_a_name_with_signs_is_read_back() -> None:
    for name in ("/model/Gather_2:0", "a b", "x=1"):
        assert VectorOutput.parse(str(VectorOutput(name, "cls"))) == VectorOutput(name, "cls")
    with pytest.raises(ModelError, match="which names none"):
        VectorOutput.parse("pool=cls")
