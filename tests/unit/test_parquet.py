"""What Arrow is kept from doing in the processes of ours."""

import os
import subprocess
import sys
from importlib.metadata import version

WORKER = """
import sys
import workers.app
import pyarrow as pa
assert pa.table({"id": [1, 2], "name": ["a", None]}).to_pylist()[1] == {"id": 2, "name": None}
print(sorted(name for name in sys.modules if name.partition(".")[0] == "pandas"))
try:
    import pandas
except ImportError as error:
    print(error)
"""


def test_a_worker_does_without_pandas() -> None:
    assert version("pandas")  # Else Arrow has nothing to import.
    environment = os.environ | {"LOOKALIKE_BROKER_URL": "redis://127.0.0.1:1"}  # It is not spoken to.
    done = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "This process does without pandas."]
