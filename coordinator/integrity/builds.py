"""Verify the index of a job: each build against its index.json, and what CURRENT names."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from coordinator.integrity.findings import Checked, Finding, Kind, inside, is_fresh, unread, without_advice
from shared.errors import CorruptFile, JobMismatch
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.answers import ANSWERS_FILE, read_answers
from shared.job.index.builds import IndexInfo
from shared.job.index.calibration import CALIBRATION_FILE, read_calibration
from shared.job.index.purged import outlived
from shared.job.manifest import Manifest
from shared.job.opened import OpenJob
from shared.job.partition.ledger import Seal
from shared.storage import files


def _anew(manifest: Manifest, unless: str = "") -> Remedy:
    return Remedy(manifest.maker, does=f"the next {{}} builds the index anew from the sealed partitions{unless}")


def build_findings(job: OpenJob, seals: Sequence[Seal] | None, checked: Checked) -> Iterator[Finding]:
    """What is wrong with the builds of a job and with CURRENT, which comes first: it must not name what is removed.

    `seals` are those of all partitions in order; None when not each is sealed, so that no build can be compared with
    them. Raises OSError where the directory can't be listed.
    """
    whole: dict[str, IndexInfo] = {}
    found: list[Finding] = []
    for build in builds.build_names(job):
        verdict = _judge(job, build, seals, checked)
        if isinstance(verdict, Finding):
            found.append(verdict)
        elif verdict is not None:
            whole[build] = verdict
            found += _beside(job, verdict, checked)
    yield from _current(job, seals, whole, {finding.path for finding in found if finding.kind is Kind.DAMAGE}, checked)
    yield from found
    with suppress(CorruptFile, FileNotFoundError):  # Of CURRENT, which was judged above.
        for info in outlived(job):
            if info.build in whole:
                wrong = "It holds images that a compaction purged, and a build without them serves."
                path = inside(job, job.build_dir(info.build))
                yield Finding(path, Kind.LEFTOVER, wrong, "removed", job.build_files(info.build))


def _judge(job: OpenJob, build: str, seals: Sequence[Seal] | None, checked: Checked) -> IndexInfo | Finding | None:
    """What a build is, or what is wrong with it; None when it went away."""
    directory = job.build_dir(build)
    path = inside(job, directory)
    try:
        if not builds.is_whole(job, build):
            return _unfinished(job, build)
        checked.add(directory / builds.INFO_FILE)
        info = builds.read_info(job, build)
        for name in info.files:
            if (directory / name).is_file():
                checked.add(directory / name)
        builds.check_files(job, info, checksums=True)
    except FileNotFoundError:
        return None
    except CorruptFile as error:
        wrong = without_advice(error)
    except JobMismatch as error:
        return Finding(path, Kind.DAMAGE, f"{without_advice(error)} Repair leaves it, as it may be whole.")
    except OSError as error:
        return unread(job, directory, error)
    else:
        wrong = ""
        if info.fingerprint != job.manifest.model.fingerprint:
            wrong = (
                f"It was built for the model {info.fingerprint}; the job is made for {job.manifest.model.fingerprint}."
            )
        elif seals is not None and info.ledger_digest == builds.ledger_digest(seals):
            expected = (sum(seal.embedded for seal in seals), seals[0].dim)
            if (info.ntotal, info.dim) != expected:
                wrong = (
                    f"It says {info.ntotal} embeddings of {info.dim} dimensions, and those that it covers are "
                    f"{expected[0]} of {expected[1]}."
                )
        if not wrong:
            return info
    then = _anew(job.manifest, " unless another build is whole")
    return Finding(path, Kind.DAMAGE, wrong, "removed", job.build_files(build), then=then)


def _beside(job: JobDir, info: IndexInfo, checked: Checked) -> Iterator[Finding]:
    """What is wrong with what lies beside the files of a build. It serves without, and the next build makes it anew."""
    read: dict[str, tuple[Callable[[], object], str]] = {
        CALIBRATION_FILE: (lambda: read_calibration(job, info.build, info.fingerprint), "tells no chances"),
        ANSWERS_FILE: (lambda: read_answers(job, info), "the next one that grows from it takes longer to measure"),
    }
    for name, (reads, without) in read.items():
        path = job.build_dir(info.build) / name
        try:
            if path.is_file():
                checked.add(path)
                reads()
        except CorruptFile as error:
            wrong = f"{without_advice(error)} The build serves, and {without}."
            yield Finding(inside(job, path), Kind.DAMAGE, wrong, "removed", (path,))
        except OSError as error:
            yield unread(job, path, error)


def _covers_some(job: OpenJob, info: IndexInfo, seals: Sequence[Seal]) -> bool:
    """Whether a build covers the first of these partitions: those that were added since are searched beside it."""
    return builds.covered(info, seals, job) is not None


def _unfinished(job: JobDir, build: str) -> Finding | None:
    directory = job.build_dir(build)
    path = inside(job, directory)
    if is_fresh(directory) or any(is_fresh(directory / name) for name in files.names_in(directory)):
        wrong = "A merge is at work in it, or was killed there: repair leaves it until it is an hour old, and the next "
        return Finding(path, Kind.LEFTOVER, f"{wrong}merge removes it.")
    wrong = "It was never finished: the merge that began it was killed."
    return Finding(path, Kind.LEFTOVER, wrong, "removed", job.build_files(build))


def _current(
    job: OpenJob,
    seals: Sequence[Seal] | None,
    whole: dict[str, IndexInfo],
    damaged: set[str],
    checked: Checked,
) -> Iterator[Finding]:
    path = inside(job, job.current)
    digest = None if seals is None else builds.ledger_digest(seals)
    fallback = [build for build, info in whole.items() if info.ledger_digest == digest][-1:]
    wrong = ""
    try:
        current = builds.current_build(job)
        if current is not None:
            checked.add(job.current)
    except CorruptFile as error:
        wrong = without_advice(error)
    except OSError as error:
        yield unread(job, job.current, error)
        return
    else:
        if current is None:
            if fallback:
                wrong = f"There is none, as a merge leaves it that is killed, though {fallback[0]} is whole."
                remedy = f"made to name {fallback[0]}"
                yield Finding(path, Kind.LEFTOVER, wrong, remedy, promote=fallback[0])
            return
        if inside(job, job.build_dir(current)) in damaged:
            wrong = f"It names the build {current}, which is damaged."
        elif seals is not None and current in whole and not _covers_some(job, whole[current], seals):
            wrong = f"The build {current} that it names covers other embeddings than those that are sealed now."
            yield Finding(path, Kind.LEFTOVER, wrong, then=_anew(job.manifest))
            return
    if wrong and fallback:
        remedy = f"made to name {fallback[0]}, which is whole and covers the same embeddings"
        yield Finding(path, Kind.DAMAGE, wrong, remedy, promote=fallback[0])
    elif wrong:
        yield Finding(path, Kind.DAMAGE, wrong, "removed", (job.current,), then=_anew(job.manifest))
