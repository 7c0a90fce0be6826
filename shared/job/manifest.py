"""Write and read the manifest: a job's spec and its partitions, written once, then read-only."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from shared.errors import CorruptFile, JobError, JobMismatch, ModelError
from shared.errors.remedy import Remedy
from shared.job.bundle.facts import BUNDLE_FORMAT, EMBEDDINGS_DTYPE, Bundle, bundle_from_json
from shared.job.directory import JobDir
from shared.job.identity import identity_of_bytes, is_identity, new_identity
from shared.job.source.known_types import KNOWN_TYPES, arrow_type
from shared.models import ModelSpec
from shared.models.fusion import FusionTrial
from shared.processes.failpoints import failpoint
from shared.storage import files

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
CHANGED_FORMAT = 2
"""The format of a job that was changed after it was made: versions that know no changes must not read it."""
DTYPE = EMBEDDINGS_DTYPE


@dataclass(frozen=True, slots=True)
class Source:
    """Where images of a job were listed.

    `kind` is folder, list, stdin, archive or glob, or embeddings for vectors that were imported; `location` what was
    typed, absolute; `digest` the hex SHA-256 over the listed paths in order; `left_out` counts the files that were not
    listed, by the reason. `content` is only there for embeddings, and tells one file of vectors from another. `known`
    are the columns that the source has beside the paths, each with its type, one of KNOWN_TYPES. `exclude` and
    `include` are the patterns that a person typed when it was listed, `sniff` says whether files without suffix were
    looked into, and `notes` counts, in words, what was taken for something else than an image.
    """

    kind: str
    location: str
    digest: str
    left_out: Mapping[str, int] = field(default_factory=dict)
    content: str | None = None
    known: Mapping[str, str] = field(default_factory=dict)
    exclude: Sequence[str] = field(default_factory=list)
    include: Sequence[str] = field(default_factory=list)
    sniff: bool = False
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def known_schema(self) -> "pa.Schema":
        """The columns of `known`, as in the metadata. Raises KeyError for an unknown type."""
        import pyarrow as pa

        return pa.schema([(name, arrow_type(kind)) for name, kind in self.known.items()])

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value or key in ("digest", "left_out")}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> "Source":
        """The inverse of `to_json`; raises ValueError, TypeError or AttributeError for anything else."""
        source = cls(**table)
        if not all(isinstance(text, str) for text in (source.kind, source.location, source.digest)):
            raise TypeError("kind, location and digest are not texts")
        if unknown := sorted({str(kind) for kind in source.known.values()}.difference(KNOWN_TYPES)):
            raise ValueError(f"no column can be of the type {unknown[0]}")
        patterns = (source.exclude, source.include)
        if not all(isinstance(p, list) and all(isinstance(one, str) for one in p) for p in patterns):
            raise ValueError("exclude and include are not lists of patterns")
        if type(source.sniff) is not bool:
            raise ValueError("sniff is neither true nor false")
        return source


@dataclass(frozen=True, slots=True)
class Chunk:
    """The image ids [start, stop) that are committed at once."""

    partition: int
    number: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Partition:
    """The image ids [start, stop) of one embed task."""

    number: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def chunks(self, chunk_size: int) -> list[Chunk]:
        """Its chunks in order; only the last may be smaller than `chunk_size`."""
        starts = range(self.start, self.stop, chunk_size)
        return [
            Chunk(self.number, number, start, min(start + chunk_size, self.stop)) for number, start in enumerate(starts)
        ]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a job is: source, model, sizes. It holds everything that changes the bytes of its embeddings.

    `identity` tells the job from others of its name, wherever it is mounted; 16 hex digits, new unless given. A job
    that is `frozen` holds what was listed when it was made, whatever comes to its source or goes. `bundle` is what one
    that was exported says of itself, `fusion` what came of trying it, where that was asked for.
    """

    source: Source
    model: ModelSpec
    listed: int
    partition_size: int
    chunk_size: int
    max_image_pixels: int
    max_image_bytes: int
    made_by: str = "lookalike"
    dtype: str = DTYPE
    identity: str = field(default_factory=new_identity)
    frozen: bool = False
    bundle: Bundle | None = None
    fusion: FusionTrial | None = None

    @property
    def partitions(self) -> list[Partition]:
        """All partitions in order; together they hold each image id from 0 to `listed` once."""
        return [self.partition(number) for number in range(self.partition_count)]

    @property
    def maker(self) -> Literal["import", "index"]:
        """The action that made the job and continues with it; the other one refuses it."""
        return "import" if self.model.is_imported else "index"

    def again(self, what: str = "it") -> Remedy:
        """What repeats `what` was removed: "the next … embeds it again"."""
        return Remedy(self.maker, does=f"the next {{}} {'reads' if self.model.is_imported else 'embeds'} {what} again")

    @property
    def partition_count(self) -> int:
        return -(-self.listed // self.partition_size)

    def partition(self, number: int) -> Partition:
        """Partition `number`; raises IndexError when the job has none of that number."""
        if not 0 <= number < self.partition_count:
            raise IndexError(f"The job has partitions 0 to {self.partition_count - 1}, not {number}.")
        start = number * self.partition_size
        return Partition(number, start, min(start + self.partition_size, self.listed))

    def chunks(self, partition: Partition) -> list[Chunk]:
        return partition.chunks(self.chunk_size)

    def to_json(self) -> dict[str, Any]:
        return (
            {
                "format": FORMAT if self.bundle is None else BUNDLE_FORMAT,
                "source": self.source.to_json(),
                "model": self.model.to_json(),
                "fingerprint": self.model.fingerprint,
                "listed": self.listed,
                "partition_size": self.partition_size,
                "chunk_size": self.chunk_size,
                "max_image_pixels": self.max_image_pixels,
                "max_image_bytes": self.max_image_bytes,
                "dtype": self.dtype,
                "made_by": self.made_by,
                "identity": self.identity,
            }
            | ({"frozen": True} if self.frozen else {})
            | ({"bundle": self.bundle.to_json()} if self.bundle else {})
            | ({"fusion": self.fusion.to_json()} if self.fusion else {})
        )


def write_manifest(job: JobDir, manifest: Manifest) -> None:
    """Write job.json, the last file when a job is created: with it the job exists."""
    failpoint("write_manifest")
    files.write_bytes(job.spec, (json.dumps(manifest.to_json(), indent=2) + "\n").encode())


def load_manifest(job: JobDir) -> Manifest:
    """Read job.json.

    Raises JobNotFound when there is none, JobMismatch when another version of lookalike made it (another format, or
    another fingerprint of the same model), CorruptFile when it is not what `write_manifest` writes.
    """
    job.require()
    try:
        read = files.read_marker(job.spec)
        table = json.loads(read)
        if table["format"] not in (FORMAT, CHANGED_FORMAT, BUNDLE_FORMAT):
            raise JobMismatch(
                f"{job.spec} has format {table['format']}, and this version of lookalike reads the formats {FORMAT}, "
                f"{CHANGED_FORMAT} and {BUNDLE_FORMAT}: use the version that made the job, or make it anew."
            )
        manifest = Manifest(
            source=Source.from_json(table["source"]),
            model=ModelSpec.from_json(table["model"]),
            listed=_count(table, "listed"),
            partition_size=_count(table, "partition_size"),
            chunk_size=_count(table, "chunk_size"),
            max_image_pixels=_count(table, "max_image_pixels"),
            max_image_bytes=_count(table, "max_image_bytes"),
            made_by=table["made_by"],
            dtype=table["dtype"],
            identity=table["identity"] if "identity" in table else identity_of_bytes(read),
            frozen=table.get("frozen", False),
            bundle=bundle_from_json(table),
            fusion=FusionTrial.from_json(table["fusion"]) if "fusion" in table else None,
        )
        if type(manifest.frozen) is not bool:
            raise ValueError("frozen is neither true nor false")
        if not is_identity(manifest.identity):
            raise ValueError(f"identity is {manifest.identity!r:.80}, not 16 hex digits")
        fingerprint = table["fingerprint"]
    except (ValueError, KeyError, TypeError, AttributeError, ModelError) as error:
        raise CorruptFile(f"{job.spec} is not a whole manifest ({error!r}): restore it from a copy.") from None
    if manifest.model.fingerprint != fingerprint:
        raise JobMismatch(
            f"{job.spec} records the model fingerprint {fingerprint}, but this version of lookalike computes "
            f"{manifest.model.fingerprint} for the same model: use the version that made the job ({manifest.made_by})."
        )
    return manifest


def maker_of(job: JobDir) -> Literal["import", "index"]:
    """`Manifest.maker` of a job, for a remedy; that of images if its manifest can't be read."""
    try:
        return load_manifest(job).maker
    except (JobError, OSError):
        return "index"


def _count(table: Mapping[str, Any], key: str) -> int:
    value = table[key]
    if type(value) is not int or value < 1:
        raise ValueError(f"{key} is {value!r}, not a whole number from 1")
    return value
