"""The log: one line a fact, in the site's language, with its key and facts for machines.

It goes to standard error; under systemd the journal stamps, keeps and bounds it.
"""

from __future__ import annotations

import logging
import os
import re
import sys

from gateway.words import preferred, translate

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_log = logging.getLogger("linli")
_language = preferred()


def setup(language: str) -> None:
    """Send the log to standard error; with the priority in front where systemd's journal reads it."""
    global _language  # noqa: PLW0603
    _language = language
    under_systemd = "JOURNAL_STREAM" in os.environ
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s" if under_systemd else "%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    _log.setLevel(logging.INFO)


def language() -> str:
    """That of the log."""
    return _language


def log_event(level: int, key: str, /, **facts: object) -> None:
    """Log the sentence `log.key`, in words and as `key=… name=value`."""
    said = " ".join((key, *(f"{name}={str(value)!r}" for name, value in facts.items())))
    # What a stranger wrote may neither begin a line of its own nor move the cursor.
    sentence = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", translate(_language, f"log.{key}", **facts))
    _log.log(level, "%s  [%s]", sentence, said)


def error_text(key: str, **facts: object) -> str:
    """The sentence of an error, for use inside another."""
    return translate(_language, f"error.{key}", **facts)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if "JOURNAL_STREAM" in os.environ:
            return f"<{_PRIORITY.get(record.levelno, 6)}>{text}"
        return text
