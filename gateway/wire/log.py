"""The log, for what a driver has to tell beside its readings and failures."""

from __future__ import annotations

import logging

from gateway.base.log import log_event


def log_warning(key: str, /, **facts: object) -> None:
    """Log the sentence `log.<key>`. The driver sees to it that it is told once, not with every message."""
    log_event(logging.WARNING, key, **facts)
