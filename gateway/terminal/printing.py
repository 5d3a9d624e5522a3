"""Output of the commands: sentences in the user's language, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import east_asian_width

from gateway.model import GatewayError
from gateway.words import preferred_language, translate


def cli_text(key: str, /, **facts: object) -> str:
    return translate(preferred_language(), f"cli.{key}", **facts)


def error_sentence(error: GatewayError) -> str:
    return translate(preferred_language(), f"error.{error.key}", **error.facts)


def lane_text(lane: str) -> str:
    """The name of a lane."""
    return translate(preferred_language(), f"lane.{lane}")


def lost_text(reason: str) -> str:
    """Why a record was not delivered: the reason of a gap or of a dead letter."""
    return translate(preferred_language(), f"lost.{reason}")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = [heads, *([str(cell) for cell in row] for row in rows)]
    widths = [max(_display_width(line[i]) for line in table) for i in range(len(heads))]
    for line in table:
        cells = [
            cell + " " * (width - _display_width(cell)) for cell, width in zip(line, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())


def single_line_cells(cells: Sequence[str]) -> list[str]:
    """Cells on one line each, without control characters, which could change the terminal."""
    lines = (cell.replace("\n", "; ") for cell in cells)
    return ["".join(letter if letter.isprintable() else " " for letter in line) for line in lines]


def _display_width(text: str) -> int:
    """Columns on a terminal: a Chinese character takes two."""

    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
