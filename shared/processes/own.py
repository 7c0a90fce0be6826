"""Make the command that runs a module of lookalike in a process of its own."""

import sys
from pathlib import Path
from typing import Final

# This is a script and no module: nothing on PYTHONPATH can have its name.
LAUNCHER: Final = str(Path(__file__).resolve().parents[2] / "lookalike" / "finding.py")


def module_command(module: str, *arguments: object) -> list[str]:
    """`python -m MODULE ARGUMENTS` for a module of lookalike. It never runs a module of the same name from the working
    directory or PYTHONPATH, also not in the place of a library that lookalike needs.
    """
    return [sys.executable, "-P", LAUNCHER, module, *map(str, arguments)]
