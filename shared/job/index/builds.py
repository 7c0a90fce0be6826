"""Index builds of a job on disk: what each one is, which one is promoted, and what a build must hold to be promoted."""
# Over 250 lines: two in five lines list what a build was measured to do, the rest write, read and check that.

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from shared.errors import CorruptFile, JobMismatch, NoIndexYet
from shared.errors.remedy import Remedy
from shared.job.changes.replaced import SealFacts
from shared.job.directory import JobDir
from shared.job.index.request import IndexRequest
from shared.job.index.shards import Range, require_ranges, shard_file
from shared.job.manifest import Partition, maker_of
from shared.job.opened import OpenJob
from shared.job.partition.ledger import Seal
from shared.processes.failpoints import failpoint
from shared.storage import files

FORMAT = 1
FORMAT_OF_SHARDS = 2
"""The format of a build of several shards, of which an earlier version knows nothing."""
INDEX_FILE = "index.faiss"
IMAGES_FILE = "images.arrow"
INFO_FILE = "index.json"
# There until a build is whole: the index so far, and what it is made of and to which plan.
FILLING_FILE = "filling.faiss"
CLAIM_FILE = "filling.json"

_NUMBERED = re.compile(r"(\d{4,9})-.+")
# Seals name their files as they are inside a job, so the names come from a job without a root.
_INSIDE = JobDir(Path())


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What a build is and what it was measured to do: its index.json.

    `type` is for people ("Flat", "IVF-PQ"), `factory` is FAISS's own string. `nlist`, `nprobe`, `m` and `nbits` are 0
    where the type has none. `rerank_depth` is how many candidates are compared exactly. `nprobe` and `rerank_depth` are
    the most: with `list_margin`, no list is read whose centroid is farther than the nearest by more than that (squared
    L2), and with `depth_ratio`, no candidate is compared that the index takes to be more than so many times as far as
    the last hit; 0 stands for no such bound. `recall_at_10` is None where it can't be measured, since a single image
    has no neighbour; `recall_queries` is how many queries it was measured with. `p50_ms` and `p99_ms` are milliseconds
    of one query at a time, rerank included. `bytes` is the size of all files in `files`, which gives each one's size
    and SHA-256 by its name; `seconds` is wall time by phase, and `built_at` seconds since the epoch. `wish` is the
    index request that was asked for, as `IndexRequest.to_json` gives it; `train_rows` how many embeddings it was
    trained on, `peak_rss_bytes` the most memory that the merge held without mapped files. `accuracy_at_10` is the share
    of altered copies that find their original among the first ten, by alteration, with `accuracy_copies` copies each
    (empty and 0 where there were none). `sweep` lists what the tuning measured: objects with nprobe, depth,
    list_margin, depth_ratio, recall_at_10, p50_ms and p99_ms. `former` is the build that was promoted before this one,
    and `refused` the sentence that says why this one was not promoted; both are empty where there is none. `grown_from`
    is the build whose index this one continues, empty where it was built from scratch, and `trained_for` how many
    embeddings there were when it was trained, 0 where that is `ntotal`. `shards` says of each shard which rows are in
    it, by their number in the order of the image ids: first and one past the last; it is empty for an index of one
    file, and `shard_rows`, the rows of a full shard, is 0 then.
    """

    build: str
    type: str
    factory: str
    ntotal: int
    dim: int
    fingerprint: str
    ledger_digest: str
    nlist: int
    nprobe: int
    m: int
    nbits: int
    rerank_depth: int
    recall_at_10: float | None
    recall_queries: int
    p50_ms: float
    p99_ms: float
    seconds: Mapping[str, float]
    built_at: float
    files: Mapping[str, Mapping[str, Any]]
    format: int = FORMAT
    wish: Mapping[str, Any] | None = None
    train_rows: int = 0
    peak_rss_bytes: int = 0
    accuracy_at_10: Mapping[str, float] = field(default_factory=dict)
    accuracy_copies: int = 0
    sweep: Sequence[Mapping[str, float]] = field(default_factory=list)
    former: str = ""
    refused: str = ""
    list_margin: float = 0.0
    depth_ratio: float = 0.0
    trained_for: int = 0
    grown_from: str = ""
    shards: Sequence[Sequence[int]] = field(default_factory=list)
    shard_rows: int = 0

    @property
    def index_files(self) -> list[str]:
        """The names of the index files, in the order of their rows."""
        return [shard_file(number) for number in range(len(self.shards))] or [INDEX_FILE]

    @property
    def ranges(self) -> list[Range]:
        """The rows in each of the index files."""
        return [Range(*shard) for shard in self.shards] or [Range(0, self.ntotal)]

    @property
    def bytes(self) -> int:
        return sum(int(entry["bytes"]) for entry in self.files.values())

    @property
    def recall_text(self) -> str:
        """The measured recall for a table or a sentence, with the number of queries behind it."""
        if self.recall_at_10 is None:
            return "recall@10 not measured: no image has a neighbour"
        return f"recall@10 {self.recall_at_10:.3f} ({self.recall_queries} queries)"

    @property
    def shortfall(self) -> str:
        """That the recall asked for was out of reach, or "" where it was reached; `farther` is what to do."""
        asked = (self.wish or {}).get("recall")
        if asked is None or self.recall_at_10 is None or self.recall_at_10 >= asked:
            return ""
        return f"short of the recall@10 of {asked:g} that was asked for, however widely it is searched"

    @property
    def farther(self) -> Remedy:
        """What to do about a shortfall."""
        other = "ivf-pq" if self.type == "IVF-RaBitQ" else "rabitq"
        less = Remedy("option", does="{} asks for less", given={"recall": ""})
        return Remedy("option", does="may find more", given={"index": other}, then=less)

    @property
    def accuracy_text(self) -> str:
        """The measured accuracy over all alterations together, or "" where there were no altered copies."""
        if not self.accuracy_at_10:
            return ""
        mean = sum(self.accuracy_at_10.values()) / len(self.accuracy_at_10)
        return f"accuracy@10 {mean:.3f} ({self.accuracy_copies * len(self.accuracy_at_10)} altered copies)"

    def covers(self, digest: str, request: IndexRequest | None) -> bool:
        """Whether this is the index of these embeddings that was asked for; no one asking, any will do."""
        return self.ledger_digest == digest and (request is None or self.wish == request.to_json())

    def to_json(self) -> dict[str, Any]:
        table = asdict(self) | {"bytes": self.bytes}
        return table if self.shards else {key: table[key] for key in table if key not in ("shards", "shard_rows")}


def ledger_digest(seals: Iterable[Seal]) -> str:
    """Hex SHA-256 that says which embeddings an index covers: partitions, counts and file checksums, in order."""
    digest = hashlib.sha256()
    for seal in seals:
        digest.update(facts_of(seal).line)
    return digest.hexdigest()


def facts_of(seal: Seal) -> SealFacts:
    """What a seal says of its embeddings."""
    number = seal.partition
    img_emb, metadata = (
        str(seal.files[str(path)]["sha256"]) for path in (_INSIDE.img_emb(number), _INSIDE.metadata(number))
    )
    return SealFacts(Partition(number, seal.start, seal.stop), seal.embedded, img_emb, metadata)


def covered(info: IndexInfo, seals: Sequence[Seal], job: OpenJob) -> Sequence[Seal] | None:
    """Those of `seals` whose embeddings a build covers, None where it was not built from these.

    A build covers the first partitions: those that the job was made with at the least, and those that were added before
    it was built. One that was built before a compaction covers what that put in their place, and holds the images that
    it purged as well.
    """
    for stands in _stood(seals, job):
        digest = hashlib.sha256()
        for count, (seal, facts) in enumerate(zip(seals, stands, strict=True), start=1):
            for one in facts:
                digest.update(one.line)
            if seal.stop >= job.manifest.listed and digest.hexdigest() == info.ledger_digest:
                return seals[:count]
    return None


def is_former_digest(digest: str, seals: Sequence[Seal], job: OpenJob) -> bool:
    """Whether a digest is that of all of `seals`, or of what compactions put these in the place of."""
    lines = (b"".join(one.line for facts in stands for one in facts) for stands in _stood(seals, job))
    return any(hashlib.sha256(every).hexdigest() == digest for every in lines)


def _stood(seals: Sequence[Seal], job: OpenJob) -> Iterator[list[list[SealFacts]]]:
    """For each seal what stood for its images, as it is now and then before each compaction, the last one first.

    A seal that is not the one which a compaction wrote, as after a retry, stands for itself.
    """
    stands = [[facts_of(seal)] for seal in seals]
    yield stands
    for replaced in reversed(job.state.compactions):
        former = {one.sealed: one.former for one in replaced}
        stands = [[before for one in facts for before in former.get(one, (one,))] for facts in stands]
        yield stands


def next_build_name(job: JobDir, digest: str, above: int = 0) -> str:
    """A name such as "0001-ab12cd34" whose number is over `above` and every build that is there, whole or not."""
    return f"{max(above, *map(build_number, build_names(job)), 0) + 1:04d}-{digest[:8]}"


def build_number(build: str) -> int:
    match = _NUMBERED.fullmatch(build)
    return int(match[1]) if match else 0


def build_names(job: JobDir) -> list[str]:
    """Names of the build directories of a job, whole or not, in the order of their numbers."""
    names = [name for name in files.directories_in(job.index_dir) if _NUMBERED.fullmatch(name)]
    return sorted(names, key=lambda name: (build_number(name), name))


def is_whole(job: JobDir, build: str) -> bool:
    """Whether a build was finished: index.json is the last file that is written."""
    return (job.build_dir(build) / INFO_FILE).is_file()


def current_build(job: JobDir) -> str | None:
    """The promoted build, or None when there is none; raises CorruptFile when CURRENT names no build."""
    try:
        name = files.read_marker(job.current).decode("utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None
    if not _NUMBERED.fullmatch(name) or name not in build_names(job):
        raise CorruptFile(
            f"{job.current} holds {name[:80]!r}, which is no build in {job.index_dir}",
            remedy=_repaired(job, "takes it back", "builds the index anew where no other build covers the embeddings"),
        )
    return name


def write_info(job: JobDir, info: IndexInfo) -> None:
    """Write index.json, the last file of a build: with it the build is whole."""
    files.write_bytes(job.build_dir(info.build) / INFO_FILE, (json.dumps(info.to_json(), indent=2) + "\n").encode())


def read_info(job: JobDir, build: str) -> IndexInfo:
    """The index.json of a build.

    Raises JobMismatch for another format version, CorruptFile when it is missing or is not what `write_info` writes,
    OSError when the disk does not answer.
    """
    path = job.build_dir(build) / INFO_FILE
    try:
        table = json.loads(files.read_marker(path))
        if table["format"] not in (FORMAT, FORMAT_OF_SHARDS):
            raise JobMismatch(
                f"{path} has format {table['format']}, and this version of lookalike reads formats {FORMAT} and "
                f"{FORMAT_OF_SHARDS}. Use the version that built the index, or remove {job.build_dir(build)}.",
                remedy=Remedy(maker_of(job), str(job.path), "once it is removed, {} builds it anew"),
            )
        info = IndexInfo(**{key: value for key, value in table.items() if key != "bytes"})
        if info.build != build or table["bytes"] != info.bytes:
            raise ValueError(f"it is about build {info.build} of {table['bytes']} bytes")
        _require_types(info)
        return info
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(
            f"{path} is not a whole description of an index ({error!r})", remedy=built_anew(job)
        ) from None


def _require_types(info: IndexInfo) -> None:
    """Raise ValueError where a value has another type than `write_info` writes."""
    kinds: dict[Any, tuple[type, ...]] = {int: (int,), str: (str,), float: (int, float)}
    for key in fields(IndexInfo):
        if key.type in kinds and type(getattr(info, key.name)) not in kinds[key.type]:
            raise ValueError(f"{key.name} is {getattr(info, key.name)!r}")
    for name, entry in info.files.items():
        if type(entry["bytes"]) is not int or type(entry["sha256"]) is not str:
            raise ValueError(f"the entry of {name} is {entry!r}")
    if info.shards:
        require_ranges(info.shards, info.ntotal)
        if absent := [name for name in info.index_files if name not in info.files]:
            raise ValueError(f"it names no file {absent[0]}")


def built_anew(job: JobDir) -> Remedy:
    """What is done about a build that can't be used."""
    return _repaired(job, "removes it", "builds the index anew from the sealed partitions")


