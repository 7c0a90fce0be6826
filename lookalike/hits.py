"""Give hits their images, and show them with their images in a notebook."""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from html import escape
from typing import TYPE_CHECKING, Any, Final, Self

from lookalike import extras
from shared.errors import LookalikeError
from shared.images.location import read_bytes
from shared.images.paths import shown_path
from shared.messages import search
from shared.messages.finer import Refined
from shared.messages.verdicts import verdict_text
from shared.messages.verified import Verified
from shared.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PIXELS: Final = 160
_MOST_SHOWN: Final = 50
# The kinds that a browser shows as they are, if no library is installed that could make a thumbnail.
_SMALL_BYTES: Final = 100_000
_SHOWN_AS_THEY_ARE: Final = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"GIF8": "gif"}


@dataclass(frozen=True, slots=True)
class Hit(search.Hit):
    """An image that was found.

    Attributes
    ----------
    rank
        The place among the hits: 1 is the best.
    id
        The image's number in the job.
    image_path
        Where it is now: a path, a URL, or `ARCHIVE::NAME` for an image in an archive or a Parquet file.
    similarity
        The cosine between it and the query, at most 1; of several views that of the nearest.
    verdict
        "same bytes", "same pixels", "same picture", "similar" or "nothing above chance", where its picture was compared
        with the query's; None where it was not.
    evidence
        What "same pixels" and "same picture" rest on: the region in both, how it is turned, and matching points.
    finer
        The cosine by the finer model, where one was asked for and compared the image.
    fused
        What hits that are not proven are ordered by then: by how many standard deviations they stand above the ranks
        behind, the mean of both models.
    chance
        The measured chance, 0 to 1, that a hit which was compared and not proven shows the query's picture after all;
        None where nothing was measured, or another hit is proven.
    """

    _read: Callable[[int, str], bytes] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, hit: search.Hit, read: Callable[[int, str], bytes] | None = None) -> Self:
        """The hit of an answer, whose image `read` gives."""
        return cls(**_told(hit), _read=read)

    def read(self) -> bytes:
        """The encoded bytes of the image, from its file, archive, Parquet file or URL.

        Raises ImageError when it is no longer there or can't be read.
        """
        with extras.needed("To read an image of a Parquet file"):
            if self._read is not None:
                return self._read(self.id, self.image_path)
            return read_bytes(self.image_path, Settings().max_image_bytes)

    def image(self) -> "NDArray[np.uint8]":
        """The image as an array uint8 [h, w, 3], RGB, upright; transparent parts are put on white.

        `PIL.Image.fromarray` takes it. Raises ImageError as `read` does, or when it can't be decoded, and UsageError
        if `lookalike[worker]`, which decodes, is not installed.
        """
        with extras.needed("To decode an image"):
            from workers.images.viewing import pixels
        return pixels(self.read(), Settings().max_image_pixels)

    def __reduce__(self) -> tuple[Any, ...]:
        # A hit goes to other processes without the job that it came from.
        return Hit, tuple(_told(self).values())

    def _repr_html_(self) -> str:
        path = escape(shown_path(self.image_path))
        name = escape(shown_path(self.image_path).replace("\\", "/").rpartition("/")[2])
        return (
            f'<figure title="{path}" style="margin:0;width:{_PIXELS}px;font-size:12px;overflow-wrap:anywhere">'
            f"{_picture(self)}<figcaption>{self.rank} · {self.similarity:.4f}{self._judged()}<br>{name}</figcaption>"
            "</figure>"
        )

    def _judged(self) -> str:
        if self.verdict is None:
            return ""
        told = "" if self.evidence is None else f' title="{escape(self.evidence.description)}"'
        return f" · <b{told}>{escape(verdict_text(self.verdict, self.chance))}</b>"


def _told(hit: search.Hit) -> dict[str, Any]:
    """What an answer says of a hit, by its fields in their order."""
    return {one.name: getattr(hit, one.name) for one in fields(search.Hit)}


class Hits(list[Hit]):
    """The hits of one query, best first: a list that a notebook shows as a row of images.

    Attributes
    ----------
    searched
        How much of the job was searched: `searched.images` of `searched.listed` images, and their `searched.share`,
        which is 1.0 unless some images are not embedded yet. None if a worker of an older version answered.
    verified
        What was compared so that hits have verdicts: `verified.compared` of `verified.candidates` images. Its `reason`
        says why there are none. None where nothing was to be verified.
    refined
        What a finer model compared, `refined.compared` of `refined.candidates` images, and its fingerprint,
        `refined.model`. Its `reason` says why the hits are in no finer order. None where none was asked for.
    """

    searched: search.Searched | None
    verified: Verified | None
    refined: Refined | None

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        searched: search.Searched | None = None,
        verified: Verified | None = None,
        refined: Refined | None = None,
    ) -> None:
        super().__init__(hits)
        self.searched = searched
        self.verified = verified
        self.refined = refined

    def _repr_html_(self) -> str:
        if not self:
            return "<p>No hits.</p>"
        shown = "".join(hit._repr_html_() for hit in self[:_MOST_SHOWN])
        more = f"<p>… and {len(self) - _MOST_SHOWN:,} more.</p>" if len(self) > _MOST_SHOWN else ""
        return f'<div style="display:flex;flex-wrap:wrap;gap:12px">{shown}</div>{more}'


def _picture(hit: Hit) -> str:
    """The thumbnail of a hit as HTML, or why there is none."""
    try:
        data = hit.read()
        try:
            with extras.needed("To show an image"):
                from workers.images.viewing import thumbnail
            kind, small = "jpeg", thumbnail(data, _PIXELS, Settings().max_image_pixels)
        except LookalikeError:
            known = next((kind for start, kind in _SHOWN_AS_THEY_ARE.items() if data.startswith(start)), None)
            if known is None or len(data) > _SMALL_BYTES:
                raise
            kind, small = known, data
    except (LookalikeError, OSError) as error:
        return f"<em>{escape(str(error))}</em>"
    encoded = base64.b64encode(small).decode()
    return f'<img src="data:image/{kind};base64,{encoded}" alt="" style="max-width:100%;max-height:{_PIXELS}px">'
