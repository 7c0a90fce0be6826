"""The JSON schemas of what operations answer, and of problems (pure)."""

from typing import Any, Final

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_NUMBER: Final = {"type": "number"}


def _object(what: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "description": what, "properties": properties, "required": list(required)}


def _described(schema: dict[str, Any], what: str) -> dict[str, Any]:
    return schema | {"description": what}


HIT: Final = _object(
    "An image that was found.",
    ("rank", "id", "image_path", "similarity", "image", "thumbnail", "file"),
    rank=_described({"type": "integer", "minimum": 1}, "The place among the hits."),
    id=_described(_COUNT, "The image id."),
    image_path=_described(_TEXT, "Where the image is, as the query worker sees it."),
    similarity=_described(_NUMBER, "The cosine between it and the query, at most 1."),
    verdict=_described(_TEXT, "same bytes, same pixels, same picture or similar, where it was compared."),
    evidence=_object("What the verdict rests on: the transform, the region in both, matching points."),
    description=_described(_TEXT, "The evidence in words."),
    image=_described(_TEXT, "The path of the image in this API."),
    thumbnail=_described(_TEXT, "The path of a thumbnail."),
    file=_described(_TEXT, "The path of its file."),
)
FOUND: Final[dict[str, Any]] = {
    "query": _described(_TEXT, "What was searched for: image, vector, an image id or a URL."),
    "hits": {"type": "array", "items": HIT, "description": "Best first; fewer than k where the job has no more."},
    "milliseconds": _described(_NUMBER, "The time that the query worker took."),
    "searched": _object(
        "How much of the job was searched.",
        ("images", "listed", "share"),
        images=_COUNT,
        listed=_COUNT,
        share=_described(_NUMBER, "1 where all images were."),
    ),
    "verified": _object("What was compared so that hits have verdicts, or the reason why none has one."),
    "answered_by": _object("The worker that answered, and the job as it sees it.", worker=_TEXT, job=_TEXT),
    "left_out": _described(_COUNT, "Hits that min_similarity left out."),
}
JOBS: Final[dict[str, Any]] = {
    "jobs": {
        "type": "array",
        "description": "The jobs, by their ids.",
        "items": _object("A job.", ("id", "path"), id=_TEXT, path=_described(_TEXT, "Its path in this API.")),
    },
    "next": {"type": ["string", "null"], "description": "The cursor of the next page; null on the last one."},
}
DESCRIBED: Final[dict[str, Any]] = {
    "id": _TEXT,
    "model": _described(_TEXT, "The model that embeds the images."),
    "fusion": {"type": ["string", "null"], "description": "What came of trying fusion; null where it was not tried."},
    "urls": {"type": "boolean", "description": "Whether a search may name an image by its URL."},
    "columns": {
        "type": "array",
        "description": "The columns of the metadata that `where` can name.",
        "items": _object("A column.", ("name", "type"), name=_TEXT, type=_described(_TEXT, "number, text or another.")),
    },
    "failed": {
        "type": "array",
        "description": "Failed images by status, the most first.",
        "items": _object(
            "A status.",
            ("status", "images", "example"),
            status=_TEXT,
            images=_COUNT,
            example=_object("One of them.", ("id", "image_path", "reason"), id=_COUNT, image_path=_TEXT, reason=_TEXT),
        ),
    },
    "index": {
        "type": ["object", "null"],
        "description": "The index that serves: its size, recall@10 and milliseconds as they were measured when it was "
        "built, `sweep` at several widths, `accuracy_at_10` of altered copies, `verdicts` and `chances` of its "
        "calibration, and `evaluation`, what was measured of it later; null before the first.",
    },
}
DECISIONS: Final[dict[str, Any]] = {
    "kept": {
        "type": "array",
        "description": "Groups of duplicates, and the image of each that is to be kept.",
        "items": _object("A group.", ("keep", "images"), keep=_COUNT, images={"type": "array", "items": _COUNT}),
    },
}
DECIDED: Final[dict[str, Any]] = {"new": _COUNT}
STATUS: Final[dict[str, Any]] = {
    "job": _described(_TEXT, "The directory or URL of the job."),
    "listed": _described(_COUNT, "Images."),
    "embedded": _described(_COUNT, "Images that have an embedding."),
    "failed": _described(_COUNT, "Images that could not be read or decoded."),
    "pending": _described(_COUNT, "Images that are left."),
    "index": {"type": ["object", "null"], "description": "The index that serves; null before the first."},
    "broker": _object("Who works on the job, as the broker knows it."),
}
IMAGE: Final[dict[str, Any]] = {
    "id": _described(_COUNT, "The image id."),
    "image_path": _described(_TEXT, "Where the image is."),
    "status": _described(_TEXT, "embedded, not sealed yet, removed, or what is wrong with it in a word."),
    "links": _object("The paths of the image in this API.", image=_TEXT, thumbnail=_TEXT, file=_TEXT),
}
ADDED: Final[dict[str, Any]] = {
    "ids": {"type": "array", "items": _COUNT, "description": "The ids of the images, in the order of the form."},
    "images": {"type": "array", "items": _TEXT, "description": "Their paths in this API."},
}
REMOVED: Final[dict[str, Any]] = {"removed": _described(_COUNT, "The id that no answer names any more.")}
DUPLICATES: Final[dict[str, Any]] = {
    "kind": _described(_TEXT, "What the images of a group have in common."),
    "images": _described(_COUNT, "How many images were looked at."),
    "notes": {"type": "array", "items": _TEXT, "description": "What is not in the answer."},
    "count": _described(_COUNT, "How many groups there are."),
    "groups": {
        "type": "array",
        "description": "The groups of this page, the largest first.",
        "items": _object("Images of which one is enough.", ("keep", "reason", "images"), keep=_COUNT, reason=_TEXT),
    },
    "next": JOBS["next"],
}

PROBLEM: Final = _object(
    "Why a request was not answered (RFC 9457).",
    ("type", "title", "status", "detail", "kind", "request_id"),
    type=_described(_TEXT, "A reference to the explanation of the kind."),
    title=_described(_TEXT, "The words of the status."),
    status={"type": "integer"},
    detail=_described(_TEXT, "A sentence: what was found, what was expected, what to do."),
    kind=_described(_TEXT, "The name of the error, as in lookalike.errors, or of the status."),
    request_id=_described(_TEXT, "The id of the request in the log of the server."),
    image_status=_described(_TEXT, "What is wrong with an image, in a word."),
    remedy=_object("What mends it: an action of lookalike, its job and its options."),
)
