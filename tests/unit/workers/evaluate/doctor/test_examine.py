import io
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.models import ModelSpec, resolve_model
from shared.settings import Settings
from workers.evaluate.doctor import examine
from workers.evaluate.doctor.examine import engine_here, gpus_by_driver, keras_home, weights_at_hand
from workers.models import engines, exports

LITE0 = resolve_model("efficientnet-lite0")
B4 = resolve_model("efficientnet-b4")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engines, "DEVICES", tmp_path)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)


def test_the_packaged_weights_are_here() -> None:
    found = weights_at_hand(LITE0, Path())
    assert (found["source"], found["found"], found["why"]) == ("packaged", True, "")


def test_a_package_that_is_missing_or_holds_others_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(LITE0, weights_sha256="0" * 64)
    assert weights_at_hand(other, Path())["why"] == "another checksum than the model's"
    monkeypatch.setattr(examine, "find_spec", lambda name: None)
    assert weights_at_hand(LITE0, Path()) == {"source": "packaged", "found": False, "where": None, "why": "missing"}


@pytest.mark.parametrize(
    ("name", "file"),
    [("efficientnet-b4", "efficientnetb4_notop.h5"), ("efficientnetv2-s", "efficientnetv2-s_notop.h5")],
)
def test_what_keras_has_downloaded_is_found(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    spec = resolve_model(name)
    assert weights_at_hand(spec, Path())["found"] is False
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / file).touch()
    assert weights_at_hand(spec, Path()) == {
        "source": "imagenet", "found": True, "where": str(tmp_path / "models" / file), "why": "",
    }  # fmt: skip


def test_the_home_of_keras_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keras_home() == tmp_path / ".keras"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert keras_home() == Path("/tmp/.keras")


def test_given_weights_are_compared_with_their_checksum(tmp_path: Path) -> None:
    (tmp_path / "mine.h5").write_bytes(b"weights")
    spec = resolve_model("efficientnet-b4", tmp_path / "mine.h5")
    assert weights_at_hand(spec, tmp_path)["found"] is True
    (tmp_path / "mine.h5").write_bytes(b"others")
    assert weights_at_hand(spec, tmp_path)["why"] == "another checksum than the model's"
    assert weights_at_hand(spec, tmp_path / "elsewhere")["why"] == "missing"


def test_an_export_is_missing_cached_or_damaged(no_gpu: None, tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path)
    where = exports.directory_of(LITE0, tmp_path)
    expected = {"where": str(where), "cached": False, "trouble": ""}
    assert engine_here(LITE0, settings) == {"engine": "openvino", "why": "", "export": expected}
    where.mkdir(parents=True)
    (where / exports.RECORD).write_text("{}")
    found = engine_here(LITE0, settings)["export"]
    assert (found["cached"], found["trouble"]) == (False, "export.json can't be read")
    shutil.rmtree(where)


def test_keras_has_its_reasons(no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_here(LITE0, Settings(engine="keras")) == {"engine": "keras", "why": "", "export": None}
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert engine_here(LITE0, Settings())["why"] == "KERAS_BACKEND is jax"
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setattr(examine, "find_spec", lambda name: None)
    assert engine_here(LITE0, Settings())["why"] == "OpenVINO is not installed"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A device, and a place for an nvidia-smi of the test's own."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    monkeypatch.setattr(engines, "DEVICES", tmp_path / "dev")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin" / "nvidia-smi"


def command(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_driver_names_gpus_and_their_memory(driver: Path) -> None:
    command(driver, "echo 'Tesla T4, 15360, 15000, 550.54.15'; echo 'NVIDIA X, Y, 81559, 81000, 550.54.15'; echo odd")
    assert gpus_by_driver() == {
        "gpus": [
            {"name": "Tesla T4", "total": 15_360 << 20, "free": 15_000 << 20, "driver": "550.54.15"},
            {"name": "NVIDIA X, Y", "total": 81_559 << 20, "free": 81_000 << 20, "driver": "550.54.15"},
        ],
        "why": "",
    }


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'NVIDIA-SMI has failed'; exit 9", "nvidia-smi failed (NVIDIA-SMI has failed)"),
        ("echo 'no library' >&2; exit 9", "nvidia-smi failed (no library)"),
        ("exec sleep 60", "nvidia-smi gave no answer within 0.5 s"),
    ],
)
def test_a_driver_that_fails_or_hangs_is_said_to(
    driver: Path, script: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examine, "DRIVER_SECONDS", 0.5 if "sleep" in script else 60)
    command(driver, script)
    assert gpus_by_driver() == {"gpus": [], "why": why}


def test_no_driver_and_no_gpu_are_told_apart(driver: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(driver.parent))
    assert gpus_by_driver()["why"] == "a device is here, and no nvidia-smi that could tell of it"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpus_by_driver()["why"] == "CUDA_VISIBLE_DEVICES is '-1'"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(engines, "DEVICES", tmp_path / "bin")
    assert gpus_by_driver()["why"] == "none is here"


def said(request: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> list[Any]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
    examine.main()
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_keras_is_asked_last_and_only_where_there_is_a_gpu(
    driver: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command(driver, "echo 'Tesla T4, 15360, 15000, 550.54.15'")
    monkeypatch.setattr(engines, "keras_gpus", lambda: ["gpu:0"])
    monkeypatch.setattr(engines, "distributions", lambda name: iter([]))
    lines = said({"spec": B4.to_json(), "model_dir": "/"}, monkeypatch, capfd)
    assert [next(iter(line)) for line in lines] == ["weights", "engine", "cache", "gpu", "keras", "result"]
    assert lines[1]["engine"]["why"] == "a GPU is here, which OpenVINO would leave idle"
    assert lines[4] == {"keras": ["gpu:0"]}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    lines = said({"spec": None, "model_dir": "/"}, monkeypatch, capfd)
    assert [next(iter(line)) for line in lines] == ["cache", "gpu", "result"]


def test_a_spec_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    (line,) = said({"spec": {"name": "odd"}, "model_dir": "/"}, monkeypatch, capfd)
    assert line["error"]["kind"] == "ModelError"
    assert ModelSpec.from_json(LITE0.to_json()) == LITE0
