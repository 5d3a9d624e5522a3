"""The texts of the simulator, in the language of the terminal."""

from __future__ import annotations

import os


def in_language(zh: str, en: str) -> str:
    """The text in the language of the terminal: Chinese, unless the locale is English."""
    locale = os.environ.get("LINLI_LANG") or os.environ.get("LC_ALL") or os.environ.get("LANG") or ""
    return en if locale.startswith("en") else zh
