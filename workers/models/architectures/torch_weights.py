"""Read a PyTorch state dict into NumPy without PyTorch, and refuse every pickle that asks for more than tensors.

The two layouts of `torch.save` are known from files alone: a zip archive (since PyTorch 1.6), and before that five
pickles in a row followed by the raw storages.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def over(self, values: NDArray[Any]) -> NDArray[Any]:
        """Copy this tensor out of its storage; the bounds are checked, because `as_strided` itself checks nothing."""
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        empty = 0 in self.shape
        if min((self.offset, *self.shape, *self.strides)) < 0 or (last >= len(values) and not empty):
            raise pickle.UnpicklingError(f"a tensor of shape {self.shape} reaches outside its storage")
        if empty:
            return np.empty(self.shape, values.dtype)
        strides = [step * values.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides).copy()


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(data: _Tensor, *_: object) -> _Tensor:
    return data


class _TensorsOnly(pickle.Unpickler):
    """An unpickler that can name dicts, tensors and storages, and nothing that runs code."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no tensor of a known type")

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, _, count, *view = pid
        if any(view) or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError("it holds a storage of an unknown kind")
        return self.storages.setdefault(key, _Storage(key, dtype, count))


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read the state dict saved at `path` as arrays of their own shape and dtype, in the order of the file.

    Raises ModelError when the file can't be read, is cut short, or holds anything but a flat dict of tensors.
    """
    try:
        with path.open("rb") as file:
            tensors, storage_values = _open_zip(file) if zipfile.is_zipfile(file) else _open_legacy(file)
            if not isinstance(tensors, dict) or not all(isinstance(t, _Tensor) for t in tensors.values()):
                raise pickle.UnpicklingError("it is no flat dict of tensors")
            return {str(name): tensor.over(storage_values(tensor.storage)) for name, tensor in tensors.items()}
    except OSError as error:
        raise ModelError(f"The weights {path} can't be read: {error}.") from error
    except Exception as error:  # A damaged pickle can raise nearly anything, as its documentation says.
        reason = str(error) or "it is cut short"
        raise ModelError(f"{path} was expected to be a PyTorch state dict, but {reason}.") from error


def _open_zip(file: BinaryIO) -> tuple[Any, Callable[[_Storage], NDArray[Any]]]:
    archive = zipfile.ZipFile(file)
    root = next((name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]), None)
    if root is None:
        raise pickle.UnpicklingError("the archive holds no data.pkl")
    folder = root.removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise pickle.UnpicklingError("it was written on a big-endian machine")
    tensors = _TensorsOnly(io.BytesIO(archive.read(root))).load()
    return tensors, lambda storage: np.frombuffer(archive.read(f"{folder}data/{storage.key}"), storage.dtype)


def _open_legacy(file: BinaryIO) -> tuple[Any, Callable[[_Storage], NDArray[Any]]]:
    file.seek(0)
    magic = _TensorsOnly(file).load()
    protocol = _TensorsOnly(file).load()
    if (magic, protocol) != (_LEGACY_MAGIC, _LEGACY_PROTOCOL):
        raise pickle.UnpicklingError("its first bytes are not those of `torch.save`")
    _TensorsOnly(file).load()  # The sizes of C integers on the machine that wrote it; the dtypes here are fixed.
    content = _TensorsOnly(file)
    tensors = content.load()
    values: dict[str, NDArray[Any]] = {}
    for key in _TensorsOnly(file).load():
        storage = content.storages[key]
        count = int.from_bytes(file.read(8), "little")
        if count != storage.count:
            raise pickle.UnpicklingError(f"storage {key} holds {count} values instead of {storage.count}")
        values[key] = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype)
    return tensors, lambda storage: values[storage.key]
