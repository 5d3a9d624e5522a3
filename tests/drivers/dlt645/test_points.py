from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlt645.points import ItemData, MeterPoint, decode, format_raw, parse_example
from gateway.config.reading import struct_from_table
from gateway.wire.codec import convert_values
from tests.drivers.dlt645.meters import CAPTURED, CURRENT, ENERGY, POWER, VOLTAGE, raw


def recorded(number: str) -> ItemData:
    replies = [reply for reply in CAPTURED[number].values() if " 68 93 " not in reply]
    return parse_example({"replies": replies})


def test_captured_replies_say_what_their_publisher_read() -> None:
    points = {
        "energy": ENERGY,
        "energy_out": MeterPoint(di="00020000", format="XXXXXX.XX"),
        "voltage": VOLTAGE,
        "current": CURRENT,
        "power": POWER,
        "power_factor": MeterPoint(di="02060000", format="X.XXX", signed=True),
    }
    assert decode(points, recorded("000000000161")) == {
        "energy": 0.26, "energy_out": 1.26, "voltage": 100.1, "current": 4.999, "power": 0.2512,
        "power_factor": 0.501,
    }  # fmt: skip


def test_blocks_and_what_is_not_there() -> None:
    points = {
        **{f"energy.{n}": MeterPoint(di="0001FF00", format="XXXXXX.XX", index=n) for n in range(1, 7)},
        **{f"voltage.{n}": MeterPoint(di="0201FF00", format="XXX.X", index=n) for n in range(1, 4)},
        "peak": MeterPoint(di="0001FF00", format="XXXXXX.XX", item=3),
        "balance": MeterPoint(di="00900200", format="XXXXXX.XX"),
        "refused": MeterPoint(di="03010000", format="XX"),
    }
    assert decode(points, recorded("201000000012")) == {
        "energy.1": 1.29, "energy.2": 0.62, "energy.3": 0.6, "energy.4": 0.03, "energy.5": 0.02,
        "voltage.1": 225.6, "peak": 0.6, "balance": 198.56,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "signed", "data", "value"),
    [
        ("XX.XXXX", True, "12 25 80", -0.2512),
        ("XX.XXXX", True, "12 25 00", 0.2512),
        ("XX.XXXX", False, "12 25 80", 80.2512),
        ("XX.XXXX", True, "12 25 40", 40.2512),
        ("XX.XXXX", True, "12 25 79", 79.2512),
        ("XXX.XXX", True, "00 00 80", 0),
        ("XXX.X", True, "98 A2", -229.8),
        ("XXX.X", False, "FF FF", None),
        ("XXX.X", True, "FF FF", None),
        ("XXX.X", True, "AA AA", None),
        ("XXX.X", False, "EE EE", None),
        ("XXX.X", False, "56", None),
        ("XXX.X", False, "", None),
        ("XXX.X", False, "56 22 00 00", 225.6),
        ("XXXX", False, "34 12", 1234),
        ("XXXXXXXXXXXX", False, "56 34 12 90 78 56", 567890123456),
        ("HHHH", False, "10 80", 0x8010),
        ("HH", False, "FF", 0xFF),
    ],
)
def test_a_number_is_in_the_digits_of_its_format(text: str, signed: bool, data: str, value: Any) -> None:
    point = MeterPoint(di="02030000", format=text, signed=signed)
    assert decode({"x": point}, {"02030000": raw(data)}).get("x") == value


def test_a_number_without_a_sign_uses_all_its_digits() -> None:
    """A meter of 800 000 kWh has delivered them, and not drawn them."""
    point = MeterPoint(di="00010000", format="XXXXXX.XX")
    assert decode({"x": point}, {"00010000": raw("00 00 00 80")}) == {"x": 800_000.0}


@pytest.mark.parametrize("item", [1, 64])
def test_a_block_has_up_to_64_numbers(item: int) -> None:
    point, mistakes = struct_from_table(MeterPoint, {"di": "0001FF00", "format": "XX", "item": item})
    assert point is not None
    assert not mistakes
    assert decode({"x": point}, {"0001FF00": bytes(item - 1) + b"\x42"}) == {"x": 42}


@given(st.dictionaries(st.sampled_from(["00010000", "0201FF00"]), st.binary(max_size=40)), st.booleans())
def test_no_data_raise(items: ItemData, signed: bool) -> None:
    points = {
        f"{text}.{n}": MeterPoint(di=di, format=text, signed=signed, index=n)
        for di in ("00010000", "0201FF00") for text in ("XXX.X", "XX", "HHHH") for n in (1, 9)
    }  # fmt: skip
    values, _ = convert_values(points, decode(points, items))
    assert all(isinstance(value, int | float) for value in values.values())
    assert all(di in format_raw(items) for di in items)


@pytest.mark.parametrize(
    "replies",
    [["68 61"], [""], ["68 61 01 00 00 00 00 68 11 04 33 33 34 33 14 16"],
     ["68 61 01 00 00 00 00 68 91 06 33 34 34 35 34 43 11 16"],
     ["00 68 12 90 78 56 34 12 68 D1 01 35 8D 16"]],
)  # fmt: skip
def test_an_example_that_is_no_reply_is_refused(replies: list[str]) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_example({"replies": replies})


@pytest.mark.parametrize(
    ("key", "value", "mistake"),
    [
        ("di", "0201010", "dlt645-di"), ("di", "0201010g", "dlt645-di"), ("di", "0201ff00", "dlt645-di"),
        ("format", "XXX.XX", "dlt645-format"), ("format", "", "dlt645-format"),
        ("format", "XX.", "dlt645-format"), ("format", "HHH", "dlt645-format"),
        ("format", "XX.HH", "dlt645-format"), ("item", 0, "dlt645-item"),
        ("item", 65, "dlt645-item"),
    ],
)  # fmt: skip
def test_wrong_keys_of_a_point_are_named(key: str, value: Any, mistake: str) -> None:
    table = {"di": "02010100", "format": "XXX.X"} | {key: value}
    _, mistakes = struct_from_table(MeterPoint, table)
    assert [found.key for found in mistakes] == [mistake]
    assert struct_from_table(MeterPoint, {"di": "02010100", "format": "XXX.X"})[0] is not None
