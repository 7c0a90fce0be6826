"""Give every test an environment without settings, and decide what to do about a service that is not there."""

import gc
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling, Scheduling

from shared.settings import PREFIX, without_settings
from tests.support.once import RUN_CACHE, one_first
from tests.support.order import mixed

# A busy machine is no failure. In CI the same examples run each time: what fails there can be run again anywhere.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)

_made_here: list[str] = []

UNIT = Path(__file__).parent / "unit"
_MODELS = "tests/unit/workers/models/"
# `pytestmark` of a file whose tests are all slow, alone or in a list.
_ALL_SLOW = re.compile(r"^(pytestmark = |    )pytest\.mark\.slow\b", re.MULTILINE)


def in_ci() -> bool:
    """Whether the environment says that this is CI."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def pytest_configure() -> None:
    """Forget the settings of the shell that pytest was started from, and choose hypothesis' profile.

    A shell starts what it puts in the background with SIGINT ignored, which every process of a test would inherit, and
    Ctrl-C is among what is tested.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kept = without_settings(os.environ)
    for variable in set(os.environ) - set(kept):
        del os.environ[variable]
    # The processes of a run are hundreds, and those of the next begin with the same files: none compiles again what
    # another has.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # Several processes share the cores: on a busy machine FAISS' threads take twice the time of one, as each waits for
    # another that has no core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    hypothesis.settings.load_profile("ci" if in_ci() else "local")
    if RUN_CACHE not in os.environ:
        os.environ[RUN_CACHE] = tempfile.mkdtemp(prefix="lookalike-test-cache-")
        _made_here.append(os.environ[RUN_CACHE])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m fast` does not even import what holds no fast test: TensorFlow alone takes longer than many of them."""
    if config.option.markexpr != "fast" or collection_path.suffix != ".py":
        return None
    return not _may_be_fast(collection_path) or _ALL_SLOW.search(collection_path.read_text()) is not None or None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let one process alone compile a file of tests that is new, which takes ten times longer than to load it.

    Of the files of a folder each process compiles others first, or all but one would wait at each file.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    if isinstance(collector, pytest.Module):
        with _compiled_once(collector):
            return (yield)
    report = yield
    number, count = int(os.environ["PYTEST_XDIST_WORKER"][2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    modules = [node for node in report.result or () if isinstance(node, pytest.Module)]
    for module in modules[number::count]:
        # An error in it is reported where all processes load it, in their common order.
        with suppress(Exception, pytest.skip.Exception), _compiled_once(module):
            assert module.obj
    return report


@contextmanager
def _compiled_once(module: pytest.Module) -> Iterator[None]:
    if _is_compiled(module):
        yield
        return
    with one_first(module.nodeid.replace("/", ".")):
        yield


def _is_compiled(module: pytest.Module) -> bool:
    folder, name = module.path.parent / "__pycache__", module.path.stem
    return any(path.stat().st_mtime > module.path.stat().st_mtime for path in folder.glob(f"{name}.*pytest*.pyc"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `fast` every unit test that is not `slow`: one that takes a second, starts processes or TensorFlow.

    Several processes take the files in an order that leaves no core idle while tests wait for processes.
    """
    for item in items:
        if _may_be_fast(item.path) and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.fast)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = mixed(items, _may_be_fast)


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass over the modules and tests of this process, which all stay to its end."""
    gc.freeze()


def _may_be_fast(path: Path) -> bool:
    return UNIT in path.parents


def pytest_unconfigure() -> None:
    """Remove the run's cache where it was made, which is not in the processes that xdist starts."""
    while _made_here:
        shutil.rmtree(_made_here.pop(), ignore_errors=True)
        del os.environ[RUN_CACHE]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two processes more than there are cores: while tests of processes wait for a timeout, another one can work."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    return _FilesOfModelsTogether(config, log) if config.getoption("dist") == "loadfile" else None


class _FilesOfModelsTogether(LoadFileScheduling):
    """Gives each process whole files, and the tests of models to one: each process would load TensorFlow for a few."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return _MODELS if file.startswith(_MODELS) else file


def pytest_report_header() -> str:
    return f"missing services {'fail' if in_ci() else 'skip'}; every {PREFIX}* variable is unset"


def require_service(condition: object, reason: str) -> None:
    """Continue when `condition` holds. Else skip the test, or fail it in CI, where nothing may be missing."""
    if condition:
        return
    if in_ci():
        pytest.fail(f"{reason} CI is set, so this fails instead of being skipped.", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def run_cache() -> Path:
    """A cache directory that all tests of this run share."""
    return Path(os.environ[RUN_CACHE])


@pytest.fixture(scope="session")
def require() -> Callable[[object, str], None]:
    """`require(shutil.which("redis-server"), "There is no redis-server: apt-get install redis-server.")`."""
    return require_service
