"""Check whether Python finds lookalike's packages and the libraries they need, or others that hide them."""

import os
import sys
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

# The wheel's packages, and those that they need. This module imports only the standard library: it runs before them.
_OURS = ("coordinator", "shared", "workers")
_NEEDED = ("celery", "fsspec", "kombu", "numpy", "packaging", "pyarrow", "redis", "rich", "typer")
# "lookalike." in a program that imports lookalike, which finds our packages below it (lookalike/finding.py).
_BELOW = __name__.removesuffix(f"{_OURS[0]}.local.hidden")


def hiding() -> str | None:
    """A sentence that names the file or folder that Python takes for one of our packages; None where none is hidden.

    `shared` and `workers` must be beside this package. Another library counts as hidden when a folder without installed
    packages has its name, and a folder with installed packages has it too.
    """
    root = Path(__file__).resolve().parents[2]
    for name in _OURS:
        found = _place(f"{_BELOW}{name}")
        if found is not None and found.resolve() != root / name:
            return _sentence(found, f"lookalike's own package {name!r}")
    for name in _NEEDED:
        found = _place(name)
        if found is None or is_installed_in(found.parent):
            continue
        others = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != os.path.realpath(found.parent)]
        other = PathFinder.find_spec(name, others)
        if other is not None and other.origin is not None:
            return _sentence(found, f"the library {name!r}, which lookalike needs")
    return None


def same_names() -> list[Path]:
    """Files on the path that have the name of a package of ours. They do not affect lookalike, but a program that
    imports our packages by their own names, and not `lookalike`, would get these.
    """
    root = Path(__file__).resolve().parents[2]
    entries = {os.path.realpath(entry or os.curdir) for entry in sys.path} - {str(root)}
    specs = [PathFinder.find_spec(name, [entry]) for entry in sorted(entries) for name in _OURS]
    return [_of_spec(spec) for spec in specs if spec is not None and spec.origin is not None]


def is_installed_in(folder: Path) -> bool:
    """Whether pip or a similar tool has installed packages in a folder."""
    if folder.name in ("site-packages", "dist-packages"):
        return True
    try:
        return any(name.endswith((".dist-info", ".egg-info")) for name in os.listdir(folder))
    except OSError:
        return False


def _place(name: str) -> Path | None:
    """The folder or file that Python has imported, or would import, as the package of this name."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is None:
        with suppress(ModuleNotFoundError):  # A finder raises this for a package that it knows to be missing.
            spec = find_spec(name)
    return None if spec is None else _of_spec(spec)


def _of_spec(spec: ModuleSpec) -> Path:
    if spec.origin is None:  # This is a folder without __init__.py.
        return Path(next(iter(spec.submodule_search_locations or [""])))
    origin = Path(spec.origin)
    return origin.parent if origin.name.startswith("__init__.") else origin


def _sentence(found: Path, what: str) -> str:
    return (
        f"{found} hides {what}: take {found.parent} out of PYTHONPATH and of where Python looks, or give what lies "
        "there another name. The command `lookalike` and programs that import `lookalike` alone do not mind it, unless "
        "it was imported before."
    )


def refuse() -> None:
    """Raise ImportError when one of our packages is hidden."""
    sentence = hiding()
    if sentence is not None:
        raise ImportError(sentence)
