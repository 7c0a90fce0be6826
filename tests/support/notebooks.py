"""The notebooks, as they are committed."""

from pathlib import Path
from typing import Any

import nbformat

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def read_notebook(name: str) -> Any:
    """The notebook of this name, without .ipynb: its `cells` have the `source` as one text."""
    (path,) = (path for path in NOTEBOOKS if path.stem == name)
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
