"""The log: one line per event, a sentence in the site's language followed by its key and facts for
machines.

It is written to standard error; under systemd the journal adds the time, and stores and limits it.
"""

from __future__ import annotations

import logging
import os
import re
import sys

from gateway.model import as_fact
from gateway.words import preferred_language, translate

from .log_limit import LogLimit

_SYSLOG_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_logger = logging.getLogger("linli")
_language = preferred_language()
MAX_LINE_CHARACTERS = 4000
"""A longer message or traceback is cut."""
SOURCE_FACTS = ("device", "bus", "address", "topic")
"""Facts that tell where a message comes from."""


def setup_logging(language: str) -> None:
    """Write the log to standard error; with a priority prefix for systemd's journal."""
    global _language  # noqa: PLW0603
    _language = language
    under_systemd = "JOURNAL_STREAM" in os.environ
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s" if under_systemd else "%(asctime)s %(message)s"))
    handler.addFilter(_limit)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    _logger.setLevel(logging.INFO)


def language() -> str:
    """The language of the log."""
    return _language


def log_event(level: int, key: str, /, **facts: object) -> None:
    """Log the sentence `log.<key>`, followed by the key and `name=value` for each fact."""
    facts = {name: as_fact(value) for name, value in facts.items()}
    plain = " ".join((key, *(f"{name}={_plain_text(value)!r}" for name, value in facts.items())))
    # Text from outside must not start a new line or move the cursor.
    sentence = _CONTROL_CHARACTERS.sub(
        "\N{REPLACEMENT CHARACTER}", translate(_language, f"log.{key}", **facts)
    )
    source = next((str(facts[name]) for name in SOURCE_FACTS if name in facts), plain)
    _logger.log(level, "%s  [%s]", sentence, plain, extra={"kind": key, "source": source})


def report_held_back() -> None:
    """Log how many messages of each kind were held back, if any. To be called now and then."""
    _limit.report()


def _log_held_back(kind: str, count: int) -> None:
    log_event(logging.WARNING, "log-limited", kind=kind, count=count)


_limit = LogLimit(_log_held_back)


def _plain_text(value: object) -> str:
    """A fact for machines: of a sentence its key, without the table, and facts."""
    if isinstance(value, dict) and "sentence" in value:
        facts = (f"{name}={_plain_text(each)}" for name, each in value["facts"].items())
        return " ".join((value["sentence"].partition(".")[2], *facts))
    return str(value)


def error_text(key: str, **facts: object) -> str:
    """The sentence `error.<key>`, for use inside another."""
    return translate(_language, f"error.{key}", **facts)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if len(text) > MAX_LINE_CHARACTERS:
            # The beginning tells what it is, and the end of a traceback why.
            text = f"{text[: MAX_LINE_CHARACTERS // 2]} … {text[-MAX_LINE_CHARACTERS // 2 :]}"
        if "JOURNAL_STREAM" in os.environ:
            return f"<{_SYSLOG_PRIORITIES.get(record.levelno, 6)}>{text}"
        return text
