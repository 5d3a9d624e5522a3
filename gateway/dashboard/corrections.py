"""What the points that may be calibrated measure now, and what that is corrected to. Pure."""

from __future__ import annotations

import msgspec

from gateway.model import Calibration
from gateway.trends import number_of
from gateway.web.settings import DeviceInfo
from gateway.web.view import DeviceRow


class Correction(msgspec.Struct, frozen=True):
    """A point that may be calibrated: what it measures now, and what that is corrected to; None: not
    known."""

    point: str
    unit: str
    calibration: Calibration
    measured: float | None
    corrected: float | None


def corrections_of(info: DeviceInfo, row: DeviceRow | None) -> list[Correction]:
    """The points of a device that may be calibrated."""
    values = {shown.point: number_of(shown.value) for shown in row.values} if row else {}
    found = []
    for point, calibration in info.calibrations.items():
        corrected = values.get(point)
        measured = None if corrected is None else calibration.measured(corrected)
        found.append(Correction(point, info.units.get(point, ""), calibration, measured, corrected))
    return found
