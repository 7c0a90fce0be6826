"""Record what each archive of a source is while it is listed, so that the job can recognise it later."""

from collections.abc import Iterator

from coordinator.sources.listing import ListedImage
from shared.errors import SourceError
from shared.images.paths import is_url, split_member
from shared.job.directory import JobDir
from shared.job.source.files import FileState, state_of, write_source_files


class ListedArchives:
    """Records the archives of the images that pass; a list may name images of many, in any order."""

    def __init__(self) -> None:
        self._states: dict[str, FileState | None] = {}

    def seen(self, images: Iterator[ListedImage]) -> Iterator[ListedImage]:
        """Yield `images` unchanged, and look at each archive when its first image passes."""
        last = ""
        for image in images:
            # Most images come from the archive of the one before, and comparing is many times as fast as splitting the
            # path.
            if "::" in image.path and not (last and image.path.startswith(last)):
                inside = split_member(image.path)
                if inside is not None:
                    last = f"{inside[0]}::"
                    if inside[0] not in self._states:
                        self._states[inside[0]] = state_of(inside[0])
            yield image

    def look_at(self, archive: str) -> None:
        """Look at an archive before any image of it passes."""
        self._states[archive] = state_of(archive)

    def states(self) -> dict[str, FileState]:
        """What is known of the archives, by their path.

        Raises SourceError when one has changed since it was looked at: then the places in it are not known.
        """
        states = {archive: state for archive, state in self._states.items() if state is not None}
        for archive, state in states.items():
            now = None if is_url(archive) else state_of(archive, digest=False)
            if now is not None and (now.size, now.mtime_ns) != (state.size, state.mtime_ns):
                raise SourceError(
                    f"{archive} changed while it was listed ({state.size:,} bytes, then {now.size:,}): wait until it "
                    "is complete, and type the command again."
                )
        return states

    def write(self, job: JobDir) -> None:
        """Write the facts about the archives into the job, if there were any; raises as `states` does."""
        if states := self.states():
            write_source_files(job, states)
