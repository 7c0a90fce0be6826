"""Make what is expensive and read by many tests once in a run, for all the processes of the run."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Names the cache of one test run, for all its processes: one of them makes a model for OpenVINO, and all run it.
RUN_CACHE = "LK_TEST_CACHE"


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The directory `name` of this run, filled by `make` in the first process that asks; others wait for it.

    A test must not change it: copy what a test changes.
    """
    folder = Path(os.environ[RUN_CACHE]) / "made"
    folder.mkdir(exist_ok=True)
    made, done = folder / name, folder / f"{name}.done"
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(made, ignore_errors=True)  # Half of it, where the first `make` failed.
            made.mkdir()
            make(made)
            done.touch()
    return made


@contextmanager
def one_first(name: str) -> Iterator[None]:
    """Let the first process of this run that comes here be alone in the block; the others wait, and then run it too."""
    folder = Path(os.environ[RUN_CACHE]) / "first"
    folder.mkdir(exist_ok=True)
    done = folder / f"{name}.done"
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            yield
            done.touch()
            return
    yield
