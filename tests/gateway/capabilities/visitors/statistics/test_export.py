"""How fine the sheets of a workbook are."""

from __future__ import annotations

from datetime import date

from gateway.capabilities.visitors.statistics.export import finest_slot_unit
from gateway.capabilities.visitors.statistics.results import period_containing


def test_a_sheet_is_as_fine_as_it_can_be() -> None:
    units = [
        finest_slot_unit(period_containing(unit, date(2026, 1, 31)))
        for unit in ("day", "week", "month", "year")
    ]
    assert units == ["quarter", "quarter", "quarter", "hour"]
