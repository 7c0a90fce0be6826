"""Troubles in Redis: why the workers of a job could not do what they were asked, for its coordinator to tell."""

import json
import logging
from dataclasses import dataclass

import redis

from shared.errors import LookalikeError, error_from_json, error_to_json
from shared.errors.remedy import Remedy

log = logging.getLogger("lookalike.trouble")

_TROUBLE = "lookalike:trouble"
_TROUBLE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a worker could not do its task, and how often it has said so with no minute of silence between.

    If it reported a `remedy`, `sentence` ends with it in plain words, and `found` is the sentence without it.
    """

    owner: str
    sentence: str
    times: int
    found: str = ""
    remedy: Remedy | None = None

    @property
    def error(self) -> LookalikeError:
        """The error that the worker met, of which only the sentence and the remedy are known."""
        return LookalikeError(self.found or self.sentence, remedy=self.remedy)


def report_trouble(client: redis.Redis, job: str, owner: str, trouble: Exception | str) -> None:
    """Tell the job's coordinator why this worker can't do its task; forgotten a minute after the last."""
    sentences, counts, errors = keys = _trouble_keys(job)
    try:
        pipeline = client.pipeline()
        pipeline.hset(sentences, owner, str(trouble))
        pipeline.hincrby(counts, owner, 1)
        if isinstance(trouble, LookalikeError) and trouble.remedy is not None:
            pipeline.hset(errors, owner, json.dumps(error_to_json(trouble)))
        for key in keys:
            pipeline.expire(key, _TROUBLE_SECONDS)
        pipeline.execute()
    except redis.exceptions.RedisError as error:
        log.warning("%s: its coordinator could not be told of the trouble (%s).", job, error)


def reported_troubles(client: redis.Redis, job: str) -> list[Trouble]:
    """What the workers of a job have reported in the last minute, by worker."""
    found: dict[str, Trouble] = {}
    for name in _names(job):
        sentences, counts, errors = map(client.hgetall, _trouble_keys(name))
        for owner, sentence in sentences.items():
            facts, remedy = _told(errors.get(owner), str(sentence))
            found[str(owner)] = Trouble(str(owner), str(sentence), int(counts.get(owner, 1)), facts, remedy)
    return [found[owner] for owner in sorted(found)]


def _told(error: str | bytes | None, sentence: str) -> tuple[str, Remedy | None]:
    """The facts and the remedy of a trouble; none if the worker has since reported another trouble without a remedy."""
    try:
        table = {} if error is None else json.loads(error)
        told = error_from_json(table) if table and table["message"] == sentence else None
    except (ValueError, KeyError, TypeError):
        told = None
    return ("", None) if told is None or told.remedy is None else (told.found, told.remedy)


def clear_troubles(client: redis.Redis, job: str) -> None:
    """Forget what workers reported, as a new run does at its start."""
    client.delete(*(key for name in _names(job) for key in _trouble_keys(name)))


def _names(job: str) -> list[str]:
    """The names under which troubles of a job may be reported: a worker that can't read a message may know only the
    job's name.
    """
    return list(dict.fromkeys((job.partition(":")[0], job)))


def _trouble_keys(job: str) -> tuple[str, str, str]:
    return f"{_TROUBLE}:{job}", f"{_TROUBLE}-times:{job}", f"{_TROUBLE}-errors:{job}"
