"""Whether a job wants the features of its images stored: asked for when it is made, or later."""

import json
from importlib.metadata import version
from typing import Final

from shared.errors import CorruptFile, JobMismatch
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.job.partition.features.record import STORED_VERSION
from shared.processes.failpoints import failpoint
from shared.storage import files

FORMAT: Final = 1


def wanted_features(job: JobDir) -> str | None:
    """The version of features that a job wants stored, None for none; CorruptFile where what says so can't be read."""
    try:
        table = json.loads(files.read_marker(job.features_wanted))
        if table["format"] != FORMAT or not isinstance(table["version"], str):
            raise ValueError(f"format {table['format']}, version {table['version']!r:.80}")
        return str(table["version"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptFile(
            f"{job.features_wanted} can't be read ({error})",
            remedy=Remedy("index", str(job.path), "with {} writes it anew", given={"copies": "on"}),
        ) from None


def makes_features(job: JobDir) -> bool:
    """Whether features are to be made for a job; raises JobMismatch where it wants those of another version."""
    wanted = wanted_features(job)
    if wanted not in (None, STORED_VERSION):
        raise JobMismatch(
            f"{job.path} stores features of its images as {wanted!r}, and this version of lookalike makes "
            f"{STORED_VERSION!r}, which can't be compared with them",
            remedy=Remedy("index", str(job.path), "with {} makes all of them anew", given={"copies": "on"}),
        )
    return wanted is not None


def want_features(job: JobDir) -> None:
    """Have the features of a job's images stored, in this version."""
    failpoint("want_features")
    table = {"format": FORMAT, "version": STORED_VERSION, "made_by": f"lookalike {version('lookalike')}"}
    files.write_bytes(job.features_wanted, (json.dumps(table, indent=2) + "\n").encode())
