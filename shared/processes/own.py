"""Own processes: the command that runs a module of ours in a process of its own."""

import sys
from pathlib import Path
from typing import Final

# A script, and no module: nothing on PYTHONPATH can have its name.
LAUNCHER: Final = str(Path(__file__).resolve().parents[2] / "lookalike" / "finding.py")


def module_command(module: str, *arguments: object) -> list[str]:
    """`python -m MODULE ARGUMENTS` for a module of ours: whatever lies in the working directory or on PYTHONPATH under
    the name of one of ours, or of a library that we need, is not taken for it."""
    return [sys.executable, "-P", LAUNCHER, module, *map(str, arguments)]
