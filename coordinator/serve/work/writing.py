"""Say where this server may not write to a job: it may see it on a mount that is for reading alone."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from coordinator.serve.problems import Refused
from shared.job.directory import JobDir

_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@contextmanager
def writing(job: JobDir) -> Iterator[None]:
    """Write to a job in the block, here or in another process. Raises Refused with 409 where the system refuses that,
    and nothing was changed."""
    if not job.in_store and not os.access(job.path, os.W_OK):
        raise _refused(job)
    try:
        yield
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        raise _refused(job) from None


def _refused(job: JobDir) -> Refused:
    return Refused(
        409,
        f"This server may read the job {job.job_id!r} and not write to it, so nothing was changed: do it with a server "
        "or a command that may.",
    )
