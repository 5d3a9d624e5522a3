from __future__ import annotations

import contextlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given
from hypothesis import strategies as st

from drivers.ble.formats import (
    BTHOME,
    BTHOME_FLAGS,
    BTHOME_QUANTITIES,
    RUUVI_COMPANY_ID,
    XIAOMI,
    BlePacket,
    BlePoint,
    address_inside,
    decode,
    format_raw,
    parse_advertisement,
    parse_bthome,
    parse_example,
    parse_ruuvi,
    parse_xiaomi,
)
from gateway.model import AlarmSpec, Hazard, ReadFailed
from gateway.wire.codec import convert_values
from tests.drivers.ble.adverts import BTHOME_KEY, BTHOME_MAC, FORMAT_5, KEY, MAC, SEALED, SMOKE, raw


def fields(packet: BlePacket | None) -> dict[str, Any]:
    assert packet is not None
    return packet.fields


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("400960", {"count": 96}),
        ("402901", {"smoke": True}),
        ("401A00", {"door": False}),
        ("401C01", {"gas": True}),
        ("402301", {"occupied": True}),
        ("402B01", {"tamper": True}),
        ("4002CA0903BF13", {"temperature": 25.06, "humidity": 50.55}),
        ("4057EA", {"temperature": -22}),
        ("400413 8A01".replace(" ", ""), {"pressure": 100_883}),
        ("4009600961", {"count": 96, "count.2": 97}),
        ("44 00 07 3A 01".replace(" ", ""), {"packet": 7, "button": 1}),
        ("40 53 03 616263 2901".replace(" ", ""), {"smoke": True}),
        ("4029010A01", {"smoke": True}),
        ("402901FE2901", {"smoke": True}),
        (
            "40 00 2E 01 64 1E 01 2E 34 45 16 01",
            {"packet": 46, "battery": 100, "light": True, "humidity": 52, "temperature": 27.8},
        ),
        ("40 50 5D 39 61 64", {"timestamp": 0x6461395D}),
        ("40 54 05 48 65 6C 6C 6F 2901", {"smoke": True}),
        ("40 3B 01 02 AABB 2901", {"smoke": True}),
        ("40 3B 01 E0 2901", {"smoke": True}),
        ("40 3B 01", {}),
        ("40 58 EA", {"temperature": -7.7}),
        ("40 5B 02EAFFFF", {"count": -5630}),
        ("40 5C 02FBFFFF", {"power": -12.78}),
        ("40 3C 02 03", {"dimmer": 0x0302}),
        ("40 61 AC0D", {"rotational_speed": 3500}),
        ("40 62 87565C9B", {"speed": -1688.447353}),
        ("40 63 87565CFF 2901", {"acceleration": -10.725753, "smoke": True}),
        ("40 64 03 65 07 F0 0100 2901", {"light_level": 3, "revision": 7, "device_type": 1, "smoke": True}),
        ("40", {}),
    ],
)
def test_bthome_objects(data: str, said: dict[str, Any]) -> None:
    assert fields(parse_bthome(b"", None, raw(data.replace(" ", "")))) == said


MIBEACONS: list[tuple[str, str, str, str, dict[str, Any]]] = [
    # Published captures, by model: address, key, frame, and what it says.
    (
        "LYWSDCGQ, version 2",
        "582D34359321",
        "",
        "5020AA01DA219335342D580D1004FE004802",
        {"temperature": 25.4, "humidity": 58.4},
    ),
    (
        "HHCCJCY01, version 2",
        "C47C8D6B4FF3",
        "",
        "71209800 12F34F6B8D7CC40D 041002C400",
        {"temperature": 19.6},
    ),
    ("GCLS002, version 2", "C47C8D6D593E", "", "7120BC03CD3E596D8D7CC40D0410023C01", {"temperature": 31.6}),
    ("HHCCJCY01, light", "C47C8D6A3E7A", "", "71209800 667A3E6A8D7CC40D 071003000000", {"illuminance": 0}),
    ("MUE4094RT, version 3", "DE70E8B2390C", "", "4030DD032403000101", {"motion": True}),
    (
        "SJWS01LM, button",
        "A4C138086301",
        "",
        "50406308 01 01630838C1A4 011003 000000",
        {"button": 0, "press": 0},
    ),
    (
        "SJWS01LM, water",
        "54EF44E027BC",
        "255e6cabb39b2eddd0de992b9fee2bf2",
        "5859630808BC27E044EF54F58FE704000000FC69D15C",
        {"water": 1},
    ),
    (
        "CGDK2",
        "582D34122089",
        "a3bfe9853dd85a620debe3620caaa351",
        "58586F0607892012342D585F176DD54F0200002FA453FA",
        {"temperature": 22.6},
    ),
    ("LYWSD02MMC, version 2", "A4C1380EFD78", "19b1c678ab0a8bc3dc77765f059188d4",
     "4858422529202d8c7a76b756a82a0078b8224e", {"temperature": 26.1}),
    ("LYWSD02MMC, version 2", "A4C1380EFD78", "19b1c678ab0a8bc3dc77765f059188d4",
     "585842258878fd0e38c1a405f6538aa72a0062b1a966", {"humidity": 38}),
    ("XMWSDJ04MMC", "2C1165257004", "b2cf9a553d53571b5657defd582d676e",
     "48590312a41b776e7c96add7000000f2bf545b", {"humidity": 45.0}),
    ("an empty frame", "A4C138D43C48", "", "30585B0502483CD438C1A408", {}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "mac", "key", "frame", "said"), MIBEACONS, ids=[m[0] for m in MIBEACONS])
