"""Shrink an image for a pack to a smaller JPEG, in a process of its own if it may end one."""

import json
import subprocess
import sys
from typing import Final

from shared.errors import ImageError
from shared.processes.own import module_command
from shared.processes.stage import ending
from workers.images.decode import decode_photo
from workers.images.encode import encode_jpeg

# A process may also be ended by chance, or for want of memory at a bad moment.
_TRIES: Final = 2
_SECONDS: Final = 120.0
_IMAGE_ERROR: Final = 3


def shrunk(data: bytes, longest: int, quality: int, most_pixels: int) -> bytes:
    """An encoded image as an upright JPEG of that quality whose longer side has `longest` pixels.

    Raises ImageError when it is no image, or has more than `most_pixels`.
    """
    return encode_jpeg(decode_photo(data, longest, most_pixels), quality)


def shrunk_alone(data: bytes, longest: int, quality: int, most_pixels: int) -> bytes:
    """The result of `shrunk`, made by a process of its own, which an image may end.

    One that ends two of them raises ImageError with the status "quarantined".
    """
    command = module_command("workers.pack.shrink", longest, quality, most_pixels)
    ends: list[str] = []
    while len(ends) < _TRIES:
        try:
            done = subprocess.run(
                command,
                input=data,
                capture_output=True,
                check=False,
                timeout=_SECONDS,
                start_new_session=True,  # Ctrl-C is for the command, and must not count against an image.
            )
        except subprocess.TimeoutExpired:
            ends.append(f"no end within {_SECONDS:.0f} s")
            continue
        if done.returncode == 0:
            return done.stdout
        if done.returncode == _IMAGE_ERROR:
            error = json.loads(done.stdout)
            raise ImageError(error["message"], error["status"])
        ends.append(ending(done.returncode))
    raise ImageError(
        f"Each process that shrank this image alone came to its end by it ({', '.join(ends)}), as the pack's had.",
        "quarantined",
    )


def main() -> int:
    """Shrink the image on stdin to stdout, as the three arguments say, or write what is wrong with it there."""
    try:
        made = shrunk(sys.stdin.buffer.read(), *map(int, sys.argv[1:4]))
    except ImageError as error:
        json.dump({"status": error.status, "message": str(error)}, sys.stdout)
        return _IMAGE_ERROR
    sys.stdout.buffer.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
