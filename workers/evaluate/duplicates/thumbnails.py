"""Make thumbnails of some images of a job, in a process of its own that prints each as a line of JSON.

The ids are in the request on standard input. Each is answered with a JPEG in base64 and its size, or why there is none.
"""

import base64
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from shared.errors import ImageError
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.processes import stage
from workers.evaluate.duplicates.pictures import Pictures, shrunk_to
from workers.images.encode import encode_jpeg

QUALITY: Final = 78


def thumbnail(pictures: Pictures, image_id: int, longest: int) -> dict[str, Any]:
    """The thumbnail of an image, its longer side at most `longest` pixels, as the process prints it."""
    try:
        pixels = shrunk_to(pictures.picture(image_id), longest)
    except ImageError as error:
        return {"id": image_id, "lost": str(error)}
    height, width = pixels.shape[:2]
    jpeg = base64.b64encode(encode_jpeg(pixels, QUALITY)).decode()
    return {"id": image_id, "jpeg": jpeg, "width": width, "height": height}


def main() -> None:
    """Answer the request on standard input."""
    job, longest = open_job(JobDir.at(sys.argv[1])), int(sys.argv[2])
    pictures, ids = Pictures(job), json.load(sys.stdin)["ids"]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for made in pool.map(lambda image: thumbnail(pictures, image, longest), ids):
            stage.say(**made)
    stage.say(result={"thumbnails": len(ids)})


if __name__ == "__main__":
    sys.exit(stage.exit_status(main))