def test_published_mibeacons(model: str, mac: str, key: str, frame: str, said: dict[str, Any]) -> None:
    packet = parse_xiaomi(raw(mac), raw(key) or None, raw(frame.replace(" ", "")))
    assert (packet.fields if packet else {}) == said, model


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ("0F0003 000100", {"moving_light": 256, "motion": True}),
        ("171004 1E000000", {"idle": 30, "motion": True}),
        ("171004 1F000000", {"idle": 31, "motion": False}),
        ("184802 7800", {"idle": 120, "motion": False}),
        ("044801 01", {"door": True}), ("124A01 02", {"door": False}), ("044801 03", {}),
        ("070005 0011223344", {"door": True}), ("070001 03", {}),
        ("064801 01 034801 5A", {"water": 1, "battery": 90}),
        ("1A4A01 01", {"door": True}), ("0C4801 01", {"door": False}), ("0C4801 00", {"door": True}),
        ("014A01 01", {"battery_low": True}), ("014E01 00", {"battery_low": False}),
        ("014804 0000C0C1 084804 00004842", {"temperature": -24.0, "humidity": 50.0}),
        ("014C04 00004842 024C01 32", {"temperature": 50.0, "humidity": 50}), ("014C02 0000", {}),
        ("0F0002 0001", {}),
    ],
)  # fmt: skip
def test_other_objects_of_a_mibeacon(objects: str, said: dict[str, Any]) -> None:
    assert fields(parse_xiaomi(b"", None, raw("4050970901" + objects.replace(" ", "")))) == said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        # bthome-ble, test_bthome_with_mac; and a battery level whose address reads as smoke.
        ("42 B2188D38C1A4 04138A01", {"pressure": 100_883}),
        ("42 010000CCBBAA 04138A01", {"pressure": 100_883}),
        ("42 290100CCBBAA 0164", {"battery": 100}),
        # Bit 2, a device that sends only when something happens, moves nothing; nor do reserved bits.
        ("44 04138A01", {"pressure": 100_883}),
        ("46 290100CCBBAA 0164", {"battery": 100}),
        ("58 0164", {"battery": 100}),
        ("42 290100CCBBAA", {}),
    ],
)
def test_the_flags_of_bthome(data: str, said: dict[str, Any]) -> None:
    assert fields(parse_bthome(b"", None, raw(data.replace(" ", "")))) == said


@pytest.mark.parametrize(
    "data",
    ["", "02 0164", "22 0164", "62 0164", "E1 02000C04 04138A01", "42 290100CCBB", "43 290100CCBBAA 0164"],
)
def test_what_is_no_bthome_of_version_2_or_too_short_says_nothing(data: str) -> None:
    assert parse_bthome(b"", None, raw(data.replace(" ", ""))) is None


def test_encrypted_bthome_with_its_address() -> None:
    # bthome-ble, test_bthome_with_mac_encrypted: the key goes with the address inside.
    data = raw("43A5808FE64854F196C06FFB4900112233F08ECBDE")
    packet = parse_bthome(raw("AA0000000001"), raw(BTHOME_KEY), data)
    assert fields(packet) == {"temperature": 25.06, "humidity": 50.55}


@pytest.mark.parametrize(
    ("service", "address"),
    [
        ({BTHOME: "42B2188D38C1A404138A01"}, "A4:C1:38:8D:18:B2"),
        ({BTHOME: "43A5808FE64854F196C06FFB4900112233F08ECBDE"}, "54:48:E6:8F:80:A5"),
        ({BTHOME: "4004138A01"}, ""),
        ({BTHOME: "42B2188D38C1"}, ""),
        ({BTHOME: "22B2188D38C1A404138A01"}, ""),
        ({BTHOME: "4004138A01", XIAOMI: "5020AA01DA219335342D580D1004FE004802"}, ""),
        ({XIAOMI: "5020AA01DA219335342D580D1004FE004802"}, "58:2D:34:35:93:21"),
        ({XIAOMI: "40509709010D1004C4004F02"}, ""),
        ({XIAOMI: "5020AA01DA2193"}, ""),
        ({}, ""),
    ],
)
def test_the_address_inside(service: dict[int, str], address: str) -> None:
    assert address_inside({number: raw(data) for number, data in service.items()}) == address


