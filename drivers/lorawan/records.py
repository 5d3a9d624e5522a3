"""Payloads of records without a length: channel, type and value (Milesight, Tektelic), or type and value
(Elsys).

The lengths are those of the makers' own decoders: of Milesight for all its LoRaWAN models
(github.com/Milesight-IoT/SensorDecoders, release 1.5.49), of Elsys (elsys.js in
github.com/TheThingsNetwork/lorawan-devices, and types 1D to 3C in github.com/akenza-io/device-type-library)
and of Tektelic's sensors (github.com/TektelicCommunications/data-converters). Where models differ, the
table has none: a profile gives the length (`length` of its point), and other payloads are read up to that
record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

HISTORY_CHANNELS = range(0x20, 0x24)
"""Milesight: values that were measured while the network was unreachable. Their lengths differ from model
to model."""


def _by_type(lengths: Mapping[int, str]) -> dict[int, int]:
    return {
        record_type: length for length, types in lengths.items() for record_type in bytes.fromhex(types)
    }


MEASURED = _by_type({
    1: "00 01 29 68 6B 6E 70 75 81 8E 9C A3 BC CB CD D6 E5 E7 E8 E9 ED EE FF",
    2: "31 67 6A 73 74 77 7B 7D 7F 82 84 98 99 9A A4 C7 CA E6 F4 F6 FD",
    3: "AF B1",
    4: "63 80 83 85 90 94 97 A2 C8 C9 CC D2 E3 EF F7 F9 FE",
    5: "B3 E4 EA EC FB",
    6: "65 B2 D4 F8",
    7: "5B CF",
    8: "A1 B0 D5 DA E1 E2 FA",
    9: "88 B4 D9 F5",
    36: "DB",
})  # fmt: skip
CHANGED = _by_type({1: "29 DF EE", 2: "00 68 ED", 3: "67 73 82 92 9A C9", 5: "CC D7", 6: "EC", 7: "98 99",
                    8: "E2", 9: "88 E1"})  # fmt: skip
"""The value with what happened to it: a threshold was crossed, an alarm began or ended."""
CHANGED_BY = _by_type({3: "68", 5: "67 82 9A D7"})
"""The value, how much it has changed, and what happened to it."""
SENSOR_STATUS = _by_type({1: "67 68 74 7B 80 81 83 9A C9", 2: "F6", 3: "82"})
"""Why there is no value."""
ANSWERS = _by_type({
    1: "01 04 0B 0F 10 14 15 26 27 28 2A 2B 2C 2D 2E 2F 3B 3C 3D 3E 3F 40 41 42 43 44 45 48 4A 4C "
       "50 51 56 57 59 5E 62 64 66 67 68 69 6B 6D 71 73 74 7D 7F 84 85 86 8D 90 97 A5 A6 A8 A9 AA "
       "AD AE B2 B3 B4 B5 B6 BE C2 C3 C5 C7 CC CF D0 E9 EB EC F3 F4 F5 F6 F8 FB FC FD FE",
    2: "02 03 09 0A 12 17 18 1C 23 24 30 4E 5A 61 65 70 72 76 77 80 81 95 A3 A4 A7 B7 B8 BD C0 C4 CE F2 FF",
    3: "05 34 6A 7A 87 8A 8E AB B0 B1 BB CA CB EA ED F9 FA",
    4: "11 1E 1F 52 58 AF C1 F1",
    5: "1B 4F 54 7E 83 91 92 98 99 C8",
    6: "08 4D 93",
    7: "A1",
    8: "16 35 63 88 96",
    9: "06 A0 A2 BF",
    10: "BA",
    29: "55",
    43: "7C",
})  # fmt: skip
"""What the device is, and its answers to commands."""
LATER_ANSWERS = _by_type({
    1: "06 08 10 11 12 13 16 20 23 24 27 28 29 2A 2B 2C 2D 2E 2F 31 36 37 3A 3D 3F 40 46 48 4D 4E "
       "58 62 6A 6B 6C 6D 6E 6F 70 77 7A 80 81 82 83 86 87 89 8C 93 94 98 A2 A3 B3 C9 D9",
    2: "05 07 09 0A 0E 14 15 21 30 35 38 39 47 50 56 5A 71 97 9A A5 BD",
    3: "0D 52 53 A7 AF B2 B4",
    4: "0C 45 5B 63 8D 8E",
    5: "4A 4C B8",
    6: "51 B5",
    7: "0B 5E 5F 78 79 99 B1",
    8: "A4",
    9: "34 49 4B 59",
    10: "1A",
    12: "4F",
})  # fmt: skip
TYPES_BY_CHANNEL = {
    **dict.fromkeys(range(0x20), MEASURED),
    **dict.fromkeys(range(0x80, 0x90), CHANGED),
    **dict.fromkeys(range(0x90, 0xA0), CHANGED_BY),
    **dict.fromkeys(range(0xB0, 0xC0), SENSOR_STATUS),
    **dict.fromkeys((0xFE, 0xFF), ANSWERS),
    **dict.fromkeys((0xF8, 0xF9), LATER_ANSWERS),
}
SINGLE_RECORDS = {
    bytes.fromhex(key): length
    for length, keys in {
        1: "0592 FD6D",
        2: "0792 07C9 0990 0B90 87E9 FA01 FA02 FA03",
        3: "0877 50FC",
        4: "0B02 0C02 0D02 0E02 FD6B",
        5: "83E9",
        8: "0502 0602 F9A8 FD6C",
        9: "F8A8",
    }.items()
    for key in keys.split()
}
"""Where the channel changes the length."""
TEKTELIC_PORT = 10
"""On which all of Tektelic's sensors report; Milesight's report on 85, unless another is set."""
TEKTELIC_TYPES = _by_type({1: "00 01 68 95 AA AC D3", 2: "02 03 04 65 67 73 74 AB AD BA BD E4 FF", 6: "71"})
TEKTELIC_RECORDS = dict.fromkeys((bytes.fromhex("1002"), bytes.fromhex("0004")), 1) | dict.fromkeys(
    (bytes.fromhex("1204"), bytes.fromhex("2204")), 4
)
"""Where the channel changes the length."""
TYPES_WITHOUT_CHANNEL = _by_type({
    1: "02 05 0D 0F 11 12 1A 1D 1E 1F 21 23 24",
    2: "01 04 06 07 08 0A 0C 0E 15 16 18 19 1C 20 22",
    3: "03",
    4: "0B 10 14 17 1B 3C 3D",
    6: "09",
    65: "13",
})  # fmt: skip
"""Elsys."""
BYTES_AFTER_LENGTH, SETTINGS = b"\x3b", b"\x3e"
"""Elsys: as many bytes as the first of them says; all the rest."""


def record_bytes(key: bytes, port: int = 0) -> int:
    """Bytes of the value after a type, or a channel and a type, in a profile's messages on `port` (0: on
    any); 0 if the length is not known."""
    if len(key) == 1:
        return TYPES_WITHOUT_CHANNEL.get(key[0], 0)
    if port == TEKTELIC_PORT:
        return TEKTELIC_RECORDS.get(key) or TEKTELIC_TYPES.get(key[-1], 0)
    return SINGLE_RECORDS.get(key) or TYPES_BY_CHANNEL.get(key[0], {}).get(key[-1], 0)


def split_records(
    data: bytes, lengths: Mapping[bytes, int], port: int = 0
) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield the key of each record, which is its type or its channel and type, with its value. The last has
    the value None if its length is known neither from the table nor from `lengths`, by key, so that what
    follows cannot be read. `port`: as for `record_bytes`."""
    key_bytes = min(map(len, lengths), default=2)
    has_history = key_bytes == 2 and port != TEKTELIC_PORT
    while len(data) > key_bytes and not (has_history and data[0] in HISTORY_CHANNELS):
        key = data[:key_bytes]
        length = lengths.get(key) or record_bytes(key, port)
        if key == BYTES_AFTER_LENGTH:
            length = 1 + data[key_bytes]
        elif key == SETTINGS:
            length = len(data)
        yield key, data[key_bytes : key_bytes + length] if length else None
        if not length:
            return
        data = data[key_bytes + length :]
