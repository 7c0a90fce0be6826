"""Queries of pictures on disk to an answerer of this process, whose model is none, and the pictures."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.job.directory import JobDir
from shared.messages.finer import Finer
from shared.messages.query import Query
from shared.messages.search import Answer, SearchJob
from shared.messages.verified import ALWAYS, Verify
from tests.support.images.scenes import scene
from workers.search.answer import Answerer

COUNT = 12


class Fields:
    """The colours of the four quarters of an image, as the embedder of the job's images has them."""

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = images.shape[1]
        fields = images.reshape(len(images), 2, size // 2, 2, size // 2, 3).mean(axis=(2, 4)).reshape(-1, 12) + 1
        return (fields / np.linalg.norm(fields, axis=1, keepdims=True)).astype(np.float32)


def encoded(pixels: NDArray[np.uint8], kind: str = ".png") -> bytes:
    done, data = cv2.imencode(kind, np.ascontiguousarray(pixels[:, :, ::-1]))
    assert done
    return data.tobytes()


def scenes_in(folder: Path) -> Path:
    """A folder of twelve pictures, 00.png to 11.png."""
    folder.mkdir()
    for number in range(COUNT):
        (folder / f"{number:02d}.png").write_bytes(encoded(scene(number)))
    return folder


def asked(
    answerer: Answerer,
    job: JobDir,
    image: bytes | Query,
    how: str = ALWAYS,
    k: int = 5,
    views: int = 1,
    finer: Finer | None = None,
) -> Answer:
    """The answer to one query, which has none but good hits."""
    query = image if isinstance(image, Query) else Query(image=image)
    (answer,) = answerer.answer(job, SearchJob(job.job_id, (query,), k, verify=Verify(how, views), finer=finer))
    assert answer.error is None
    assert [hit.rank for hit in answer.hits] == list(range(1, len(answer.hits) + 1))
    return answer


def crop(number: int) -> bytes:
    """A part of one of the pictures, as JPEG."""
    return encoded(scene(number)[40:300, 30:260], ".jpg")