@pytest.mark.parametrize(
    ("data", "unknown"),
    [
        ("40 2901 FE 2901", 0xFE),
        ("40 FE", 0xFE),
        ("40 2901", None),
        ("40 2901 02CA", None),
        ("40 53", None),
    ],
)
def test_the_object_that_is_unknown_is_named(data: str, unknown: int | None) -> None:
    packet = parse_bthome(b"", None, raw(data.replace(" ", "")))
    assert packet
    assert packet.unknown_object == unknown


def test_every_object_of_the_public_list_is_skipped_by_its_own_length() -> None:
    for kind in range(256):
        size = 2 if kind in (0x53, 0x54) else 1 if kind in BTHOME_FLAGS else 0
        size = size or (abs(BTHOME_QUANTITIES[kind][1]) if kind in BTHOME_QUANTITIES else 0)
        # As published; 0x3B is variable.
        published = {*range(0x30), 0x3A, *range(0x3C, 0x65), 0x65, 0xF0, 0xF1, 0xF2}
        assert bool(size) == (kind in published), hex(kind)
        if size:
            packet = parse_bthome(b"", None, bytes((0x40, kind)) + b"\x01" * size + b"\x29\x01")
            assert packet
            assert any(packet.fields.get(name) is True for name in ("smoke", "smoke.2")), hex(kind)


@pytest.mark.parametrize(
    ("control", "head", "battery"),
    [
        ("4050", "", 85),
        ("5050", "BC9CE344EF54", 85),
        ("6050", "08", 85),
        ("7050", "BC9CE344EF54 08", 85),
        ("7050", "BC9CE344EF54 28 0000", 85),
        ("6050", "20 0000", 85),
        ("6050", "20 00", 85),
        ("4250", "", 85),
        ("C050", "", None),
        ("0050", "", None),
        ("4010", "", None),
        ("4060", "", None),
        ("5050", "BC9C", None),
    ],
)
def test_the_control_bits_of_a_mibeacon_move_its_objects(
    control: str, head: str, battery: int | None
) -> None:
    data = raw(
        f"{control} 9709 01 {head} {'' if battery is None and head else '0A100155'}".replace(" ", "")
    )
    packet = parse_xiaomi(b"", None, data)
    assert (packet and packet.fields) == (None if battery is None else {"battery": battery})


@pytest.mark.parametrize("capability", ["08", "280000", "2800"])
def test_an_encrypted_mibeacon_with_capabilities(capability: str) -> None:
    start = raw(f"7858970966BC9CE344EF54{capability}")
    counter, body = b"\x07\x00\x00", raw("15100101")
    nonce = raw(MAC)[::-1] + start[2:5] + counter
    sealed = AESCCM(raw(KEY), tag_length=4).encrypt(nonce, body, b"\x11")
    data = start + sealed[:-4] + counter + sealed[-4:]
    assert fields(parse_xiaomi(raw(MAC), raw(KEY), data)) == {"smoke": 1}


def test_an_encryption_of_old_is_not_understood() -> None:
    assert (
        parse_xiaomi(raw("F82441C5988B"), None, raw("5830B603D28B98C54124F8C3491476757E00000099")) is None
    )


def test_encrypted_bthome() -> None:
    packet = parse_bthome(raw(BTHOME_MAC), raw(BTHOME_KEY), SEALED)
    assert fields(packet) == {"temperature": 25.06, "humidity": 50.55}
    assert packet == BlePacket(SEALED, fields(packet), 0x33221100, encrypted=True)


def test_a_mibeacon_of_a_smoke_detector() -> None:
    assert fields(parse_xiaomi(raw(MAC), raw(KEY), SMOKE)) == {"smoke": 1}


def test_a_mibeacon_without_its_address_and_encryption() -> None:
    assert fields(parse_xiaomi(b"", None, raw("40509709010D1004C4004F02"))) == {
        "temperature": 19.6,
        "humidity": 59.1,
    }
    # With a capability that has inputs and outputs.
    assert fields(parse_xiaomi(b"", None, raw("6050970901200000 0A100155".replace(" ", "")))) == {
        "battery": 85
    }


@pytest.mark.parametrize(("state", "said"), [(0, {"door": True}), (1, {"door": False}),
                                             (2, {"door": True}), (3, {}), (9, {})])  # fmt: skip
