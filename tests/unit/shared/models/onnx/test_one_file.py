"""Weights that are in a file beside an ONNX file become part of it, and nothing else of it changes."""

from pathlib import Path
from typing import Any

import onnx
import pytest

from shared.errors import ModelError
from shared.models import resolve_model, weights_sha256
from shared.models.onnx import one_file as module
from shared.models.onnx.one_file import one_file
from shared.models.onnx.onnx_file import read_onnx
from tests.support.onnx_files import changed, linear_file, means_file


def whole(path: Path) -> bytes:
    return b"".join(one_file(path))


def by_onnx(path: Path) -> Any:
    """The file with its weights as onnx loads them, without its remark that they are not elsewhere."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.ClearField("data_location")
    return model


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    return linear_file(tmp_path / "m.onnx", beside="m.onnx.data")


def test_weights_beside_a_file_come_into_it_as_onnx_does_it(apart: Path, tmp_path: Path) -> None:
    assert apart.stat().st_size < 1_000 < (tmp_path / "m.onnx.data").stat().st_size
    assert onnx.load_from_string(whole(apart)) == by_onnx(apart)
    (tmp_path / "one.onnx").write_bytes(whole(apart))
    (tmp_path / "m.onnx.data").unlink()
    onnx.checker.check_model(str(tmp_path / "one.onnx"))
    assert whole(tmp_path / "one.onnx") == (tmp_path / "one.onnx").read_bytes()
    assert read_onnx(tmp_path / "one.onnx").outputs == read_onnx(apart).outputs


@pytest.mark.parametrize("data", [b"", b"no model at all", b"\x89PNG\r\n\x1a\n", b"\x38\x05"])
def test_any_other_file_is_given_as_it_is(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    assert whole(tmp_path / "m.onnx") == data
    path = means_file(tmp_path / "m.onnx")
    assert whole(path) == path.read_bytes()


def test_the_checksum_is_that_of_the_one_file(apart: Path, tmp_path: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(whole(apart))
    spec = resolve_model(str(apart))
    assert spec.weights_sha256 == weights_sha256(tmp_path / "one.onnx")
    assert spec.fingerprint == resolve_model(str(tmp_path / "one.onnx")).fingerprint
    data = bytearray((tmp_path / "m.onnx.data").read_bytes())
    data[7] ^= 1
    (tmp_path / "m.onnx.data").write_bytes(data)
    assert resolve_model(str(apart)).fingerprint != spec.fingerprint


def test_a_file_beside_it_that_is_missing_or_cut_is_named(apart: Path, tmp_path: Path) -> None:
    beside = tmp_path / "m.onnx.data"
    beside.write_bytes(beside.read_bytes()[:-1])
    with pytest.raises(
        ModelError, match=r"keeps its weights in .*m\.onnx\.data, which has [\d,]+ bytes, and [\d,]+ are"
    ):
        resolve_model(str(apart))
    beside.unlink()
    with pytest.raises(ModelError, match=r"m\.onnx\.data, which can't be read \(No such file.*put it beside it"):
        resolve_model(str(apart))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("location", "/etc/passwd", "is not beside it"),
        ("location", "../secret", "is not beside it"),
        ("location", "", "is not beside it"),
        ("offset", "many", "nonsense of where its weights 'first' are"),
        ("offset", "-5", "are expected"),
        ("length", "99999999", "are expected"),
    ],
)
def test_a_place_that_is_none_is_refused(apart: Path, key: str, value: str, said: str) -> None:
    def lie(model: Any) -> None:
        (entry,) = (one for one in model.graph.initializer[0].external_data if one.key == key)
        entry.value = value

    model = onnx.load(apart, load_external_data=False)
    lie(model)
    apart.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=said):
        whole(apart)


def test_a_length_that_is_not_said_is_to_the_end(tmp_path: Path) -> None:
    path = linear_file(tmp_path / "m.onnx", beside="m.data")
    expected = by_onnx(path)
    model = onnx.load(path, load_external_data=False)
    kept = [one for one in model.graph.initializer[1].external_data if one.key != "length"]
    del model.graph.initializer[1].external_data[:]
    model.graph.initializer[1].external_data.extend(kept)
    path.write_bytes(model.SerializeToString())
    assert onnx.load_from_string(whole(path)) == expected


def test_more_than_one_file_can_hold_is_refused(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 50_000)
    with pytest.raises(ModelError, match=r"and the weights beside it are [\d,]+ bytes, and one file holds 50,000"):
        whole(apart)


def test_a_field_that_is_another_kind_is_left_to_who_reads_it(tmp_path: Path) -> None:
    path = changed(means_file(tmp_path / "m.onnx"), lambda model: model.graph.ClearField("initializer"))
    assert whole(path) == path.read_bytes()
