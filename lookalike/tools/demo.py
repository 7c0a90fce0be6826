"""Give photographs to try lookalike with, as `lookalike demo` does: tiles of those that installed packages carry."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike import extras
from lookalike.tools.given import require_lists
from shared.images.paths import expanded

if TYPE_CHECKING:
    from coordinator.local.demo_photos import DemoPhotos


def demo_photos(directory: str | os.PathLike[str], only: Sequence[str] = ()) -> "DemoPhotos":
    """Write about a thousand photos below a directory, or check that they are there; altered copies of some too.

    They are cut from 17 photographs inside scikit-image and scikit-learn (`lookalike[demo]`); nothing is downloaded.

    Parameters
    ----------
    only
        Names of photographs, such as ["coffee", "rocket"], to have tiles of these alone, which is faster.

    Returns
    -------
    DemoPhotos
        `folder`, which `lookalike.index` takes; how many `photos` are in it, of how many `photographs`; `queries`,
        altered copies each with its `path`, its `alteration` and its `original`; and `strangers`, pictures that are not
        among the photos.

    Raises
    ------
    LookalikeError
        SourceError when the photographs are not installed, the directory holds other files, or a name is not known;
        UsageError if `lookalike[worker]`, which cuts, is not installed.
    """
    require_lists("names", only=only)
    with extras.needed("To make the photos"):
        from coordinator.local.demo_photos import cut_photos

        if find_spec("cv2") is None:  # It is the other process that needs it, and would say so less well.
            raise ModuleNotFoundError("No module named 'cv2'", name="cv2")
    return cut_photos(expanded(Path(directory)).resolve(), only)
