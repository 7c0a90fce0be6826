"""Make a worker log one line for each event and a sentence for each expected failure, without secrets or message
bodies.

Tracebacks stay for unexpected errors. Celery and kombu write tracebacks, or pages, also for a broker that went away or
a message that they can't read.
"""

import logging
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from celery import bootsteps, signals
from celery.exceptions import InvalidTaskError
from celery.worker.consumer import consumer
from celery.worker.control import Panel
from kombu.exceptions import ContentDisallowed, DecodeError

from shared.broker.connection import CONNECTION_ERRORS, QuietConnection
from shared.broker.url import redacted
from shared.processes.outage import Outage

_LIBRARIES = ("celery", "kombu", "amqp")
_UNREADABLE = (ContentDisallowed, DecodeError, InvalidTaskError)
# Long texts of Celery and kombu, and the line instead; {0} is its first argument.
_SENTENCES = {
    consumer.UNKNOWN_TASK_ERROR: "Refused a message: it asks for an unknown task.",
    consumer.UNKNOWN_FORMAT: "Refused a message: it is not of the form that Celery sends.",
    consumer.INVALID_TASK_ERROR: "Refused a message: Celery can't read it ({0}).",
    consumer.MESSAGE_DECODE_ERROR: "Refused a message: its body can't be read ({0}).",
    "Cannot process event on channel %r: %s": "Refused a message on the channel {0}: it is no JSON.",
    "Couldn't ack %r, reason:%r": "A message could not be acknowledged ({1}); it comes back, which does no harm.",
    "Couldn't reject %r, reason: %r": "A message could not be given back ({1}); it comes back by itself.",
}
_LOST = (consumer.CONNECTION_RETRY, consumer.CONNECTION_ERROR)
# Celery's warning, with the whole traceback, when it can't store a result.
_UNSENT = re.compile(
    r"Exception raised outside body: (.*(?:ConnectionError|TimeoutError|OperationalError|OutOfMemoryError).*?):?\n"
)
_MOST = 200
_URL_SECRETS = re.compile(r"(\b[a-z+]+://)[^\s/@'\"]*@", re.IGNORECASE)

broker_outage = Outage(logging.getLogger("lookalike.worker"), "The broker does not answer")


class OneLine(logging.Filter):
    """Turns each record into the line for a worker's log; it is put on a handler, so that all loggers pass through
    it.
    """

    def __init__(self, broker_url: str | None) -> None:
        super().__init__()
        self._secrets = secrets_of(broker_url)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] in _LIBRARIES and not self._of_library(record):
            return False
        text = record.getMessage()
        if record.name == "py.warnings":
            # At each lost connection Celery warns of a setting of a later version.
            if "CPendingDeprecationWarning" in text:
                return False
            if lost := _UNSENT.search(text):
                text = f"A reply could not be sent, as the broker does not answer ({lost[1]}); its client asks again."
        record.msg, record.args = self.hidden(one_line(text)), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.hidden(record.exc_text)
        return True

    def _of_library(self, record: logging.LogRecord) -> bool:
        """Shorten a record of Celery or kombu; False when it is logged elsewhere or was logged before."""
        error = record.exc_info[1] if record.exc_info else None
        first = record.args[0] if isinstance(record.args, tuple) and record.args else ""
        if record.msg in _LOST or first in _LOST:
            broker_outage.began(bounded(record.args[1] if isinstance(record.args, tuple) else ""))
            return False
        if isinstance(error, CONNECTION_ERRORS) and str(record.msg).startswith("Error in timer"):
            return False  # kombu sweeps every second; the code that needs the result reports its failure.
        if record.msg in _SENTENCES:
            values = record.args if isinstance(record.args, tuple) else ()
            record.msg, record.args = "%s", (_SENTENCES[record.msg].format(*map(bounded, values)),)
            record.exc_info = record.exc_text = None
        if isinstance(record.args, dict):
            if record.args.get("description") == "rejected":  # The code that rejected the message has said why.
                return False
            if "name" in record.args and "args" in record.args:  # Received, succeeded, failed: of which partition?
                record.msg, record.args = "%s", (f"{bounded(record.args['args'])}: {record.getMessage()}",)
        if isinstance(error, (*CONNECTION_ERRORS, *_UNREADABLE)):
            record.exc_info = record.exc_text = None
        return True

    def hidden(self, text: str) -> str:
        for secret in self._secrets:
            # The scheme of an address is not a secret, though it may read the same.
            text = re.sub(rf"{re.escape(secret)}(?![a-z+]*://)", "**", text)
        return _URL_SECRETS.sub(r"\1**@", text)


def secrets_of(url: str | None) -> list[str]:
    """The secrets of a broker's URL: user, password, each option's value; as typed and decoded.

    Texts of up to three characters are left out: hiding them would garble every line.
    """
    try:
        parts = urlsplit(url or "")
        found = [parts.username or "", parts.password or ""]
    except ValueError:
        return []
    found += [option.partition("=")[2] for option in parts.query.split("&") if "password" in option or "user" in option]
    return sorted({text for secret in found for text in (secret, unquote(secret)) if len(text) > 3}, key=len)[::-1]


def one_line(text: str) -> str:
    """`text` without line breaks, its control characters escaped."""
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in " ".join(text.split("\n")).rstrip())


def _escaped(sign: str) -> str:
    return sign if "\udc80" <= sign <= "\udcff" else sign.encode("unicode_escape").decode()


def bounded(value: object) -> str:
    """A foreign value, shortened for quoting in a line."""
    text = one_line(str(value))
    return text if len(text) <= _MOST else f"{text[:_MOST]} …"


class BrokerSeen(bootsteps.StartStopStep):  # type: ignore[misc]
    """Logs that the broker is back, and hides its user from Flower's page of a worker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        broker_outage.over()

    def info(self, parent: Any) -> dict[str, Any]:
        connection: QuietConnection = parent.connection
        return {"broker": {"uri": connection.as_uri(), "transport": connection.transport_cls}}


def _without_users(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: redacted(value) if isinstance(value, str) and "://" in value else value for key, value in table.items()
    }


def install(broker_url: str | None) -> None:
    """Make every handler that Celery sets up in this process one of lines; call before the worker starts."""
    line = OneLine(broker_url)

    def on_handlers(logger: logging.Logger, **_: Any) -> None:
        for handler in logger.handlers:
            handler.addFilter(line)

    # `celery inspect conf` and Flower show this of a worker: Celery hides the password in an address, not the user.
    shown = Panel.data["conf"]
    Panel.data["conf"] = lambda state, **options: _without_users(shown(state, **options))
    for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
        signal.connect(on_handlers, weak=False)
