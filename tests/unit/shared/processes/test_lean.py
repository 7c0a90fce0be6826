import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from shared.processes.own import LAUNCHER

MAKES_A_TABLE = """
import pyarrow as pa
assert pa.table({"id": [1, 2], "name": ["a", None]}).to_pylist()[1] == {"id": 2, "name": None}
print(sorted(name for name in sys.modules if name.partition(".")[0] == "pandas"))
try:
    import pandas
except ImportError as error:
    print(error)
"""
PROCESSES = {
    "a worker of Celery's command": "import sys\nimport workers.app\n",
    "a command": (
        "import sys\nfrom lookalike.__main__ import main\n"
        "sys.argv = ['lookalike', '--version']\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
    ),
    "what a command or a worker starts": (
        f"import runpy, sys\nsys.argv = [{LAUNCHER!r}, 'shared.processes.lean']\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_of_ours_does_without_pandas(process: str, tmp_path: Path) -> None:
    assert version("pandas")  # Else Arrow has nothing to import.
    environment = os.environ | {"LOOKALIKE_BROKER_URL": "redis://127.0.0.1:1"}  # It is not spoken to.
    program = tmp_path / "program.py"
    program.write_text(PROCESSES[process] + MAKES_A_TABLE)
    environment["PYTHONPATH"] = str(Path(LAUNCHER).parents[1])
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["[]", "This process does without pandas."]


def test_a_worker_sends_and_reads_no_yaml_and_does_not_load_it(tmp_path: Path) -> None:
    assert version("PyYAML")  # Else kombu has nothing to import.
    (tmp_path / "program.py").write_text(
        f"import runpy, sys\nsys.argv = [{LAUNCHER!r}, 'shared.broker.connection']\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "from kombu.serialization import registry\n"
        "print('yaml' in sys.modules, 'json' in registry._encoders)\n"
    )
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["False True"]
