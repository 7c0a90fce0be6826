"""A PyTorch state dict is read without PyTorch, and nothing else in a pickle is."""

import io
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from shared.errors import ModelError
from workers.models.architectures.torch_weights import read_state_dict

STORAGES = {"f8": "Double", "f4": "Float", "f2": "Half", "i8": "Long", "i4": "Int", "i1": "Char", "u1": "Byte"}
arrays = hnp.arrays(
    st.sampled_from(list(STORAGES)).map(np.dtype),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


class Tensor:
    """Stands for a torch.Tensor: a view of a storage, pickled by the functions that PyTorch names."""

    def __init__(self, array: NDArray[Any], **changes: Any) -> None:
        self.array = array
        base = array if array.base is None or not isinstance(array.base, np.ndarray) else array.base
        self.values = base.reshape(-1, order="A")
        step = array.itemsize
        self.view = {"offset": 0, "shape": array.shape, "strides": tuple(s // step for s in array.strides)} | changes

    def __reduce__(self) -> Any:
        utils = sys.modules["torch._utils"]
        storage = Storage(self.values)
        args = (storage, self.view["offset"], self.view["shape"], self.view["strides"], False, OrderedDict())
        return utils._rebuild_tensor_v2, args


class Storage:
    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values


class Writer(pickle.Pickler):
    """Pickles Tensors as `torch.save` does, and keeps the storages that it met."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.storages: dict[str, NDArray[Any]] = {}

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        key = str(len(self.storages))
        self.storages[key] = obj.values
        kind = getattr(sys.modules["torch"], f"{STORAGES[obj.values.dtype.str[1:]]}Storage")
        return ("storage", kind, key, "cpu", obj.values.size)


@pytest.fixture(autouse=True, scope="module")
def torch_names() -> Iterator[None]:
    """Empty modules under PyTorch's names, for pickle to write down."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for kind in STORAGES.values():
        setattr(torch, f"{kind}Storage", type(f"{kind}Storage", (), {"__module__": "torch"}))

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    patch = pytest.MonkeyPatch()
    patch.setitem(sys.modules, "torch", torch)
    patch.setitem(sys.modules, "torch._utils", utils)
    yield
    patch.undo()


def legacy(content: Any) -> bytes:
    body, file = io.BytesIO(), io.BytesIO()
    writer = Writer(body)
    writer.dump(content)
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(part, file, protocol=2)
    file.write(body.getvalue())
    pickle.dump(sorted(writer.storages), file, protocol=2)
    for key in sorted(writer.storages):
        values = writer.storages[key]
        file.write(values.size.to_bytes(8, "little") + values.tobytes())
    return file.getvalue()


def zipped(content: Any, byteorder: bytes = b"little") -> bytes:
    body, file = io.BytesIO(), io.BytesIO()
    writer = Writer(body)
    writer.dump(content)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights/data.pkl", body.getvalue())
        archive.writestr("weights/byteorder", byteorder)
        for key, values in writer.storages.items():
            archive.writestr(f"weights/data/{key}", values.tobytes())
    return file.getvalue()


LAYOUTS = pytest.mark.parametrize("layout", [legacy, zipped])


def saved(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    return path


@LAYOUTS
@given(contents=st.dictionaries(st.text(max_size=8), arrays, max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_array_comes_back_with_its_name_shape_and_dtype(
    tmp_path: Path, layout: Any, contents: dict[str, NDArray[Any]]
) -> None:
    found = read_state_dict(saved(tmp_path, layout(OrderedDict((k, Tensor(v)) for k, v in contents.items()))))
    assert list(found) == list(contents)
    for name, array in contents.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@LAYOUTS
def test_a_transposed_view_is_read_by_its_strides(tmp_path: Path, layout: Any) -> None:
    array = np.arange(6, dtype="f4").reshape(2, 3)
    found = read_state_dict(saved(tmp_path, layout({"w": Tensor(array.T)})))
    np.testing.assert_array_equal(found["w"], array.T)


@LAYOUTS
@pytest.mark.parametrize(
    "view",
    [
        {"shape": (7,), "strides": (1,)},
        {"shape": (2, 3), "strides": (4, 1)},
        {"offset": 6, "shape": (1,), "strides": (1,)},
        {"offset": -1, "shape": (1,), "strides": (1,)},
        {"shape": (2,), "strides": (-1,)},
    ],
)
def test_a_view_that_reaches_outside_its_storage_is_refused(tmp_path: Path, layout: Any, view: dict[str, Any]) -> None:
    path = saved(tmp_path, layout({"w": Tensor(np.arange(6, dtype="f4"), **view)}))
    with pytest.raises(ModelError, match="outside its storage"):
        read_state_dict(path)


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made-by-a-pickle",)


@LAYOUTS
def test_a_pickle_that_names_a_function_runs_nothing(
    tmp_path: Path, layout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"names \w+\.mkdir"):
        read_state_dict(saved(tmp_path, layout({"w": Evil()})))
    assert not (tmp_path / "made-by-a-pickle").exists()


@LAYOUTS
@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"w": Tensor(np.zeros(2, "f4"))}}])
def test_anything_but_a_flat_dict_of_tensors_is_refused(tmp_path: Path, layout: Any, content: Any) -> None:
    with pytest.raises(ModelError, match="flat dict of tensors"):
        read_state_dict(saved(tmp_path, layout(content)))


def test_a_big_endian_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="big-endian"):
        read_state_dict(saved(tmp_path, zipped({"w": Tensor(np.zeros(2, "f4"))}, b"big")))


@LAYOUTS
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, layout: Any) -> None:
    data = layout({"a": Tensor(np.arange(50, dtype="f4")), "b": Tensor(np.arange(9, dtype="i8"))})
    for end in range(0, len(data) - 1, 7):
        with pytest.raises(ModelError, match=r"weights\.pth"):
            read_state_dict(saved(tmp_path, data[:end]))


@LAYOUTS
@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_gives_arrays_or_a_sentence(tmp_path: Path, layout: Any, at: int, flip: int) -> None:
    data = bytearray(layout({"a": Tensor(np.arange(12, dtype="f4").reshape(3, 4))}))
    data[at % len(data)] ^= flip
    try:
        outcome = {type(array).__name__ for array in read_state_dict(saved(tmp_path, bytes(data))).values()}
    except ModelError as error:
        outcome = {word for word in str(error).split() if word.endswith("weights.pth")}
    assert outcome in ({"ndarray"}, {str(tmp_path / "weights.pth")}, set())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.pth can't be read"):
        read_state_dict(tmp_path / "gone.pth")
