"""What `linli check` says of a site file that can be loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gateway.config import Mistake, Site, inspect_site
from gateway.model import ConfigError
from gateway.uplink.declarative.inspection import inspect_dialect
from gateway.web.access import read_key
from gateway.web.certificates import Pair, check_pair


def site_mistakes(file: Path, site: Site) -> list[Mistake]:
    """What should be corrected although the gateway would start with it."""
    in_dialects = (mistake for dialect in site.dialects.values() for mistake in inspect_dialect(dialect))
    return [*inspect_site(file, site, _dashboard_errors(site)), *in_dialects]


def _dashboard_errors(site: Site) -> Iterator[tuple[tuple[str, ...], ConfigError]]:
    """What the dashboard would find; it makes the key itself if there is none."""
    file = site.dashboard.access
    if os.path.lexists(file) and not os.path.isdir(file):
        try:
            read_key(file)
        except ConfigError as error:
            yield ("dashboard", "access"), error
    certificate, key = site.dashboard.certificate_file, site.dashboard.private_key_file
    if certificate and key:
        try:
            check_pair(Pair(certificate, key))
        except ConfigError as error:
            yield ("dashboard", "certificate_file"), error
