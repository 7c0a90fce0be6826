"""Draw some images of a job, alter and embed copies of them, and write them for the measurement of its index."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.errors import CorruptFile, FingerprintMismatch, ImageError, JobError
from shared.errors.remedy import Remedy
from shared.images.location import read_bytes
from shared.images.members import Member
from shared.images.paths import split_member
from shared.job import altered_copies, path_list
from shared.job.altered_copies import Copies
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.manifest import Manifest, Partition
from shared.job.opened import OpenJob
from shared.job.partition import ledger, sealing
from shared.job.partition.ledger import Seal
from shared.job.source.moved import read_moved
from shared.processes.control import Control
from shared.storage.parquet import read_table
from shared.vectors import unit
from workers.images.alterations import ALTERATIONS, MEASURED
from workers.images.decode import decode, decode_photo
from workers.models.embedder import Embedder, has_direction

SEED: Final = 0
LONGEST: Final = 1_024
"""Pixels that the long side of a photo is shrunk to before it is changed, as web sites do it before they pass it on."""

# Originals whose copies are in memory at once: at 224 pixels, 7 MB.
_GROUP = 8


@dataclass(frozen=True, slots=True)
class Original:
    """An embedded image as its partition's metadata has it, with its stored embedding, float16 [d].

    `path` is where it is now.
    """

    id: int
    path: str
    sha256: str | None
    embedding: npt.NDArray[np.float16]
    member: Member | None = None


@dataclass(frozen=True, slots=True)
class _Copy:
    original: Original
    alteration: str
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Embedded:
    """What is left of a copy once the model has seen it: its pixels are not."""

    original: Original
    alteration: str
    embedding: npt.NDArray[np.floating]


def embed_copies(
    job: OpenJob,
    embedder: Embedder,
    control: Control[str],
    threads: int,
) -> Copies:
    """Embed altered copies of up to 48 images of a job whose partitions are all sealed, and write copies.parquet.

    Copies that are there for these very embeddings stay as they are, and where a job grew those of the images that are
    drawn again. An image that can't be read or decoded now, or whose bytes are not those that were embedded, is left
    out; where that befalls them all, the file holds no copies and the reason, so that no one waits for it. Whether to
    continue is asked before every batch, whether to commit before the file is written; when one says no, Stopped is
    raised.

    Raises JobError when a partition is not sealed, CorruptFile when its files are not what its seal says, OSError when
    the disk does not answer, ModelError when the model is at fault, JobNotFound when the job went away.
    """
    seals = sealed_whole(job)
    digest = builds.ledger_digest(seals)
    there = altered_copies.usable_copies(job, digest)
    if there is not None:
        return there
    reasons: list[str] = []
    every = drawn(job, seals)
    rows = _made_before(job, every)
    made = {row.original.id for row in rows}
    originals = [original for original in every if original.id not in made]
    control.report("copies · 0 %")
    with ThreadPoolExecutor(threads, thread_name_prefix="copies") as pool:
        for start in range(0, len(originals), _GROUP):
            group: list[_Copy] = []
            for found in pool.map(
                lambda one: _copies_of(one, job.manifest, embedder.image_size), originals[start : start + _GROUP]
            ):
                if isinstance(found, str):
                    reasons.append(found)
                else:
                    group += found
            rows += _embedded(group, embedder, control)
            control.report(f"copies · {min(1.0, (start + _GROUP) / len(originals)):.0%}".replace("%", " %"))
    control.require_commit()
    job.require()
    rows.sort(key=lambda row: row.original.id)
    result = _result(rows, embedder, digest) if rows else _nothing(every, reasons, embedder.fingerprint, digest)
    altered_copies.write_copies(job, result)
    return result


def give_up(job: OpenJob, reason: str) -> Copies:
    """Write copies.parquet without copies and with the reason, so that the index is built without them."""
    digest = builds.ledger_digest(sealed_whole(job))
    result = altered_copies.none_of(job.manifest.model.fingerprint, digest, SEED, reason)
    altered_copies.write_copies(job, result)
    return result


def sealed_whole(job: OpenJob) -> list[Seal]:
    """The seals of a job in order; raises JobError unless every partition has one."""
    seals = list(ledger.sealed(job))
    if len(seals) != job.partition_count:
        raise JobError(
            f"{len(seals)} of the {job.partition_count} partitions of {job.path} are sealed, and altered "
            "copies are made once all of them are",
            remedy=Remedy("index", str(job.path), "{} goes on until then"),
        )
    return seals


def drawn(job: JobDir, seals: Sequence[Seal]) -> list[Original]:
    """The images of a job that copies are made of, by id; the same for the same seals. All where they are few."""
    total = sum(seal.embedded for seal in seals)
    chosen = np.sort(np.random.default_rng(SEED).choice(total, size=min(altered_copies.IMAGES, total), replace=False))
    moved = read_moved(job)
    found: list[Original] = []
    first = 0
    for seal in seals:
        rows = chosen[(chosen >= first) & (chosen < first + seal.embedded)] - first
        first += seal.embedded
        if not len(rows):
            continue
        table = read_table(job.metadata(seal.partition), ["id", "image_path", "sha256"])
        if len(table) != seal.embedded:
            raise CorruptFile(
                f"{job.metadata(seal.partition)} has {len(table)} rows, and its seal says {seal.embedded}",
                remedy=Remedy(
                    "repair",
                    str(job.path),
                    "takes the partition back",
                    then=Remedy("index", str(job.path), "embeds it again"),
                ),
            )
        embeddings = sealing.read_embeddings(job.img_emb(seal.partition), seal.embedded, seal.dim, rows.tolist())
        images = table.take(rows).to_pylist()
        members = _members(job, seal) if any(split_member(row["image_path"]) for row in images) else {}
        found += [
            Original(row["id"], moved.now(row["image_path"]), row["sha256"], embedding, members.get(row["id"]))
            for row, embedding in zip(images, embeddings, strict=True)
        ]
    return found


def _members(job: JobDir, seal: Seal) -> dict[int, Member | None]:
    """Where the images of a partition are in their archives, by id; nothing where its path list is damaged.

    They are looked for in the archive then, and no work that is done depends on it.
    """
    try:
        locations = path_list.read_locations(job, Partition(seal.partition, seal.start, seal.stop))
    except CorruptFile:
        return {}
    return {seal.start + place: location.member for place, location in enumerate(locations)}


def _made_before(job: JobDir, originals: Sequence[Original]) -> list[_Embedded]:
    """The copies of an earlier draw, of those of `originals` that had one by each alteration and are embedded alike."""
    try:
        former = altered_copies.read_copies(job)
    except (CorruptFile, FingerprintMismatch):
        return []
    if former is None:
        return []
    kept: list[_Embedded] = []
    for original in originals:
        places = np.flatnonzero(former.ids == original.id)
        rows = [_Embedded(original, former.alterations[place], former.embeddings[place]) for place in places]
        if tuple(row.alteration for row in rows) == MEASURED and np.allclose(
            unit(former.embeddings[places]) @ unit(original.embedding[None])[0], former.similarities[places], atol=1e-5
        ):
            kept += rows
    return kept


def _copies_of(original: Original, manifest: Manifest, image_size: int) -> list[_Copy] | str:
    """The altered copies of an image as the model takes them, or why there are none."""
    try:
        data = read_bytes(original.path, manifest.max_image_bytes, original.member)
        if original.sha256 is not None and hashlib.sha256(data).hexdigest() != original.sha256:
            return f"{original.path}: The file was changed since it was embedded."
        how = manifest.model.decode
        photo = decode_photo(data, LONGEST, manifest.max_image_pixels, how)
        altered = ((name, ALTERATIONS[name](photo)) for name in MEASURED)
        # Through the bytes of a JPEG file, as a query comes.
        return [_Copy(original, name, decode(jpeg, image_size, LONGEST**2, how).pixels) for name, jpeg in altered]
    except ImageError as error:
        return f"{original.path}: {error}"


def _embedded(group: list[_Copy], embedder: Embedder, control: Control[str]) -> Iterator[_Embedded]:
    for start in range(0, len(group), embedder.batch_size):
        control.require_going()
        batch = group[start : start + embedder.batch_size]
        embeddings = embedder.embed(np.stack([copy.pixels for copy in batch]))
        for copy, embedding, good in zip(batch, embeddings, has_direction(embeddings), strict=True):
            if good:
                yield _Embedded(copy.original, copy.alteration, embedding)


def _result(rows: Sequence[_Embedded], embedder: Embedder, digest: str) -> Copies:
    embeddings = np.stack([row.embedding for row in rows]).astype(np.float16)
    queries = unit(embeddings)
    stored = unit(np.stack([row.original.embedding for row in rows]))
    return Copies(
        ids=np.array([row.original.id for row in rows], dtype=np.int64),
        alterations=tuple(row.alteration for row in rows),
        similarities=np.einsum("ij,ij->i", queries, stored).astype(np.float32),
        embeddings=embeddings,
        fingerprint=embedder.fingerprint,
        ledger_digest=digest,
        seed=SEED,
    )


def _nothing(originals: Sequence[Original], reasons: Sequence[str], fingerprint: str, digest: str) -> Copies:
    if not originals:
        reason = "No image of the job is embedded."
    elif reasons:
        reason = f"None of {len(originals)} images can be read as it was embedded. The first is {reasons[0]}"
    else:
        reason = f"The model gives none of the copies of {len(originals)} images an embedding."
    return altered_copies.none_of(fingerprint, digest, SEED, reason)
