"""Keep out of a process of ours what a library would load for nothing. Standard library only: it begins with this."""

import sys
from importlib.abc import MetaPathFinder

# What libraries import where it is installed, though nothing here needs it: with the first Python list that becomes an
# array, Arrow asks whether it is a series of pandas, which takes a third of a second and tens of megabytes; kombu could
# read messages in YAML, which ours never are.
_HIDDEN = frozenset({"pandas", "yaml"})


class _Without(MetaPathFinder):
    """Tells code that imports one of those that there is none."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname in _HIDDEN:
            raise ModuleNotFoundError(f"This process does without {fullname}.", name=fullname)


def be_lean() -> None:
    """Hide pandas and YAML from this process: only for programs that are ours alone, before they import Celery."""
    if not any(isinstance(finder, _Without) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Without())
