"""Which finer model a query worker runs, and what it says where it does not."""

from pathlib import Path
from typing import Any

import pytest

from shared.errors import FingerprintMismatch, ModelError, QueryError
from shared.messages.finer import Finer
from shared.models import ModelSpec, resolve_model
from shared.settings import ANY_MODEL, Settings
from tests.support.onnx_files import WORDS, means_file
from workers.search.cascade.finer.models import FinerModels, Model

JOB = resolve_model("efficientnet-lite0")


class Loads:
    """Counts what would be loaded."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, Path | None]] = []

    def __call__(self, spec: ModelSpec, *arguments: Any, weights: Path | None, **named: Any) -> Any:
        self.loaded.append((spec.name, weights))
        return object()


def model(asked: Finer, job: ModelSpec = JOB, load: Loads | None = None, **settings: Any) -> Model:
    return FinerModels(Settings(**settings), load or Loads()).model(asked, job)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return means_file(tmp_path / "tiny.onnx", notes={"lookalike.input": WORDS})


def test_a_worker_runs_no_finer_model_unless_its_setting_names_it(file: Path) -> None:
    asked = Finer.of(file)
    with pytest.raises(QueryError, match=r"may run no finer model, and .*tiny\.onnx was asked for: start it with the"):
        model(asked)
    with pytest.raises(QueryError, match="runs the finer model efficientnet-b3 alone"):
        model(asked, finer_model="efficientnet-b3")
    with pytest.raises(QueryError, match="efficientnet-b7 was asked for"):
        model(Finer.of("efficientnet-b7"), finer_model=str(file))
    load = Loads()
    found = model(asked, load=load, finer_model=str(file))
    assert load.loaded == [("onnx", file)]
    assert model(asked, finer_model=ANY_MODEL).spec == found.spec
    assert model(Finer("tiny.onnx"), finer_model=str(file)).spec == found.spec, "it may be there and not here"
    assert model(Finer.of("efficientnet-b0"), finer_model="efficientnet-b0").spec.name == "efficientnet-b0"


def test_another_file_of_the_same_name_is_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    theirs = means_file(tmp_path / "theirs" / "tiny.onnx", size=64, notes={"lookalike.input": WORDS})
    with pytest.raises(FingerprintMismatch, match="is another one than that of the search"):
        model(Finer.of(file), finer_model=str(theirs))
    file.unlink()
    assert model(Finer("tiny.onnx"), finer_model=str(theirs)).spec.image_size == 64


def test_the_model_of_the_job_is_no_finer_one_however_its_images_are_decoded(file: Path) -> None:
    for job in (JOB, resolve_model("efficientnet-lite0", decode="strict", precision="bf16")):
        with pytest.raises(QueryError, match="is the model of the job"):
            model(Finer.of("efficientnet-lite0"), job, finer_model=ANY_MODEL)
    with pytest.raises(QueryError, match="is the model of the job"):
        model(Finer.of(file), resolve_model(str(file)), finer_model=ANY_MODEL)


def test_what_an_onnx_file_does_not_say_is_asked_for_by_the_options_of_a_search(tmp_path: Path) -> None:
    bare = means_file(tmp_path / "bare.onnx")
    with pytest.raises(ModelError) as caught:
        model(Finer.of(bare), finer_model=ANY_MODEL)
    assert caught.value.remedy is not None
    assert list(caught.value.remedy.given) == ["finer_input"]
    assert model(Finer.of(bare, WORDS), finer_model=ANY_MODEL).spec.input is not None
    own: dict[str, Any] = {"finer_model": str(bare), "finer_input": WORDS}
    assert model(Finer.of(bare), **own) is not None
    with pytest.raises(QueryError, match=r"uses .*bare\.onnx with its own setting finer_input"):
        model(Finer.of(bare, "BGR scale=1"), **own)


def test_it_is_loaded_once_and_described_anew_when_its_file_changes(file: Path) -> None:
    load = Loads()
    models = FinerModels(Settings(finer_model=ANY_MODEL), load)
    first = models.model(Finer(str(file)), JOB)
    assert models.model(Finer(str(file)), JOB).embedder is first.embedder
    assert len(load.loaded) == 1
    means_file(file, size=64, notes={"lookalike.input": WORDS})
    assert models.model(Finer(str(file)), JOB).spec.image_size == 64
    assert len(load.loaded) == 2
    file.unlink()
    with pytest.raises(ModelError, match="does not exist"):
        models.model(Finer(str(file)), JOB)
