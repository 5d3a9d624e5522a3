"""Visitors over the years: a reader of the journal that keeps quarters of an hour in a file of its own, and
what can be asked of it."""

from .reader import Figures, look
from .writer import absence, keep

__all__ = ["Figures", "absence", "keep", "look"]