def test_only_open_and_shut_say_something_of_a_door(state: int, said: dict[str, bool]) -> None:
    assert (
        fields(parse_xiaomi(b"", None, raw("405097090119100 1".replace(" ", "")) + bytes((state,)))) == said
    )


def test_ruuvi_format_5() -> None:
    said = fields(parse_ruuvi(FORMAT_5))
    assert (said["temperature"], said["humidity"], said["pressure"]) == (24.3, 53.49, 100_044)
    assert (said["voltage"], said["movements"], said["acceleration_y"]) == (2.977, 66, -0.004)
    most = fields(parse_ruuvi(raw("057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F")))
    assert (most["temperature"], most["humidity"], most["pressure"]) == (163.835, 163.835, 115_534)
    assert (most["voltage"], most["movements"], most["acceleration_x"]) == (3.646, 254, 32.767)
    least = fields(parse_ruuvi(raw("058001000000008001800180010000000000CBB8334C884F")))
    assert (least["temperature"], least["humidity"], least["pressure"]) == (-163.835, 0, 50_000)
    assert (least["voltage"], least["movements"], least["acceleration_z"]) == (1.6, 0, -32.767)
    nothing = parse_ruuvi(raw("058000ffffffff80008000" + "8000ffffffffffffffffffffff"))
    assert nothing is not None
    assert (nothing.fields, nothing.number) == ({}, None)


@pytest.mark.parametrize("service", [{}, {0x1234: b"@\x09\x60"}, {BTHOME: b""}, {BTHOME: b"\x20\x09\x60"},
                                     {XIAOMI: b"\x30\x58\x97\x09\x66"}, {BTHOME: b"\x41\x00"}])  # fmt: skip
def test_what_speaks_no_format_of_ours_says_nothing(service: dict[int, bytes]) -> None:
    assert parse_advertisement(raw(MAC), None, service, {RUUVI_COMPANY_ID: b"\x03"}) is None


@given(
    st.binary(max_size=40), st.sampled_from([BTHOME, XIAOMI, RUUVI_COMPANY_ID]),
    st.none() | st.just(raw(KEY)),
    st.sampled_from([b"", b"\x40", b"\x41", b"\x58\x58", b"\x50\x50", b"\x05"]),
)  # fmt: skip
def test_reading_fails_in_no_other_way(data: bytes, kind: int, key: bytes | None, start: bytes) -> None:
    data = start + data
    points = {"smoke": BlePoint(field="smoke", alarm=AlarmSpec(hazard=Hazard.FIRE)),
              "t": BlePoint(field="temperature", scale=0.1, min=0)}  # fmt: skip
    packet = None
    with contextlib.suppress(ReadFailed):
        packet = parse_advertisement(raw(MAC), key, {kind: data}, {kind: data})
    if packet is not None:
        convert_values(points, decode(points, packet))
        assert packet.data.hex(" ") in format_raw(packet)


@given(st.binary(min_size=16, max_size=16).filter(lambda key: key not in (raw(KEY), raw(BTHOME_KEY))))
def test_a_wrong_key_never_gives_a_value(key: bytes) -> None:
    for mac, service in ((MAC, {XIAOMI: SMOKE}), (BTHOME_MAC, {BTHOME: SEALED})):
        with pytest.raises(ReadFailed, match="ble-key-wrong"):
            parse_advertisement(raw(mac), key, service, {})


@given(st.integers(0, len(SMOKE) - 1), st.integers(1, 255))
def test_a_changed_byte_never_gives_a_value(at: int, change: int) -> None:
    data = bytearray(SMOKE)
    data[at] ^= change
    with contextlib.suppress(ReadFailed):
        packet = parse_xiaomi(raw(MAC), raw(KEY), bytes(data))
        # Of the control bits only some are looked at.
        assert packet is None or at < 2
        assert packet is None or packet.fields == {"smoke": 1}


def test_with_a_key_nothing_plain_is_believed() -> None:
    for service in ({BTHOME: raw("402900")}, {XIAOMI: raw("40509709011510 0100".replace(" ", ""))}):
        with pytest.raises(ReadFailed, match="ble-unencrypted"):
            parse_advertisement(raw(MAC), raw(KEY), service, {})


@pytest.mark.parametrize(
    "wrong",
    [{}, {"advertisement": "x"}, {"advertisement": "020106"}, {"advertisement": "0616D2FC410960"},
     {"advertisement": "1216D2FC41A47266C95F730011223378237214"},
     {"advertisement": "1216D2FC41A47266C95F730011223378237214", "mac": MAC, "key": KEY}],
)  # fmt: skip
def test_an_example_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        parse_example(wrong)
