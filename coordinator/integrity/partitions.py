"""Verify the partitions of a job: seals with their files, and the committed chunks of those that are under way."""
# Over 250 lines: a chunk and a retry are judged by which seals are whole, so all of them share one state.

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.integrity.findings import Checked, Finding, Kind, inside, is_fresh, unread, without_advice
from shared.errors import CorruptFile, FingerprintMismatch
from shared.job.manifest import Chunk, Partition
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, ledger, sealing
from shared.job.partition.ledger import Seal
from shared.job.partition.retry import read_retry
from shared.storage import files


@dataclass(slots=True)
class PartitionFindings:
    """The findings of seals and chunks. `sure` is whether the path lists confirm the sizes that the manifest says.

    Call `sealed` first: the others go by the seals that it found to be whole. Each raises OSError where a directory
    can't be listed.
    """

    job: OpenJob
    checked: Checked
    sure: bool
    _seals: dict[int, Seal] = field(default_factory=dict)

    def all_seals(self) -> list[Seal] | None:
        """The seals of all partitions in order; None when not each of them is sealed and whole."""
        whole = len(self._seals) == self.job.partition_count
        return [self._seals[partition.number] for partition in self.job.partitions] if whole else None

    def beyond(self, path: Path, remove: tuple[Path, ...], number: int, *, may_come: bool = True) -> Finding:
        """The finding of something that belongs to partition `number`, which the job does not have.

        `may_come` is whether a process that changes the job writes such files before it writes the change.
        """
        if number < self.job.state.next_number:
            wrong = f"A compaction put another partition in the place of partition {number}, and needs it no more."
            return Finding(inside(self.job, path), Kind.LEFTOVER, wrong, "removed", remove)
        if may_come and any(one.exists() and is_fresh(one) for one in remove):
            wrong = "It belongs to no partition yet: it is being added, or its writer was killed."
            return Finding(inside(self.job, path), Kind.LEFTOVER, f"{wrong} Repair leaves it until it is an hour old.")
        wrong = f"It belongs to no partition: the job has {self.job.partition_count:,}."
        if self.sure and may_come:
            return Finding(inside(self.job, path), Kind.LEFTOVER, wrong, "removed", remove, alone=True)
        if self.sure:
            return Finding(inside(self.job, path), Kind.LEFTOVER, wrong, "removed", remove, alone=True)
        wrong += " Repair leaves it until the path lists are whole and confirm that number."
        return Finding(inside(self.job, path), Kind.LEFTOVER, wrong)

    def sealed(self) -> Iterator[Finding]:
        """Every seal, and the files that it marks."""
        for number in self.job.sealed_numbers():
            marker = self.job.seal(number)
            # What a killed retry left over goes first: its marker must not bring back what is bad.
            left = (self.job.retry(number),) if self.job.retry(number).exists() else ()
            remove = (*left, marker, *self.job.sealed_files(number))
            if not self.job.holds(number):
                yield self.beyond(marker, remove, number, may_come=self._may_come(number))
                continue
            partition = self.job.partition(number)
            found = self._judge(partition, remove)
            if marker.exists():  # Else it was taken back meanwhile.
                yield from found
        dims = {seal.dim for seal in self._seals.values() if seal.embedded}
        if self.job.manifest.model.dim is not None and dims - {self.job.manifest.model.dim}:
            # The fingerprint, which was compared, does not hold the dimension; the files and their seals agree on it.
            wrong = (
                f"It says that an embedding has {self.job.manifest.model.dim} dimensions, and those that are sealed "
                f"have {', '.join(map(str, sorted(dims)))}: restore job.json from a copy."
            )
            yield Finding(inside(self.job, self.job.spec), Kind.DAMAGE, wrong)

    def _may_come(self, number: int) -> bool:
        """Whether a seal that is none of the job's may be of what has not written its change yet."""
        try:
            ledger.require_to_come(self.job, number)
        except CorruptFile:
            return False
        return True

    def _judge(self, partition: Partition, remove: tuple[Path, ...]) -> list[Finding]:
        """What is wrong with a sealed partition, all of it at once: the first finding may lead to its removal."""
        remedy, then = "taken back with its whole partition", self.job.manifest.again(f"its {len(partition):,} images")
        found: list[Finding] = []

        def damaged(path: Path, wrong: str) -> None:
            found.append(Finding(inside(self.job, path), Kind.DAMAGE, wrong, remedy, remove, then=then))

        marker = self.job.seal(partition.number)
        try:
            self.checked.add(marker)
            seal = ledger.read_seal(self.job, partition.number)
            if reason := _not_of(seal, partition, self.job):
                damaged(marker, reason)
                return found
        except FileNotFoundError:
            return found
        except CorruptFile as error:
            damaged(marker, without_advice(error))
            return found
        except OSError as error:
            return [unread(self.job, marker, error)]
        for path in self.job.sealed_files(partition.number):
            try:
                if reason := self._not_sealed(path, seal):
                    damaged(path, reason)
            except OSError as error:
                found.append(unread(self.job, path, error))
        if not found:
            try:
                ledger.check_ids(self.job, seal)
                sealing.require_size(self.job.img_emb(partition.number), seal.embedded, seal.dim)
            except CorruptFile as error:
                damaged(marker, without_advice(error))
            except OSError as error:
                found.append(unread(self.job, marker, error))
        if not found:
            self._seals[partition.number] = seal
        return found

    def _not_sealed(self, path: Path, seal: Seal) -> str:
        """In what way a file is not the one that was sealed; empty when it is."""
        expected = seal.files[inside(self.job, path)]
        try:
            size = self.checked.add(path)
        except FileNotFoundError:
            return "It is missing, though its partition is sealed."
        if size != expected["bytes"]:
            return f"It has {size:,} bytes, and its seal says {expected['bytes']:,}."
        if files.sha256_of(path) != expected["sha256"]:
            return "It has another checksum than its seal says."
        return ""

    def unmarked(self) -> Iterator[Finding]:
        """Sealed files without a seal."""
        for number in self.job.sealed_file_numbers():
            present = tuple(path for path in self.job.sealed_files(number) if path.exists())
            if not present or self.job.seal(number).exists():
                continue
            if not self.job.holds(number):
                yield self.beyond(present[0], present, number)
                continue
            if self.job.retry(number).exists():
                continue  # They are kept for the seal to come.
            wrong = (
                f"It lies there without the seal {inside(self.job, self.job.seal(number))}, as a worker leaves it that "
                "is killed while it seals, and counts for nothing."
            )
            if checkpoint.missing_chunks(self.job, self.job.partition(number)):
                yield Finding(inside(self.job, present[0]), Kind.LEFTOVER, wrong, "removed", present)
            else:  # Somebody may be sealing the partition this moment.
                wrong += " All chunks of its partition are committed: the seal to come writes it anew."
                yield Finding(inside(self.job, present[0]), Kind.LEFTOVER, wrong)

    def retries(self) -> Iterator[Finding]:
        """The markers of partitions of which failed images are to be tried again, and what they keep."""
        for number in self.job.retry_numbers():
            marker = self.job.retry(number)
            try:
                if not self.job.holds(number):
                    yield self.beyond(marker, (marker,), number, may_come=False)
                elif self.job.seal(number).exists():
                    if not is_fresh(marker):
                        wrong = f"Partition {number} is sealed: a retry was killed before it took that back."
                        yield Finding(inside(self.job, marker), Kind.LEFTOVER, wrong, "removed", (marker,))
                elif wrong := self._not_kept(self.job.partition(number)):
                    images = f"the {len(self.job.partition(number)):,} images of its partition"
                    then = self.job.manifest.again(f"{images} that are in no committed chunk")
                    yield Finding(inside(self.job, marker), Kind.DAMAGE, wrong, "removed", (marker,), then=then)
            except FileNotFoundError:
                continue  # Sealed this moment.
            except OSError as error:
                yield unread(self.job, marker, error)

    def _not_kept(self, partition: Partition) -> str:
        """Why the rows that a retry marker keeps can't be used; empty when they can, or are needed no more."""
        marker = self.job.retry(partition.number)
        self.checked.add(marker)
        try:
            retry = read_retry(self.job, partition.number)
        except CorruptFile as error:
            return without_advice(error)
        if retry is None or not checkpoint.missing_chunks(self.job, partition):
            return ""
        if reason := _not_of(retry.seal, partition, self.job):
            return reason
        for path in self.job.sealed_files(partition.number):
            reason = self._not_sealed(path, retry.seal)
            # Else the partition has been sealed meanwhile, and its files are others.
            if reason and marker.exists():
                return f"Of what it keeps, {inside(self.job, path)} is not as it was. {reason}"
        return ""

    def chunks(self) -> Iterator[Finding]:
        """Every committed chunk of the partitions that are not sealed, and those that should have gone with a seal."""
        if self._chunk_size_is_doubtful():
            wrong = (
                f"It says that a chunk has {self.job.manifest.chunk_size:,} images, and of the chunks that are "
                "committed not one has these boundaries: restore job.json from a copy. Repair leaves the chunks as "
                "they are."
            )
            yield Finding(inside(self.job, self.job.spec), Kind.DAMAGE, wrong)
            return
        for number in self.job.chunk_partitions():
            directory = self.job.chunk_dir(number)
            lying = [self.job.chunk(number, chunk) for chunk in self.job.chunk_numbers(number)]
            lying += [self.job.retry_chunk(number, chunk) for chunk in self.job.retry_chunk_numbers(number)]
            remove = (*lying, *self.job.attempts_inside(number), directory)
            if not self.job.holds(number):
                yield self.beyond(directory, remove, number, may_come=False)
            elif number not in self._seals:
                yield from self._chunks_of(self.job.partition(number))
            elif directory.exists():
                wrong = f"Partition {number} is sealed and whole, and needs its chunks no more."
                yield Finding(inside(self.job, directory), Kind.LEFTOVER, wrong, "removed", remove)

    def _chunks_of(self, partition: Partition) -> Iterator[Finding]:
        chunks = {chunk.number: chunk for chunk in self.job.chunks(partition)}
        for number in self.job.chunk_numbers(partition.number):
            path = self.job.chunk(partition.number, number)
            if number not in chunks:
                wrong = f"It is no chunk of partition {partition.number}, which has {len(chunks):,}, from 0 on."
                yield Finding(inside(self.job, path), Kind.LEFTOVER, wrong, "removed", (path,))
                continue
            try:
                self.checked.add(path)
                checkpoint.read_chunk(self.job, chunks[number])
            except FileNotFoundError:
                continue  # Sealed away this moment.
            except (CorruptFile, FingerprintMismatch) as error:
                if path.exists():
                    then = self.job.manifest.again(f"its {len(chunks[number]):,} images")
                    wrong = without_advice(error)
                    yield Finding(inside(self.job, path), Kind.DAMAGE, wrong, "taken back", (path,), then=then)
            except OSError as error:
                yield unread(self.job, path, error)

    def _chunk_size_is_doubtful(self) -> bool:
        """Whether several chunks are there, and each has other boundaries than the manifest: then that is wrong."""
        agree = differ = 0
        for number in self.job.chunk_partitions():
            if number in self._seals or not self.job.holds(number):
                continue
            spans = {chunk.number: chunk for chunk in self.job.chunks(self.job.partition(number))}
            for chunk in self.job.chunk_numbers(number):
                try:
                    summary = checkpoint.chunk_summary(self.job, number, chunk)
                except (CorruptFile, OSError):
                    continue
                same = spans.get(chunk) == Chunk(summary.partition, summary.chunk, summary.start, summary.stop)
                agree, differ = agree + same, differ + (not same)
        return differ > 1 and not agree


def _not_of(seal: Seal, partition: Partition, job: OpenJob) -> str:
    """In what way a marker is not one of this partition; empty when it is."""
    if seal.fingerprint != job.manifest.model.fingerprint:
        return (
            f"It was sealed for the model {seal.fingerprint}, and the job is made for {job.manifest.model.fingerprint}."
        )
    if Partition(seal.partition, seal.start, seal.stop) != partition:
        return (
            f"It seals the ids {seal.start} to {seal.stop - 1} as partition {seal.partition}; partition "
            f"{partition.number} has the ids {partition.start} to {partition.stop - 1}."
        )
    numbers = (seal.embedded, seal.failed, seal.dim)
    names = {inside(job, path) for path in job.sealed_files(partition.number)}
    if (
        any(type(number) is not int or number < 0 for number in numbers)
        or not all(isinstance(number, int | float) for number in (seal.seconds, seal.sealed_at))
        or seal.embedded + seal.failed != job.live(partition)
        or not isinstance(seal.files, dict)
        or set(seal.files) != names
        or not all({"bytes", "sha256"} == set(entry) for entry in seal.files.values())
    ):
        return f"Its counts or its files are not those of a seal of {job.live(partition):,} images."
    return ""
