"""What is shown beside a calibration: the present reading, before and after it."""

from __future__ import annotations

import pytest

from gateway.dashboard.corrections import corrections_of
from gateway.model import Calibration
from gateway.web.settings import DeviceInfo
from gateway.web.view import DeviceCondition, DeviceRow, PointRow

INFO = DeviceInfo(
    "fridge", {}, "fridge", 60, units={"temperature": "℃"},
    calibrations={"temperature": Calibration(scale=2.0, offset=1.0)},
)  # fmt: skip


@pytest.mark.parametrize(
    ("values", "measured", "corrected"),
    [
        ((PointRow("temperature", 9.0), PointRow("humidity", 40.0)), 4.0, 9.0),
        ((PointRow("temperature", None),), None, None),
        ((), None, None),
    ],
)
def test_the_reading_is_shown_before_and_after(
    values: tuple[PointRow, ...], measured: float | None, corrected: float | None
) -> None:
    row = DeviceRow("fridge", {}, "fridge", False, DeviceCondition.GOOD, values)
    [found] = corrections_of(INFO, row)
    assert (found.measured, found.corrected, found.unit) == (measured, corrected, "℃")


def test_a_device_without_a_row_has_no_reading() -> None:
    [found] = corrections_of(INFO, None)
    assert found.corrected is None
