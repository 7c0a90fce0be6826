"""Own packages: whether Python finds lookalike's and Celery's, or others of the same names that hide them."""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

# What the wheel brings, and what it stands on. Only the standard library is imported here: it runs before all of them.
_OURS = ("coordinator", "shared", "workers")
_NEEDED = ("celery", "fsspec", "kombu", "numpy", "packaging", "pyarrow", "redis", "rich", "typer")


def hiding() -> str | None:
    """A sentence that names the file or folder that Python takes for one of our packages; None where none is hidden.

    `shared` and `workers` are to lie beside this package. Another library counts as hidden when a folder of PYTHONPATH
    has its name without being where it was installed.
    """
    root = Path(__file__).resolve().parent.parent
    for name in _OURS:
        found = _place(name, sys.path)
        if found is not None and found.resolve() != root / name:
            return _sentence(found, f"lookalike's own package {name!r}")
    entries = [entry or os.curdir for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    theirs = {os.path.realpath(entry) for entry in entries} if os.environ.get("PYTHONPATH") else set()
    for name in _NEEDED if theirs else ():
        found = _place(name, sys.path)
        if found is None or os.path.realpath(found.parent) not in theirs:
            continue
        installed = any(found.parent.glob(f"{name}-*.dist-info")) or any(found.parent.glob(f"{name}-*.egg-info"))
        others = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) not in theirs]
        if not installed and _place(name, others) is not None:
            return _sentence(found, f"the library {name!r}, which lookalike needs")
    return None


def _place(name: str, path: list[str]) -> Path | None:
    """The folder or file that Python has taken, or would take from `path`, for the package of this name."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None) or PathFinder.find_spec(name, path)
    if spec is None:
        return None
    if spec.origin is None:  # A folder without __init__.py.
        return Path(next(iter(spec.submodule_search_locations or [""])))
    origin = Path(spec.origin)
    return origin.parent if origin.name.startswith("__init__.") else origin


def _sentence(found: Path, what: str) -> str:
    return (
        f"{found} hides {what}: take {found.parent} out of PYTHONPATH and of where Python looks, or give what lies "
        "there another name."
    )


def refuse() -> None:
    """End the command `lookalike` with exit status 2, and any other import with an ImportError, when we are hidden."""
    sentence = hiding()
    if sentence is None:
        return
    if Path((getattr(sys, "argv", None) or [""])[0]).name == "lookalike":
        sys.stderr.write(f"lookalike: {sentence}\n")
        raise SystemExit(2)
    raise ImportError(sentence)
