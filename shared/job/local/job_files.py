"""The files of a job on this machine: those of a disk themselves, those of a store as copies from the job cache."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from shared.job.directory import JobDir
from shared.job.index.builds import IndexInfo
from shared.job.local.cache import JobCache
from shared.settings import Settings, load_settings
from shared.storage import files

Entry = Mapping[str, Any]
"""Size and SHA-256 of a file, as "bytes" and "sha256"."""

Compare = Callable[[Path, Entry], None]
"""Raises CorruptFile where a file on a disk is not what its entry says."""


class JobFiles(ABC):
    """Answers alike for a job on a disk and for one in a store; several threads may ask at once.

    Copies of files in a store stay as long as this object does.
    """

    look_seconds: ClassVar[float]
    """How long to wait between two looks at the progress of the job."""

    believed_seconds: ClassVar[float]
    """How long a query, which must not wait, believes what was seen of the job."""

    def __init__(self, job: JobDir) -> None:
        self.job = job

    @staticmethod
    def of(job: JobDir, settings: Settings | None = None) -> "JobFiles":
        """The files of `job`. Copies are where the settings say, without any where those of the environment do."""
        return StoreFiles(job, settings or load_settings()) if job.in_store else DiskFiles(job)

    @property
    @abstractmethod
    def work_dir(self) -> Path:
        """The directory on this machine in which a build, a directory of its name, is made before it is published."""

    @abstractmethod
    def local(self, path: Path, entry: Entry, *, check: bool = False, compare: Compare | None = None) -> Path:
        """The file itself on a disk; of one in a store a copy with the size and SHA-256 of `entry`.

        The store is asked for a size that `entry` does not give. With `check`, the bytes of a copy that is there
        already are compared, not only its size. With `compare` the bytes are compared wherever they are: those of a
        file on a disk by calling it. Raises what `compare` raises, and for a store as `Held.file` does.
        """

    def all_local(
        self, wanted: Iterable[tuple[Path, Entry]], *, check: bool = False, compare: Compare | None = None
    ) -> list[Path]:
        """As `local`, for several."""
        return [self.local(*one, check=check, compare=compare) for one in wanted]

    @abstractmethod
    def publish(self, info: IndexInfo, told: Callable[[float], None]) -> None:
        """Bring the files of a build, but its index.json, from `work_dir` into the job.

        Before each file, `told` is told the share that is done, and may raise.
        """

    @abstractmethod
    def keep(self, info: IndexInfo) -> None:
        """Clear `work_dir` of a build that is whole; what queries need of it stays."""

    @abstractmethod
    def stamp(self, path: Path) -> object:
        """What changes when a small file is replaced, to tell whether to read it again; None where it must be read."""


class DiskFiles(JobFiles):
    """The files of a job on a disk or mount, which are used where they are."""

    look_seconds = 1.0
    believed_seconds = 0.0

    @property
    def work_dir(self) -> Path:
        return self.job.index_dir

    def local(self, path: Path, entry: Entry, *, check: bool = False, compare: Compare | None = None) -> Path:
        if compare is not None:
            compare(path, entry)
        return path

    def publish(self, info: IndexInfo, told: Callable[[float], None]) -> None:
        """Nothing is to be done: the build was made in the job."""

    def keep(self, info: IndexInfo) -> None:
        """Nothing is to be done: queries read the build where it is."""

    def stamp(self, path: Path) -> object:
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


class StoreFiles(JobFiles):
    """The files of a job in a store, of which this machine uses copies."""

    look_seconds = 4.0  # A look at a store is some ten requests, which take their time and may cost money.
    believed_seconds = 2.0

    def __init__(self, job: JobDir, settings: Settings) -> None:
        super().__init__(job)
        self._cache = JobCache.of(settings)
        self._held = self._cache.hold()

    @property
    def work_dir(self) -> Path:
        # An index is written, mapped and resumed in place, which a store can't do.
        return self._cache.build_dir(self.job)

    def local(self, path: Path, entry: Entry, *, check: bool = False, compare: Compare | None = None) -> Path:
        return self._held.file(*_sized(path, entry), check=check or compare is not None)

    def all_local(
        self, wanted: Iterable[tuple[Path, Entry]], *, check: bool = False, compare: Compare | None = None
    ) -> list[Path]:
        return self._held.files((_sized(*one) for one in wanted), check=check or compare is not None)

    def publish(self, info: IndexInfo, told: Callable[[float], None]) -> None:
        for number, name in enumerate(info.files):
            told(number / len(info.files))
            files.send(self.work_dir / info.build / name, self.job.build_dir(info.build) / name)

    def keep(self, info: IndexInfo) -> None:
        """The files that were sent become the copies that queries are answered from."""
        for name, entry in info.files.items():
            self._held.take(self.work_dir / info.build / name, self.job.build_dir(info.build) / name, entry)
        files.remove_all(self.work_dir)

    def stamp(self, path: Path) -> object:
        return None  # To ask for one takes as long as to read the file.


def _sized(path: Path, entry: Entry) -> tuple[Path, Entry]:
    return path, entry if "bytes" in entry else {**entry, "bytes": path.stat().st_size}
