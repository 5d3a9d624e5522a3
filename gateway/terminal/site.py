"""The site file that a command uses."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.config import Site
from gateway.config.adoption import choose_configuration
from gateway.words import preferred_language

from .printing import cli_text

DEFAULT_SITE = Path("/etc/linli/site.toml")


def add_site_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--config`, the site file."""
    parser.add_argument("--config", type=Path, default=DEFAULT_SITE, help=cli_text("site-file"))


def load_running_site(options: argparse.Namespace) -> Site:
    """The site that `linli run` would start with; mistakes of the file are printed. Raises `Mistakes`."""

    choice = choose_configuration(options.config)
    for mistake in choice.refused:
        print(mistake.text(preferred_language()), file=sys.stderr)
    if choice.refused:
        print(cli_text("last-good"), file=sys.stderr)
    return choice.site
