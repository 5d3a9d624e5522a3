"""Visitor statistics over years: a journal reader that stores counts per quarter of an hour in its own
file, and the queries on that file."""

from .reader import VisitorFigures, open_figures
from .writer import detect_downtime, maintain_statistics

__all__ = ["VisitorFigures", "detect_downtime", "maintain_statistics", "open_figures"]
