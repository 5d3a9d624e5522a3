"""Visitors over the years: a reader of the journal that keeps quarters of an hour in a file of its own, and
what can be asked of it."""

from .reader import Figures, open_figures
from .writer import detect_downtime, maintain_statistics

__all__ = ["Figures", "detect_downtime", "maintain_statistics", "open_figures"]
