"""Name every file inside a job; no other module spells one."""
# Over 250 lines: that no other module spells a name inside a job is worth more than a short one.

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.errors import JobError, JobNotFound, UsageError
from shared.errors.remedy import Remedy
from shared.storage import files, scratch
from shared.storage.stores import StorePath, any_path

_MOST_CHARACTERS = 64
_MOST_BYTES = 200  # A file system takes names of 255 bytes, and `-evaluation.json` stands behind this one.
_OURS = re.compile(
    r"job\.json|\.creating\.lock|(paths/paths|metadata/metadata|errors/errors)_\d{4,9}\.parquet|"
    r"img_emb/img_emb_\d{4,9}\.npy|chunks/\d{4,9}/((retry_)?\d{4,9}\.parquet|attempt_\w+\.txt)|"
    r"ledger/\d{4,9}(\.retry|\.features)?\.json|changes/\d{6,9}(\.json|\.[0-9a-f]{16}\.npy)|"
    r"index/(CURRENT|wish\.json|\d{4,9}-[^/]+/((index|filling)(_\d{4})?\.faiss|images\.arrow|"
    r"(index|filling|calibration|answers)\.json|trained\.faiss))|"
    r"added/[0-9a-f]{64}/[^/]+|copies\.parquet|model/[^/]+|source_files\.json|moved\.json|accepted_failures|"
    r"duplicates/(neighbours_\d{4,9}_[0-9a-f]{16}|(asked|compared)_[0-9a-f]{16})\.parquet|"
    r"duplicates/(rejected|decided)_\d{6,9}\.json|features/(wanted\.json|features_\d{4,9}\.(npy|bin))|"
    r"looked_at\.npy|known/known_\d{4,9}\.npy|thumbnails/thumbnails_\d{4,9}\.(jpegs|npy)|exporting\.json",
    re.ASCII,
)
_REMOVED = re.compile(r"(\d{6,9})\.[0-9a-f]{16}\.npy", re.ASCII)
# What shared/storage/files.py calls a file that is being written aside.
_ASIDE = re.compile(r"(?<![^/])\.([^/]+)\.[0-9a-f]{32}\.tmp$")


def check_job_id(job_id: str) -> str:
    """Return `job_id`, or raise JobError: an id is 1 to 64 letters of any script, digits, spaces and `_.-+,()&@'!`.

    It holds no `..`, is not `.`, begins and ends with no space, and takes at most 200 bytes.
    """
    if (
        not isinstance(job_id, str)
        or not 1 <= len(job_id) <= _MOST_CHARACTERS
        or not all(map(_may_name, job_id))
        or job_id != job_id.strip()
        or ".." in job_id
        or job_id == "."
        or len(job_id.encode()) > _MOST_BYTES
    ):
        raise JobError(
            f"{job_id!r:.80} can't name a job: use 1 to 64 letters, digits, spaces and _.-+,()&@'! without '..' and "
            "without a space at either end. A job's id is the name of its directory."
        )
    return job_id


def _may_name(character: str) -> bool:
    # An id has no character with a meaning in a path, a Redis key or pattern, or a URL, and no invisible one. macOS
    # writes an umlaut as a letter and a mark.
    return (
        character.isalpha() or character in "0123456789 _.-+,()&@'!" or unicodedata.category(character) in ("Mn", "Mc")
    )


def _numbers_in(directory: Path, prefix: str, suffix: str, digits: int = 4) -> list[int]:
    """The numbers of the files in `directory` that are named as we name them, ascending; any other file has none."""
    try:
        names = set(files.names_in(directory))
    except (FileNotFoundError, NotADirectoryError):  # Also one that a seal removes this moment.
        return []
    spelled = re.compile(rf"{prefix}(\d{{{digits},9}}){re.escape(suffix)}", re.ASCII)
    numbers = [int(match[1]) for name in names if (match := spelled.fullmatch(name))]
    return sorted(number for number in numbers if f"{prefix}{number:0{digits}d}{suffix}" in names)


