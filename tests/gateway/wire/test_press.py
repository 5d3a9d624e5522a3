from __future__ import annotations

from gateway.wire.press import PressEnd, PressPoint, end_presses, original_message, with_press_end

POINTS = {
    "sos": PressPoint(pulse=True),
    "called": PressPoint(pulse=True, equals="call"),
    "battery": PressPoint(),
    "rssi": PressPoint(optional=True),
}


def test_a_press_ends_as_soon_as_it_is_reported() -> None:
    values = {"sos": 1, "called": "call", "battery": 90, "rssi": -60}
    reading, end = with_press_end(POINTS, "message", values)
    assert end_presses(POINTS, reading, values) == values
    assert end == PressEnd("message")
    assert end_presses(POINTS, end, values) == {"sos": 0, "called": "", "battery": 90}
    assert original_message(reading) == original_message(end) == "message"


def test_a_reading_without_a_press_has_no_end() -> None:
    assert list(with_press_end(POINTS, "message", {"battery": 90})) == ["message"]
