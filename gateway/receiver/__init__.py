"""The reference receiver: what platforms do with the native dialect, by means of a broker and PostgreSQL.

It shares nothing with the uplink but its description, `native.asyncapi.json`.
"""

from .database import Database
from .receiver import Receiver
from .report import DayReport, Missing, make_reports

__all__ = ["Database", "DayReport", "Missing", "Receiver", "make_reports"]