def _is_ours(inside: str) -> bool:
    """Whether a path inside a job is called as one of its files, or as one that is being written aside."""
    return _OURS.fullmatch(_ASIDE.sub(r"\1", inside)) is not None


def _typed(path: str | Path) -> Path:
    # os.path leaves `~nobody` as it is, as shells do; pathlib raises a RuntimeError that says little.
    place = any_path(path)
    return place if isinstance(place, StorePath) else Path(os.path.expanduser(place)).resolve()


@dataclass(frozen=True, slots=True, eq=False)
class JobDir:
    """The directory of one job, on a disk or in a store, as paths. It creates and reads nothing by itself."""

    path: Path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobDir) and self.path == other.path  # Open or not, it is one job.

    def __hash__(self) -> int:
        return hash(self.path)

    @staticmethod
    def at(path: str | Path) -> "JobDir":
        """The job whose directory, or URL, was typed; JobError when its name can't be an id, UsageError for a URL that
        can't be one of a job."""
        resolved = _typed(path)
        if isinstance(resolved, StorePath) and len(resolved.parts) < (2 if resolved.scheme == "memory" else 3):
            raise UsageError(f"{resolved} names no folder in a bucket: type the job as s3://BUCKET/FOLDER.")
        check_job_id(resolved.name)
        return JobDir(resolved)

    @staticmethod
    def under(jobs_root: str | Path, job_id: str) -> "JobDir":
        """The job `job_id` of a message, under this worker's own root and nowhere else."""
        root = _typed(jobs_root)
        resolved = (root / check_job_id(job_id)).resolve()
        if not resolved.is_relative_to(root):
            raise JobError(
                f"The job {job_id!r} leads out of the jobs root {root}; a worker serves jobs inside it only."
            )
        return JobDir(resolved)

    @property
    def job_id(self) -> str:
        return self.path.name

    @property
    def jobs_root(self) -> Path:
        return self.path.parent

    @property
    def evaluation(self) -> Path:
        """What `evaluate` measured last: beside the job, which may be read-only and holds only its own files."""
        return self.jobs_root / f"{self.job_id}-evaluation.json"

    @property
    def in_store(self) -> bool:
        """Whether the job is in an object store, not on a disk or mount."""
        return isinstance(self.path, StorePath)

    def local_dir(self, what: str) -> Path:
        """Where processes of this machine keep `what` of a job in a store, as long as the machine runs."""
        return scratch.private_directory() / what / hashlib.sha256(str(self.path).encode()).hexdigest()[:16]

    @property
    def spec(self) -> Path:
        return self.path / "job.json"

    @property
    def creation_lock(self) -> Path:
        return self.path / ".creating.lock"

    @property
    def source_files(self) -> Path:
        """The facts about the archives of the source when they were listed; absent if it has no archives."""
        return self.path / "source_files.json"

    @property
    def moved(self) -> Path:
        """Where the source moved after it was listed; absent if it is in its old place."""
        return self.path / "moved.json"

    @property
    def looked_at(self) -> Path:
        """Files that were read and found unchanged when the source was compared with the job; it may be lost."""
        return self.path / "looked_at.npy"

    @property
    def accepted_failures(self) -> Path:
        """Lies there while a person has said that images which seem lost are to be written down as failed."""
        return self.path / "accepted_failures"

    @property
    def paths_dir(self) -> Path:
        return self.path / "paths"

    def paths(self, partition: int) -> Path:
        return self.paths_dir / f"paths_{partition:04d}.parquet"

    def paths_numbers(self) -> list[int]:
        """Numbers of the partitions that have path lists, ascending."""
        return _numbers_in(self.paths_dir, "paths_", ".parquet")

    @property
    def changes_dir(self) -> Path:
        return self.path / "changes"

    def change(self, number: int) -> Path:
        """What happened to the job as its change `number`, from 1 on."""
        return self.changes_dir / f"{number:06d}.json"

    def change_numbers(self) -> list[int]:
        """Numbers of the changes that lie there, ascending."""
        return _numbers_in(self.changes_dir, "", ".json", 6)

    def removed(self, number: int, digest: str) -> Path:
        """The ids that a change removes, in a file named by its SHA-256: of two that change a job at once, each has
        its own."""
        return self.changes_dir / f"{number:06d}.{digest[:16]}.npy"

    def removed_files(self) -> list[tuple[int, Path]]:
        """Every file that is called like one of removed ids, and the number of the change that it was written for.

        Raises OSError where the directory can't be listed.
        """
        try:
            names = files.names_in(self.changes_dir)
        except FileNotFoundError:
            return []
        return sorted((int(match[1]), self.changes_dir / name) for name in names if (match := _REMOVED.fullmatch(name)))

    @property
    def added_dir(self) -> Path:
        """The images that were added as bytes, not by a path."""
        return self.path / "added"

    def added(self, digest: str, name: str) -> Path:
        """An image that was added as bytes, whose SHA-256 is `digest`, under the name that it was given."""
        return self.added_dir / digest / name

    def added_files(self) -> Iterator[tuple[str, Path]]:
        """Every image that was added as bytes, and the SHA-256 that it is named by.

        Raises OSError where a directory can't be listed.
        """
        for digest in sorted(files.directories_in(self.added_dir)):
            for name in sorted(files.names_in(self.added_dir / digest)):
                if _is_ours(f"added/{digest}/{name}") and not name.startswith("."):
                    yield digest, self.added(digest, name)

    @property
    def model_dir(self) -> Path:
        """The directory for a copy of weights that were given, so that a job resumes without the original."""
        return self.path / "model"

    def chunk_dir(self, partition: int) -> Path:
        return self.path / "chunks" / f"{partition:04d}"

    def chunk(self, partition: int, chunk: int) -> Path:
        return self.chunk_dir(partition) / f"{chunk:04d}.parquet"

    def retry_chunk(self, partition: int, chunk: int) -> Path:
        """The content of a chunk that was taken back so that some of its images are tried again."""
        return self.chunk_dir(partition) / f"retry_{chunk:04d}.parquet"

    def retry_chunk_numbers(self, partition: int) -> list[int]:
        """Numbers of the chunks of a partition that were taken back to try images again, ascending."""
        return _numbers_in(self.chunk_dir(partition), "retry_", ".parquet")

    def chunk_numbers(self, partition: int) -> list[int]:
        """Numbers of the committed chunks of a partition, ascending; sealed partitions have none."""
        return _numbers_in(self.chunk_dir(partition), "", ".parquet")

    def attempt(self, partition: int, token: str) -> Path:
        """The images that one worker is reading; exists only while it works, or when its process was ended.

        For a job in a store it is on this machine's disk, because it is written twice for each image.
        """
        return self._attempt_dir(partition) / f"attempt_{token}.txt"

    def attempts(self, partition: int) -> list[Path]:
        """The existing attempts at a partition, by name."""
        return sorted(self._attempt_dir(partition).glob("attempt_*.txt"))

    def attempts_inside(self, partition: int) -> list[Path]:
        """Those attempts that are in the job."""
        return [] if self.in_store else self.attempts(partition)

    def attempts_outside(self, partition: int) -> list[Path]:
        """Those attempts that are on this machine's disk, outside the job."""
        return self.attempts(partition) if self.in_store else []

    def _attempt_dir(self, partition: int) -> Path:
        return self.local_dir("attempts") / f"{partition:04d}" if self.in_store else self.chunk_dir(partition)

    def chunk_partitions(self) -> list[int]:
        """Numbers of the partitions that have a directory of chunks, ascending."""
        return _numbers_in(self.path / "chunks", "", "")

    def img_emb(self, partition: int) -> Path:
        return self.path / "img_emb" / f"img_emb_{partition:04d}.npy"

    def metadata(self, partition: int) -> Path:
        return self.path / "metadata" / f"metadata_{partition:04d}.parquet"

    def errors(self, partition: int) -> Path:
        return self.path / "errors" / f"errors_{partition:04d}.parquet"

    def sealed_files(self, partition: int) -> tuple[Path, Path, Path]:
        """The embeddings, metadata and errors of a partition, once it is sealed."""
        return self.img_emb(partition), self.metadata(partition), self.errors(partition)

    def known(self, partition: int) -> Path:
        """Which bytes the embeddings of a sealed partition are of, for their copies in others; it may be lost."""
        return self.path / "known" / f"known_{partition:04d}.npy"

    @property
    def features_dir(self) -> Path:
        return self.path / "features"

    @property
    def features_wanted(self) -> Path:
        """There if the features of the images are stored: what tells copies of one picture apart from similar ones."""
        return self.features_dir / "wanted.json"

    def features_files(self, partition: int) -> tuple[Path, Path]:
        """The features of a partition: a row for each embedding, and the local features that the rows point into."""
        name = f"features_{partition:04d}"
        return self.features_dir / f"{name}.npy", self.features_dir / f"{name}.bin"

    def features_seal(self, partition: int) -> Path:
        """What marks the features of a sealed partition as whole."""
        return self.ledger_dir / f"{partition:04d}.features.json"

    def marked_features(self) -> list[int]:
        """Numbers of the partitions whose features are marked as whole, ascending."""
        return _numbers_in(self.ledger_dir, "", ".features.json")

    def features_numbers(self) -> list[int]:
        """Numbers of the partitions of which any file of features is there, ascending."""
        found = set(self.marked_features())
        for suffix in (".npy", ".bin"):
            found.update(_numbers_in(self.features_dir, "features_", suffix))
        return sorted(found)

    def sealed_file_numbers(self) -> list[int]:
        """Numbers of the partitions of which at least one of the sealed files is there, ascending."""
        found = set()
        for path in self.sealed_files(0):
            found.update(_numbers_in(path.parent, path.stem.removesuffix("0000"), path.suffix))
        return sorted(found)

    @property
    def ledger_dir(self) -> Path:
        return self.path / "ledger"

    def seal(self, partition: int) -> Path:
        return self.ledger_dir / f"{partition:04d}.json"

    def sealed_numbers(self) -> list[int]:
        """Numbers of the sealed partitions, ascending."""
        return _numbers_in(self.ledger_dir, "", ".json")

    def retry(self, partition: int) -> Path:
        """The seal that a partition had before some of its failed images were to be tried again."""
        return self.ledger_dir / f"{partition:04d}.retry.json"

    def retry_numbers(self) -> list[int]:
        """Numbers of the partitions of which failed images are to be tried again, ascending."""
        return _numbers_in(self.ledger_dir, "", ".retry.json")

    @property
    def index_dir(self) -> Path:
        return self.path / "index"

    def build_dir(self, build: str) -> Path:
        return self.index_dir / check_job_id(build)

    def build_files(self, build: str) -> tuple[Path, ...]:
        """The files of a build that are there, index.json first, as with it the build is whole; then its directory."""
        directory = self.build_dir(build)
        names = [name for name in files.names_in(directory) if _is_ours(f"index/{build}/{name}")]
        return (*(directory / name for name in sorted(names, key=lambda name: (name != "index.json", name))), directory)

    @property
    def current(self) -> Path:
        return self.index_dir / "CURRENT"

    @property
    def index_request(self) -> Path:
        """The index request; absent if none was made."""
        return self.index_dir / "wish.json"

    @property
    def copies(self) -> Path:
        """Embeddings of altered copies of some of the images, by which a build's accuracy is measured."""
        return self.path / "copies.parquet"

    @property
    def duplicates_dir(self) -> Path:
        """What was found out about duplicates: neighbours, comparisons, and what a person decided."""
        return self.path / "duplicates"

    def neighbours(self, partition: int, digest: str) -> Path:
        """The neighbours of the images of a partition, in a file named by what was asked of which embeddings."""
        return self.duplicates_dir / f"neighbours_{partition:04d}_{digest[:16]}.parquet"

    def asked_pairs(self, digest: str) -> Path:
        """Pairs of images that are to be compared, in a file named by the digest of the pairs."""
        return self.duplicates_dir / f"asked_{digest[:16]}.parquet"

    def compared_pairs(self, digest: str) -> Path:
        """What came of comparing those pairs."""
        return self.duplicates_dir / f"compared_{digest[:16]}.parquet"

    def duplicates_files(self, kind: str) -> list[Path]:
        """The files of neighbours, of asked or of compared pairs that are there, by name; `kind` begins their names.

        Raises OSError where the directory can't be listed.
        """
        try:
            names = files.names_in(self.duplicates_dir)
        except FileNotFoundError:
            return []
        ours = (name for name in sorted(names) if name.startswith(f"{kind}_") and _is_ours(f"duplicates/{name}"))
        return [self.duplicates_dir / name for name in ours]

    def rejected(self, number: int) -> Path:
        """The pairs of images that a person said are no duplicates, the `number`th time, from 1 on."""
        return self.duplicates_dir / f"rejected_{number:06d}.json"

    def rejected_numbers(self) -> list[int]:
        """Numbers of the rejections that lie there, ascending."""
        return _numbers_in(self.duplicates_dir, "rejected_", ".json", 6)

    def decided(self, number: int) -> Path:
        """The groups of duplicates of which a person said which image is to be kept, the `number`th time, from 1 on."""
        return self.duplicates_dir / f"decided_{number:06d}.json"

    def decided_numbers(self) -> list[int]:
        """Numbers of the decisions that lie there, ascending."""
        return _numbers_in(self.duplicates_dir, "decided_", ".json", 6)

    def thumbnails(self, partition: int) -> Path:
        """The JPEGs of a partition of a bundle, one behind the other."""
        return self.path / "thumbnails" / f"thumbnails_{partition:04d}.jpegs"

    def thumbnail_offsets(self, partition: int) -> Path:
        """Where each of them begins, and the last one ends."""
        return self.path / "thumbnails" / f"thumbnails_{partition:04d}.npy"

    @property
    def exporting(self) -> Path:
        """What a bundle is being made of; absent once it is whole."""
        return self.path / "exporting.json"

    def files(self) -> Iterator[tuple[Path, bool]]:
        """Every file in the job, and whether it has a name of ours; links are not followed.

        Raises OSError where a directory can't be listed.
        """
        for path in files.files_below(self.path):
            yield path, _is_ours(path.relative_to(self.path).as_posix())

    def require(self) -> "JobDir":
        """Return self if there is a job here; raise JobNotFound otherwise."""
        if self.spec.is_file():
            return self
        if self.exporting.is_file():
            raise JobNotFound(
                f"{self.path} is a bundle that is not whole: its export goes on, or was stopped, and the same command "
                "finishes it."
            )
        if self.in_store:
            raise JobNotFound(
                f"There is no job at {self.path}",
                remedy=self._made("look for a slip in bucket and folder, or make one"),
            )
        if not self.path.exists():
            raise JobNotFound(
                f"There is no job at {self.path}", remedy=self._made("mount the disk that it lies on, or make one")
            )
        raise JobNotFound(
            f"{self.path} exists but holds no job.json, so it is no job yet",
            remedy=self._made("mount the disk that it lies on, or make one there"),
        )

    def _made(self, advice: str) -> Remedy:
        return Remedy("index", str(self.path), f"{advice} with {{}}", {"source": "PHOTOS"})
