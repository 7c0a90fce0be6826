"""Make thumbnails of images of jobs, each out of the bytes that were embedded, in a decoding process."""

from shared.errors import JobError
from shared.job import path_list
from shared.job.bundle.stored_image import read_as_embedded
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.messages.thumbnail import MakeThumbnail
from workers.search.decoding.pictures import decode_of
from workers.search.decoding.processes import DecodingProcesses


class Thumbnails:
    """Makes them; several threads may ask at once."""

    def __init__(self, decoders: DecodingProcesses) -> None:
        self._decoders = decoders

    def of(self, job: JobDir, message: MakeThumbnail) -> bytes:
        """The JPEG; raises ImageError where the image can't be read or decoded, or is another one by now, and as
        `open_job` does."""
        opened = open_job(job)
        if message.image >= opened.listed:
            raise JobError(f"{opened.path} has no image {message.image:,}: it is another job, or was made anew.")
        partition = opened.partition_of(message.image)
        location = path_list.read_location(opened, partition, message.image)
        data, _ = read_as_embedded(opened, message.image, location, message.sha256)
        manifest = opened.manifest
        return self._decoders.thumbnail(data, message.side, manifest.max_image_pixels, decode_of(manifest.model))
