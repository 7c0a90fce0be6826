"""The machine and the versions that figures belong to."""

import platform

import numpy as np

from benchmarks.support import machine


def test_the_cpu_is_called_as_linux_calls_it() -> None:
    assert machine.cpu_model("processor\t: 0\nmodel name\t: A  CPU @ 3\nmodel name\t: A  CPU @ 3\n") == "A CPU @ 3"
    assert machine.cpu_model("processor\t: 0\nmodel name\t:\n") == "unknown"


def test_versions_are_those_installed_and_no_others() -> None:
    found = machine.versions(("numpy", "no-such-distribution"))
    assert found == {"python": platform.python_version(), "numpy": np.__version__}
