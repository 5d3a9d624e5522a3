"""Published advertisements, plain and encrypted."""

from __future__ import annotations

MAC = "54:EF:44:E3:9C:BC"
KEY = "5b51a7c91cde6707c9ef18dfda143a58"
SMOKE = bytes.fromhex("5859970966BC9CE344EF540108120500 0000715EBE90")
FORMAT_5 = bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")
BTHOME_MAC, BTHOME_KEY = "5448E68F80A5", "231d39c1d7cc1ab1aee224cd096db932"
SEALED = bytes.fromhex("41A47266C95F730011223378237214")


def raw(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
