"""Finding and rendering templates. The only file that uses Jinja2."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import jinja2
from markupsafe import Markup

KIT_FOLDER = Path(__file__).parent

__all__ = ["KIT_FOLDER", "Markup", "environment", "fingerprint"]


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


def fingerprint(folders: Iterable[Path]) -> str:
    """Tells the templates, scripts and styles of these folders and of the kit from those of another
    version."""
    digest = hashlib.sha256()
    for folder in (KIT_FOLDER, *folders):
        for kind in ("templates", "static"):
            for file in sorted((folder / kind).glob("*")):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
