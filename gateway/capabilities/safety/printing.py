"""The test log as a page for the printer."""

from __future__ import annotations

import functools
from pathlib import Path

from gateway.config import Site, localized
from gateway.web.templating import environment
from gateway.words import translate

from .testlog import PeriodLog, log_names, log_tables


def printed_log(log: PeriodLog, site: Site, language: str) -> str:
    """The log as one HTML file."""
    word = functools.partial(_word, language)
    title = word("title", month=log.period, centre=localized(site.centre.title)[language])
    template = environment({"safety": Path(__file__).parent}).get_template("safety/testlog.html")
    return template.render(
        lang=language,
        title=title,
        word=word,
        tables=log_tables(log, log_names(site), language),
        undated=log.undated,
    )


def _word(language: str, key: str, /, **facts: object) -> str:
    return translate(language, f"testlog.{key}", **facts)
