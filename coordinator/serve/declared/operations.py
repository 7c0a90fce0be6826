"""All operations of the HTTP API, in the order of its pages."""

from typing import Final

from coordinator.serve.declared import answers
from coordinator.serve.declared.duplicates import DUPLICATES
from coordinator.serve.declared.fields import (
    BOOLEAN,
    FILE,
    INTEGER,
    INTEGERS,
    NUMBER,
    NUMBERS,
    OBJECT,
    PAGE,
    TEXT,
    Field,
)
from coordinator.serve.declared.operation import BYTES, EVENTS, HTML, JPEG, JSON, PLAIN, READ, WRITE, Operation, Reply
from shared.messages.filter import MAX_IDS, MAX_WHERE
from shared.messages.search import MAX_K
from shared.messages.verified import AUTO, MAX_VIEWS, VERIFY

PATH_FIELDS: Final = {
    "job": Field("job", TEXT, "The id of the job: the name of its directory."),
    "id": Field("id", INTEGER, "The image id, as hits have it.", least=0),
}
"""What is in braces in paths."""

SEARCH_FIELDS: Final = (
    Field("k", INTEGER, "How many hits.", 10, 1, MAX_K),
    Field("where", TEXT, 'Only images for whose metadata this SQL expression is true: "width >= 1000".', None, 1,
          MAX_WHERE),
    Field("ids", INTEGERS, "Only these image ids; not with where.", None, 1, MAX_IDS),
    Field("exact", BOOLEAN, "Compare with every embedding, without the index.", False),
    Field("min_similarity", NUMBER, "Leave out hits that are less similar, unless they are proven to show the same.",
          None, -1, 1),
    Field("verify", TEXT, "Compare the pictures of the nearest images with the query's; auto: where one is near "
          "enough for doubt.", AUTO, choices=VERIFY),
    Field("views", INTEGER, "Search for the image and for parts of it, so many together.", 1, 1, MAX_VIEWS),
    Field("partial", BOOLEAN, "Answer also where no worker holds some shards of the index, and say which.", False),
)  # fmt: skip
QUERY_FIELDS: Final = (
    Field("vector", NUMBERS, "A vector of the job's model.", None, 1, 65_536),
    Field("image_id", INTEGER, "An image of the job itself.", None, 0),
    Field("url", TEXT, "The public http or https URL of an image, where the server allows it.", None, 8, 2_048),
)
IMAGE: Final = Field("image", FILE, "The encoded image.", required=True)
SEARCH_PARTS: Final = (IMAGE, *SEARCH_FIELDS)
SIDES: Final = ("64", "128", "256", "512", "1024")
"""The sizes that thumbnails are made in: any other would fill the cache with much the same."""
MOST_UPLOADS: Final = 64
ADD_PARTS: Final = (
    Field("image", FILE, f"The encoded image; up to {MOST_UPLOADS} of them.", required=True),
    Field("metadata", OBJECT, "The values of each image by the columns of the job's metadata."),
    Field("request", TEXT, "A name for this request, which is done once however often it comes.", None, 1, 100),
)
_VERSION: Final = Field(
    "v", TEXT, "The version in the links of hits: with it the answer can be kept for ever.", None, 16, 16
)
_OF_IMAGES: Final = {
    409: "The image has no embedding, or the job does not know its bytes.",
    410: "The image was removed, is not there any more, or another one is in its place.",
}
_NO_INDEX: Final = "Nothing of the job is embedded yet, or the job changed under the server: ask again."