def _repaired(job: JobDir, does: str, made: str) -> Remedy:
    path = str(job.path)
    return Remedy("repair", path, does, then=Remedy(maker_of(job), path, made))


def whole_builds(job: JobDir) -> Iterator[IndexInfo]:
    """The builds of a job that can be read, newest first; those that are not whole are passed over."""
    for build in reversed(build_names(job)):
        try:
            yield read_info(job, build)
        except (CorruptFile, JobMismatch):
            continue


def refused_build(job: JobDir, digest: str, request: IndexRequest | None) -> IndexInfo | None:
    """The newest build of these embeddings that was asked for and not promoted, or None where there is none."""
    if request is None:
        return None
    return next((info for info in whole_builds(job) if info.refused and info.covers(digest, request)), None)


def require_promoted(job: JobDir) -> None:
    """Raise NoIndexYet where nothing was ever promoted."""
    if not job.current.is_file():
        path = str(job.path)
        built = Remedy(maker_of(job), path, "builds it", then=Remedy("status", path, "says how far that is"))
        raise NoIndexYet(f"{job.path} has no index yet", remedy=built)


def current_info(job: JobDir) -> IndexInfo | None:
    """What the promoted build is, or None when there is none; raises as `current_build` and `read_info` do."""
    build = current_build(job)
    return None if build is None else read_info(job, build)


