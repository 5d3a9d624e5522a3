"""The style sheets, which all pages load together."""

from __future__ import annotations

import re

from gateway.dashboard.parts import static_folders


def test_an_animation_is_defined_once() -> None:
    """A later one of the same name would replace it everywhere."""
    sheets = [file.read_text("utf-8") for folder in static_folders() for file in folder.glob("*.css")]
    names = re.findall(r"@keyframes ([\w-]+)", "".join(sheets))
    assert len(names) > 1
    assert len(names) == len(set(names))