OPERATIONS: Final = (
    Operation(
        "search",
        "POST",
        "/v1/jobs/{job}/search",
        "Find the images of a job that are most like a query.",
        READ,
        Reply("The hits, as the command line gives them as JSON.", properties=answers.FOUND,
              required=("query", "hits", "milliseconds")),
        "The query is an upload, `image` of a form, or one of `vector`, `image_id` and `url` of a JSON object. A "
        "client that goes away takes its query back: a worker that has not begun it leaves it alone.",
        json=(*QUERY_FIELDS, *SEARCH_FIELDS),
        parts=SEARCH_PARTS,
        refuses={
            403: "URLs are not allowed here.",
            409: _NO_INDEX,
            413: "The image or the body is larger than is read.",
            415: "The body is neither a form nor JSON, or the image is none.",
            422: "A field is not right, the image can't be decoded, or the vector does not fit.",
            429: "Too many searches wait already.",
            503: "The broker or the query worker is away, or starting.",
            504: "The answer did not come in time.",
        },
    ),
    Operation(
        "list_jobs",
        "GET",
        "/v1/jobs",
        "List the jobs that are served.",
        READ,
        Reply("A page of the list.", properties=answers.JOBS, required=("jobs", "next")),
        query=PAGE,
    ),
    Operation(
        "describe_job",
        "GET",
        "/v1/jobs/{job}",
        "Describe a job: the columns to filter by, failed images by reason, and its index.",
        READ,
        Reply("The job.", properties=answers.DESCRIBED, required=("id", "model", "columns", "failed", "index")),
    ),
    Operation(
        "job_status",
        "GET",
        "/v1/jobs/{job}/status",
        "Say how far a job is, and who works on it.",
        READ,
        Reply("What the command line says of it as JSON.", properties=answers.STATUS,
              required=("job", "listed", "embedded", "failed", "pending", "broker")),
    ),
    Operation(
        "job_events",
        "GET",
        "/v1/jobs/{job}/events",
        "Tell how far a job is, now and whenever that changed.",
        READ,
        Reply("Events `progress`, each with a status without its broker; `problem` before it ends by itself.",
              media_type=EVENTS),
        "The stream ends when the client or the server does.",
        refuses={429: "Too many streams are open."},
    ),
    *DUPLICATES,
    Operation(
        "image",
        "GET",
        "/v1/jobs/{job}/images/{id}",
        "Say what the job knows of an image.",
        READ,
        Reply("Its row, with the columns of the metadata.", properties=answers.IMAGE, required=("id", "links")),
    ),
    Operation(
        "thumbnail",
        "GET",
        "/v1/jobs/{job}/images/{id}/thumbnail",
        "Give a small JPEG of an image.",
        READ,
        Reply("The thumbnail, with a strong ETag.", media_type=JPEG),
        "A query worker makes it, and the server keeps it on disk, up to `thumbnail_cache_bytes`.",
        query=(Field("w", TEXT, "Pixels of its longer side at most.", "256", choices=SIDES), _VERSION),
        refuses=_OF_IMAGES | {429: "Too many thumbnails are being made.", 503: "No query worker makes it now."},
    ),
    Operation(
        "file",
        "GET",
        "/v1/jobs/{job}/images/{id}/file",
        "Give the file of an image, or the range of it that the header Range names.",
        READ,
        Reply("The bytes that were embedded, with a strong ETag; 206 for a range.", media_type=BYTES),
        "The type is that of the image, if browsers show it.",
        query=(_VERSION,),
        refuses=_OF_IMAGES | {416: "The range is beyond the file."},
    ),
    Operation(
        "add_images",
        "POST",
        "/v1/jobs/{job}/images",
        "Add uploads to the job, all or none.",
        WRITE,
        Reply("Their ids; searches find them from now on.", 201, properties=answers.ADDED, required=("ids", "images")),
        "The job holds them itself. A server with a broker of its own embeds them in a process that loads the model "
        "each time; otherwise an embed worker does.",
        parts=ADD_PARTS,
        refuses={
            409: "The job has such an image already, or can't be changed.",
            413: "The uploads are larger than is read.",
            415: "The body is no form, or a file is no image.",
            422: "An image can't be embedded, or a column is not one of the job.",
            503: "Another process changes the job, or no embed worker is there.",
            504: "It was not made in time, and may still be: the same `request` says so.",
        },
    ),
    Operation(
        "delete_image",
        "DELETE",
        "/v1/jobs/{job}/images/{id}",
        "Remove an image from all answers, at once and for good; its file stays.",
        WRITE,
        Reply("It is removed.", properties=answers.REMOVED, required=("removed",)),
        refuses={
            409: "The job can't be changed, or this server may not write to it.",
            410: "It was removed before.",
            503: "Another process changes the job.",
        },
    ),
    Operation(
        "health",
        "GET",
        "/healthz",
        "Say that the server runs.",
        None,
        Reply("It runs.", properties={"status": {"const": "ok"}}, required=("status",)),
        "It asks nobody, so it answers at once.",
    ),
    Operation(
        "ready",
        "GET",
        "/readyz",
        "Say whether searches would be answered.",
        None,
        Reply("A query worker is there.", properties={"status": {"const": "ready"}}, required=("status",)),
        refuses={503: "The broker does not answer, or no query worker has said that it is there."},
    ),
    Operation("metrics", "GET", "/metrics", "Count what the server does, for Prometheus.", READ,
              Reply("Answers by operation and status, their seconds, searches under way.", media_type=PLAIN)),
    Operation("openapi", "GET", "/openapi.json", "Describe this API for programs.", None,
              Reply("OpenAPI 3.1.", media_type=JSON)),
    Operation("docs", "GET", "/docs", "Describe this API for people.", None, Reply("A page.", media_type=HTML)),
    Operation("style", "GET", "/style.css", "The style of the pages.", None,
              Reply("A style sheet.", media_type="text/css")),
    Operation("home", "GET", "/", "The page: search, compare, and watch a job.", None,
              Reply("A page.", media_type=HTML), "Its files, below /page/, hold nothing of any job."),
)  # fmt: skip
"""Each has its function in `coordinator.serve.endpoints`, under its name."""

EVERYWHERE: Final = {
    400: "The request is malformed, or its Host is not one that this server answers for.",
    401: "A key is needed, and none came, or an unknown one.",
    403: "The key is not good for this, or another site's page sent the request.",
    404: "There is no such path, job or image.",
    405: "The path has no such method.",
    408: "The body did not come in time.",
    422: "A field is not one that there is, comes twice, or has a value that it can't have.",
    500: "The server or a file of the job is broken; the log says more.",
    503: "The server was told to end before this was done.",
}
"""Statuses of problems that any operation can have, and when they come."""
