"""What the match page shows of searches: their queries, their hits, and the pictures of both."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from coordinator.client.queries import Queryable, as_query
from coordinator.display.hits import search_json
from coordinator.display.pages.report import Thumbnail
from coordinator.jobs.source.named_images import image_facts
from coordinator.serve.page.match_page import write_match_page
from shared.errors import LookalikeError
from shared.images.paths import is_url, split_member, to_os_path
from shared.job.opened import OpenJob
from shared.messages.query import Query
from shared.messages.search import Answer, Hit

MOST_IMAGES: Final = 300
"""How many images are on the page as pictures, the best hits first: a browser opens a page of 30 MB."""
LONGEST: Final = 640
"""Pixels of the longer side of a picture."""
_MOST_QUERY_BYTES: Final = 16 << 20
# The kinds that every browser shows as they are, by how they begin.
_SHOWN: Final = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n": "png", b"GIF8": "gif"}


@dataclass(frozen=True, slots=True)
class Searched:
    """Searches of a job, `k` hits each: what was asked by what name, and the answer to each. `job` is None where it is
    not on this machine."""

    name: str
    job: OpenJob | None
    asked: Sequence[tuple[str, Queryable | Query]]
    answers: Sequence[Answer]
    k: int
    is_filtered: bool
    is_matching: bool = False

    @property
    def shown_ids(self) -> list[int]:
        """The ids of the images that are on the page as pictures."""
        hits = sorted((hit for answer in self.answers for hit in answer.hits), key=lambda hit: hit.rank)
        return list(dict.fromkeys(hit.id for hit in hits))[:MOST_IMAGES]

    def write_page(self, path: Path, thumbnails: Mapping[int, Thumbnail]) -> None:
        """Write the match page of the searches. Raises OSError as the file system gives it."""
        facts = {} if self.job is None else {image: _facts(self.job, image) for image in self.shown_ids}
        found = search_json([name for name, _ in self.asked], self.answers, matching=self.is_matching)

        def pictures(answer: Answer) -> dict[int, Any]:
            return {hit.id: _picture(hit, thumbnails.get(hit.id), facts.get(hit.id, {})) for hit in answer.hits}

        searches = [
            {
                "query": _query(name, query),
                "result": {"hits": [], "milliseconds": 0} | result,
                "pictures": {
                    hit.id: _picture(hit, thumbnails.get(hit.id), facts.get(hit.id, {})) for hit in answer.hits
                },
                "k": self.k,
                "isFiltered": self.is_filtered or self.is_matching,
            }
            for (name, query), answer, result in zip(self.asked, self.answers, found, strict=True)
        ]
        write_match_page(path, self.name, searches)


def _query(name: str, asked: Queryable | Query) -> dict[str, Any]:
    """The query as the page shows it: its picture as it came, if that is of a kind that browsers show."""
    shown: dict[str, Any] = {"name": name, "source": None, "why": "", "facts": {}}
    try:
        data = (asked if isinstance(asked, Query) else as_query(asked)).image
    except LookalikeError as error:
        return shown | {"why": str(error)}
    if data is None:
        return shown | {"why": "The query has no picture."}
    kind = next((kind for begin, kind in _SHOWN.items() if data.startswith(begin)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "webp"
    if kind is None or len(data) > _MOST_QUERY_BYTES:
        return shown | {"why": "Browsers don't show an image of this kind or size."}
    return shown | {
        "source": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
        "facts": {"bytes": len(data)},
    }


def _picture(hit: Hit, thumbnail: Thumbnail | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "source": None if thumbnail is None else f"data:image/jpeg;base64,{thumbnail.jpeg}",
        "original": _address(hit.image_path),
        "facts": facts,
    }


def _address(image_path: str) -> str | None:
    """Where a browser of this machine finds the image itself; None for a member of an archive, and in a bucket."""
    if is_url(image_path):
        return image_path if image_path.startswith(("https://", "http://")) else None
    return None if split_member(image_path) else Path(to_os_path(image_path)).absolute().as_uri()


def _facts(job: OpenJob, image_id: int) -> dict[str, Any]:
    return {
        name: value if isinstance(value, bool | int | str | type(None)) else str(value)
        for name, value in image_facts(job, image_id).items()
    }