def check_files(job: JobDir, info: IndexInfo, *, checksums: bool) -> None:
    """Raise CorruptFile when a file of a build is missing, of another size or, with `checksums`, of other bytes."""
    for name, expected in info.files.items():
        check_file(job, job.build_dir(info.build) / name, expected, checksum=checksums)


def check_file(job: JobDir, path: Path, expected: Mapping[str, Any], *, checksum: bool) -> None:
    """As `check_files`, for one file of a build."""
    found = path.stat().st_size if path.is_file() else None
    if found != expected["bytes"]:
        what = "is missing" if found is None else f"has {found} bytes"
    elif checksum and files.sha256_of(path) != expected["sha256"]:
        what = "has another checksum"
    else:
        return
    raise CorruptFile(
        f"{path} {what}; {INFO_FILE} says {expected['bytes']} bytes with the SHA-256 {expected['sha256'][:12]}",
        remedy=built_anew(job),
    )


def promote(job: JobDir, build: str) -> None:
    """Make `build` the one that queries use, in one step: CURRENT names the old one or the new one, never a part.

    Raises CorruptFile, with CURRENT as it was, when the build is not whole.
    """
    failpoint("promote_build")
    check_files(job, read_info(job, build), checksums=False)
    files.write_bytes(job.current, f"{build}\n".encode())
