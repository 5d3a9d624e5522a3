"""Finding and rendering templates. The only file that uses Jinja2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2
from markupsafe import Markup

KIT_FOLDER = Path(__file__).parent

__all__ = ["KIT_FOLDER", "Markup", "environment"]


def environment(folders: Mapping[str, Path]) -> jinja2.Environment:
    """Templates of the kit by file name, those in `templates` of a part's folder as `part/file`. `folders`:
    by part."""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.FileSystemLoader(KIT_FOLDER / "templates"),
                jinja2.PrefixLoader(
                    {
                        name: jinja2.FileSystemLoader(folder / "templates")
                        for name, folder in folders.items()
                    }
                ),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
