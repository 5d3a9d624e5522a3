"""Trends: statistics of every point by quarter of an hour, for years after the journal has let its readings
go. They are a reader of the journal, with a cursor of its own."""

from .calendar import Calendar
from .database import trends_file
from .reader import Trend, read_trend
from .statistics import QUARTER_MS, TrendBin, number_of
from .writer import TrendWriter

__all__ = [
    "QUARTER_MS",
    "Calendar",
    "Trend",
    "TrendBin",
    "TrendWriter",
    "number_of",
    "read_trend",
    "trends_file",
]  # fmt: skip
