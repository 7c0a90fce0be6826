"""Whether images can be removed from a job: each id was given, and none was removed before."""

from shared.errors import JobError
from shared.job.changes.log import Ids, removal_of
from shared.job.opened import OpenJob


def require_there(job: OpenJob, ids: Ids, done: str = "removed") -> None:
    """Raise JobError unless each of `ids`, int64 [n], was given to an image that is left, and there is one.

    `done` is what would be done with them, for the sentence.
    """
    if not len(ids):
        raise JobError(f"No image of {job.path} was named: nothing was {done}.")
    unknown = ids[(ids < 0) | (ids >= job.listed)]
    if len(unknown):
        others = f", nor {len(unknown) - 1:,} more of those named" if len(unknown) > 1 else ""
        raise JobError(
            f"{job.path} has the image ids 0 to {job.listed - 1:,}, and none is {unknown[0]}{others}: nothing was "
            f"{done}."
        )
    gone = ids[job.state.lacks(ids)]
    if len(gone):
        others = f", and {len(gone) - 1:,} more of those named" if len(gone) > 1 else ""
        raise JobError(
            f"The image {gone[0]:,} of {job.path} was removed before ({removal_of(job, int(gone[0])).named}){others}: "
            f"nothing was {done} now; leave out what is gone."
        )
