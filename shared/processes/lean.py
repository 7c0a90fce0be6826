"""Keep out of a process of ours what a library would load for nothing. Standard library only: it begins with this."""

import sys
from importlib.abc import MetaPathFinder


class _WithoutPandas(MetaPathFinder):
    """Tells code that imports pandas that there is none."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("This process does without pandas.", name=fullname)


def without_pandas() -> None:
    """Hide pandas from this process: only for programs that are ours alone.

    With the first Python list that becomes an array, Arrow imports pandas if that is installed, only to ask whether the
    list is one of its series. That costs tens of megabytes, and a third of a second, for nothing.
    """
    if not any(isinstance(finder, _WithoutPandas) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WithoutPandas())
