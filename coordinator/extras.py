"""Extras: images of formats that take further packages, counted as they are listed, and whether these are here."""

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Final

from coordinator.listing import Listed
from coordinator.suffixes import RAW_SUFFIXES

FORMATS_NOTE: Final = "of JPEG XL or camera RAW, which take the extra formats"
"""In what words such images are counted among the notes of a source."""

_SUFFIXES: Final = (".jxl", *sorted(RAW_SUFFIXES))
_PACKAGES: Final = ("imagecodecs", "rawpy")


def noted(images: Iterator[Listed], notes: Counter[str]) -> Iterator[Listed]:
    """`images`, while `notes` counts those that take the extra, by their suffixes."""
    for image in images:
        if image.path.lower().endswith(_SUFFIXES):
            notes[FORMATS_NOTE] += 1
        yield image


def hint(notes: Mapping[str, int]) -> str | None:
    """What to tell of a source with these notes where the extra is not installed here; None where there is nothing."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if FORMATS_NOTE not in notes or not missing:
        return None
    return (
        f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed here: a worker without fails "
        "images of JPEG XL and camera RAW; install with  pip install 'lookalike[formats]'"
    )
