"""Say an error over HTTP: its status, and the problem+json (RFC 9457) that carries its sentence."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import JSONResponse

from shared import errors
from shared.errors import ImageError, LookalikeError, StoreError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2
"""What Retry-After says where waiting may help, unless the error knows better."""

STATUS: Final[Mapping[type[LookalikeError], int]] = {
    LookalikeError: 500,
    errors.UsageError: 422,
    errors.SettingsError: 500,
    errors.SourceError: 422,
    errors.ImageError: 422,
    errors.ModelError: 500,
    errors.JobError: 409,
    errors.JobNotFound: 404,
    errors.JobBusy: 503,
    errors.CorruptFile: 500,
    errors.PackError: 500,
    errors.QueryError: 422,
    errors.MessageError: 502,
    errors.StoreError: 503,
    errors.BrokerError: 503,
    errors.ReplyTimeout: 504,
}
"""The status of each class of errors; a class that is not here has that of the class above it."""
_OF_IMAGES: Final = {"oversized": 413, "not-an-image": 415}
_WAITING_HELPS: Final = frozenset({429, 503, 504})


class Refused(Exception):
    """What this server refuses by itself, with a status that no error of the tree has; `str` is a whole sentence."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class ClientGone(Exception):
    """The client went away before its answer: nobody reads this."""


def status_of(error: LookalikeError) -> int:
    """The HTTP status of an error of the tree."""
    if isinstance(error, ImageError) and error.status in _OF_IMAGES:
        return _OF_IMAGES[error.status]
    if isinstance(error, StoreError) and error.refused:
        return 500
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(error: LookalikeError, request_id: str, status: int | None = None) -> JSONResponse:
    """The answer that says an error. `status` is that of a caller who knows what the error is about."""
    more: dict[str, Any] = {"image_status": error.status} if isinstance(error, ImageError) else {}
    if error.remedy is not None:
        more["remedy"] = error.remedy.to_json()
    return _problem(type(error).__name__, status or status_of(error), str(error), request_id, more, {})


def kind_of(status: int) -> str:
    """The kind of a problem that this server has by itself."""
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")


def refusal(error: Refused, request_id: str) -> JSONResponse:
    """The answer that says what this server refuses."""
    return _problem(kind_of(error.status), error.status, str(error), request_id, {}, error.headers)


def _problem(
    kind: str, status: int, detail: str, request_id: str, more: Mapping[str, Any], headers: Mapping[str, str]
) -> JSONResponse:
    table = {
        "type": f"/docs#{kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "kind": kind,
        "request_id": request_id,
    }
    waiting = {"Retry-After": str(RETRY_SECONDS)} if status in _WAITING_HELPS else {}
    return JSONResponse(table | dict(more), status, waiting | dict(headers), MEDIA_TYPE)


def kinds() -> dict[str, tuple[int, str]]:
    """The kinds of problems that are errors of the tree, each with its status and what it is."""

    def below(kind: type[LookalikeError]) -> list[type[LookalikeError]]:
        return [kind, *(one for child in kind.__subclasses__() for one in below(child))]

    known = [kind for kind in below(LookalikeError) if kind.__module__ == errors.__name__]
    return {
        kind.__name__: (
            next(STATUS[one] for one in kind.__mro__ if one in STATUS),
            " ".join((kind.__doc__ or "").split("\n\n")[0].split()),
        )
        for kind in known
    }
