"""Formats, times and signatures; the expected digests are those of openssl and of RFC 2202 and 4231."""

from __future__ import annotations

import json
from zoneinfo import ZoneInfo

import pytest

from gateway.config.dialect.rules import PointName, PointNames, Sign, SignKeys
from gateway.config.dialect.template import Level
from gateway.uplink.declarative.facts import (
    DeviceFacts,
    encode,
    find_pointer,
    make_format,
    read_time,
    sign,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
MAPS = {"level": {"fire": 1, "true": "on", "*": 4}}


@pytest.mark.parametrize(
    ("form", "value", "made"),
    [
        ("ms", 1_796_025_600_123, 1_796_025_600_123),
        ("s", 1_796_025_600_123, 1_796_025_600),
        ("iso", 1_796_025_600_123, "2026-11-30T16:00:00.123+08:00"),
        ("utc", 1_796_025_600_123, "2026-11-30T08:00:00.123Z"),
        ("utc", -1, "1969-12-31T23:59:59.999Z"),
        ("%Y%m%dT%H%M%SZ", 1_796_025_600_123, "20261130T080000Z"),
        ("local %Y-%m-%d %H:%M:%S.%3f", 1_796_025_600_123, "2026-11-30 16:00:00.123"),
        ("%f", 1_796_025_600_123, "123000"),
        ("iso", "soon", None),
        ("iso", 10**30, None),
        ("%Y", True, None),
        ("text", True, "true"),
        ("text", 21.5, "21.5"),
        ("text", None, ""),
        ("int", "7", 7),
        ("int", "x", None),
        ("float", 7, 7.0),
        (".2f", 21.5, "21.50"),
        (".0f", "x", None),
        ("01", False, 0),
        ("json", {"a": 1}, '{"a":1}'),
        ("url", "a/b+c=", "a%2Fb%2Bc%3D"),
        ("level", "fire", 1),
        ("level", "water", 4),
        ("level", True, "on"),
    ],
)
def test_a_format(form: str, value: object, made: object) -> None:
    found = make_format(form, SHANGHAI, MAPS)(value)
    assert (found, type(found)) == (made, type(made))


@pytest.mark.parametrize(
    ("read", "ms"),
    [
        (1_796_025_600_000, 1_796_025_600_000),
        (1_796_025_600, 1_796_025_600_000),
        ("1796025600", 1_796_025_600_000),
        ("2026-11-30 16:00:00", 1_796_025_600_000),
        ("2026-11-30T08:00:00Z", 1_796_025_600_000),
        ("tomorrow", None),
        (None, None),
        (True, None),
        (float("nan"), None),
        (1e300, None),
    ],
)
def test_a_time_of_a_platform(read: object, ms: int | None) -> None:
    assert read_time(read, SHANGHAI) == ms


@pytest.mark.parametrize(
    ("function", "key", "text", "encoding", "digest"),
    [
        ("md5", "", "abc", "hex", "900150983cd24fb0d6963f7d28e17f72"),
        ("sha1", "", "abc", "HEX", "A9993E364706816ABA3E25717850C26C9CD0D89D"),
        ("sha256", "", "abc", "base64", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),
        ("hmac_md5", "Jefe", "what do ya want for nothing?", "hex", "750c783e6ab0b503eaa86e310a5db738"),
        (
            "hmac_sha1", "Jefe", "what do ya want for nothing?", "hex",
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
        ),
        (
            "hmac_sha256", "Jefe", "what do ya want for nothing?", "hex",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
    ],
)  # fmt: skip
def test_a_signature(function: str, key: str, text: str, encoding: str, digest: str) -> None:
    keys = SignKeys(function=function, text="", key="", encoding=encoding)  # type: ignore[arg-type]
    assert sign(Sign(keys, (), (), Level.GATEWAY), text, key) == digest


def test_a_key_that_is_not_of_its_encoding_signs_nothing() -> None:
    keys = SignKeys(function="hmac_sha1", text="", key="k", key_encoding="base64")
    assert sign(Sign(keys, (), (), Level.GATEWAY), "text", "!") == ""


def test_values_have_the_names_units_and_types_of_the_platform() -> None:
    names = PointNames(
        booleans=(0, 1),
        points={
            "temperature": PointName(name="t", scale=1.8, offset=32, decimals=1),
            "count": PointName(name="n", type="text"),
            "state": PointName(name="s", words={"true": "ON", "false": "OFF"}),
            "level": PointName(name="l", type="float"),
        },
    )
    device = DeviceFacts("d", "sensor", {}, names)
    values = {"temperature": 21.46, "count": 7, "state": True, "level": 3, "door": False}
    assert device.values({"values": values}) == {"t": 70.6, "n": "7", "s": "ON", "l": 3.0, "door": 0}


@pytest.mark.parametrize(
    ("pointer", "found"),
    [("/a/b", 1), ("/list/1", 20), ("/list/9", None), ("/a~1b", 2), ("/x/y", None), ("/", None)],
)
def test_a_json_pointer(pointer: str, found: object) -> None:
    assert find_pointer({"a": {"b": 1}, "list": [10, 20], "a/b": 2}, pointer) == found


def test_any_name_becomes_a_key() -> None:
    """Whatever is in it, and however often the points of a device change."""
    names = ['a"b', "c\\d", "e\x1f", "温度", "f\u2028", ""]
    for count in range(1, 40):
        points = {f"p{n}": n for n in range(count)}
        listed = {
            point: PointName(name=f"{names[n % 6]}{n}" if count < 7 else f"n{n}")
            for n, point in enumerate(points)
        }
        device = DeviceFacts("d", "x", {}, PointNames(points=listed))
        for some in (points, dict(list(points.items())[::2]), {**points, "other": 1.5}, {}):
            made = json.loads(encode(device.values({"values": some})))
            assert made == {
                listed[point].name if point in listed else point: n for point, n in some.items()
            }
