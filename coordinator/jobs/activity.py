"""Ask the broker who works on a job, for its messages and for its troubles, within two seconds or not at all."""

import threading
from dataclasses import dataclass, field, replace
from typing import Any

from coordinator.local.broker import EmbeddedBroker
from shared.broker import lease
from shared.broker.connection import CONNECTION_ERRORS, connect
from shared.broker.holders import announced
from shared.broker.lease import Holder
from shared.broker.queues import queued_messages
from shared.broker.troubles import Trouble, reported_troubles
from shared.broker.url import redacted, without_secrets
from shared.errors import LookalikeError
from shared.job.directory import JobDir
from shared.job.identity import known_as
from shared.messages.tasks import EMBED_QUEUE, MERGE_QUEUE, QUERY_QUEUE, SHARDS_QUEUE
from shared.settings import Settings

# A person waits for `status`, so a broker that hangs must not make it slow.
ASK_SECONDS = 2.0
# The last two are for an option that redis-py refuses.
_FAILURES: tuple[type[Exception], ...] = (*CONNECTION_ERRORS, OSError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Activity:
    """Which worker holds what of a job, how many messages wait for one, and what workers reported in the last minute.

    `error` says why nothing is known, and is None when the broker answered. `queries` is what the query workers hold of
    each index, of any job: "all", or the shards of each group, such as "0-3".
    """

    holders: list[Holder] = field(default_factory=list)
    waiting: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    error: str | None = None
    queries: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "reachable": self.error is None,
            "holders": [{"worker": holder.owner, "what": holder.what} for holder in self.holders],
            "waiting": self.waiting,
            "troubles": [
                {"worker": trouble.owner, "sentence": trouble.sentence, "times": trouble.times}
                | ({} if trouble.remedy is None else {"remedy": trouble.remedy.to_json()})
                for trouble in self.troubles
            ],
            "queries": self.queries,
            "error": self.error,
        }


def look(job: JobDir, identity: str, settings: Settings) -> Activity:
    """Ask the broker of `settings`, or the embedded one of the job's root if that is up; none is started.

    The answer is about the job of that `identity`, not about another one of its name.

    It waits at most ASK_SECONDS for anything that hangs, also for a name server.
    """
    answers: list[Activity] = []
    asking = threading.Thread(
        target=lambda: answers.append(_ask(job, identity, settings)), name="ask the broker", daemon=True
    )
    asking.start()
    asking.join(ASK_SECONDS)
    return answers[0] if answers else Activity(error=f"{_named(settings)} gave no answer within {ASK_SECONDS:g} s")


def _ask(job: JobDir, identity: str, settings: Settings) -> Activity:
    try:
        if settings.broker_url:
            return _asked(job, identity, settings)
        with EmbeddedBroker(job.jobs_root, start=False) as broker:
            return _asked(job, identity, settings.changed(broker_url=broker.url))
    except LookalikeError as error:
        return Activity(error=str(error).rstrip("."))
    except _FAILURES as error:
        return Activity(
            error=without_secrets(
                f"{_named(settings)}: {str(error).rstrip('.') or type(error).__name__}", settings.broker_url
            )
        )


def _asked(job: JobDir, identity: str, settings: Settings) -> Activity:
    name = known_as(job.job_id, identity)
    with connect(settings) as client:
        messages = [table for queue in (EMBED_QUEUE, MERGE_QUEUE) for table in queued_messages(client, queue)]
        return Activity(
            holders=lease.holders(client, name),
            queries=[_held(queue) for queue in announced(client)],
            waiting=sum(
                isinstance(table, dict) and (table.get("job"), table.get("identity")) == (job.job_id, identity)
                for table in messages
            ),
            troubles=[
                replace(
                    trouble,
                    sentence=without_secrets(trouble.sentence, settings.broker_url),
                    found=without_secrets(trouble.found, settings.broker_url),
                )
                for trouble in reported_troubles(client, name)
            ],
        )


def _held(queue: str) -> str:
    """What the workers of a queue of queries hold: "all", or "0-3"."""
    return "all" if queue == QUERY_QUEUE else queue.removeprefix(SHARDS_QUEUE)


def _named(settings: Settings) -> str:
    return redacted(settings.broker_url) if settings.broker_url else "the embedded broker"
