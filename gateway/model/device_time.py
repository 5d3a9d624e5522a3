"""Times as devices write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime

from gateway.model.sample import Value

EARLIEST_S, LATEST_S = 100_000_000, 10_000_000_000
"""Unix seconds from 1973 to 2286. In any unit the number has its own magnitude; a smaller one counts from
the start of the device."""
YEARS = range(1970, 2286)
"""Of a time that is written in full: further ones could not be converted between time zones."""

_SEPARATED = re.compile(
    r"(\d{4})([-/.年])(\d{1,2})[-/.月](\d{1,2})日?"
    r"[T _]*+(\d{1,2})[:时](\d{1,2})(?:[:分](\d{1,2})秒?(?:[.,:](\d{1,9})\d*)?)? *+(.*)",
    re.IGNORECASE,
)
_BASIC = re.compile(
    r"(\d{4})()(\d{2})(\d{2})[T ]?"
    r"(\d{2}):?(\d{2})(?::?(\d{2})(?:(?:[.,]|(?=\d{3}(?!\d)))(\d{1,9})\d*)?)? *+(\D.*|)",
    re.IGNORECASE,
)
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-]|(?=\d\d:\d\d$))(\d{1,2}?):?(\d{2})?", re.IGNORECASE)
_NUMBER = re.compile(r"\d{9,20}(\.\d*)?")
_WRAPPED_NUMBER = re.compile(r"/Date\((\d{9,20})([+-]\d{4})?\)/")
"""Milliseconds as .NET writes them; the offset is only where they were written."""
_ZONE_NAME = re.compile(r"(?<=[\dZ])\[[\w/+-]+\]$", re.IGNORECASE)
"""What Java adds to an offset."""
_WORD = re.compile(r"[a-z]+", re.IGNORECASE)
_NAMES_OF_UTC = ("Z", "UTC", "GMT", "UT")
_DAY_OR_MONTH = re.compile(
    r"(mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
)
_MAIL_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d):?(\d\d)\b")
"""RFC 5322 writes no colon, and nothing before it."""
_MAIL_COMMENT = re.compile(r"\([^()]*\)$")
_NAME_BEHIND_OFFSET = re.compile(r"(?<=\d) [A-Z]{2,5}$")
"""What Go adds to an offset."""
_HALF_OF_DAY = re.compile(r" *(?:([ap])\.?m\.?(?![a-z])|(上午)|(下午)) *", re.IGNORECASE)


def parse_device_time(value: Value | None, zone: tzinfo | None = None) -> datetime | None:
    """The time that a device wrote; None if it cannot be read.

    Unix time in seconds, milliseconds, microseconds or nanoseconds, which the magnitude tells apart, as a
    number or a text, or as .NET writes it; ISO 8601 in the extended or the basic format, also with slashes,
    dots, a blank instead of the T, single digits, or a half of the day; RFC 5322. The plus of an offset may
    be missing: forms encode a blank so. Without an offset the time is in `zone`, or else UTC. The name of a
    zone counts only if it is that of `zone`, or of UTC: CST is China's time, and also America's.
    """
    if isinstance(value, bool) or value is None:
        return None
    text = _ZONE_NAME.sub("", _WRAPPED_NUMBER.sub(r"\1", str(value).strip()))
    half = _HALF_OF_DAY.search(text)
    if half:
        text = text[: half.start()] + " " + text[half.end() :]
    written = _SEPARATED.fullmatch(text.strip()) or _BASIC.fullmatch(text.strip())
    if written and (read := _read_fields(written, zone, half)):
        return read
    if isinstance(value, float) or _NUMBER.fullmatch(text):
        return _read_unix_time(float(text))
    return _read_mail_date(text, zone, half)


def _read_mail_date(text: str, zone: tzinfo | None, half: re.Match[str] | None) -> datetime | None:
    """As RFC 5322 has it, and `ctime` of C."""
    text = _MAIL_OFFSET.sub(r"\1\2\3", _MAIL_COMMENT.sub("", text))
    words = [word for word in _WORD.findall(text) if not _DAY_OR_MONTH.fullmatch(word.lower())]
    name = words[0].upper() if words else ""
    if name and name not in _NAMES_OF_UTC:
        text = text.replace(words[0], "", 1)
    try:
        read = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if read.year not in YEARS or len(words) > 1 or (half and not 1 <= read.hour <= 12):
        return None
    if half:
        read = read.replace(hour=_hour_of_day(read.hour, half))
    if read.tzinfo is None:
        read = read.replace(tzinfo=zone or UTC)
    return read if not name or name in _NAMES_OF_UTC or read.tzname() == name else None


def _hour_of_day(hour: int, half: re.Match[str]) -> int:
    """The hour that is 1 to 12 in a half of the day."""
    is_afternoon = bool(half[3]) or (half[1] or "").lower() == "p"
    return hour % 12 + 12 * is_afternoon


def _read_unix_time(number: float) -> datetime | None:
    for units_per_s in (1, 1_000, 1_000_000, 1_000_000_000):
        if EARLIEST_S <= number / units_per_s < LATEST_S:
            return datetime.fromtimestamp(number / units_per_s, UTC)
    return None


def _read_fields(
    written: re.Match[str], zone: tzinfo | None, half: re.Match[str] | None
) -> datetime | None:
    year, _, month, day, hour, minute, second, fraction, rest = written.groups()
    name = rest.upper() if zone and rest.isalpha() and rest.upper() not in _NAMES_OF_UTC else ""
    offset = zone if name else _read_offset(_NAME_BEHIND_OFFSET.sub("", rest), zone)
    if offset is None or int(year) not in YEARS:
        return None
    # The end of a day may be hour 24, and the end of a minute a leap second.
    if half and not 1 <= int(hour) <= 12:
        return None
    if half:
        hour = str(_hour_of_day(int(hour), half))
    clock = timedelta(hours=int(hour), minutes=int(minute), seconds=int(second or 0))
    if int(minute) > 59 or int(second or 0) > 60 or clock > timedelta(hours=24, seconds=1):
        return None
    try:
        midnight = datetime(int(year), int(month), int(day), tzinfo=offset)
    except ValueError:
        return None
    read = midnight + clock + timedelta(microseconds=int((fraction or "0").ljust(6, "0")[:6]))
    return read if not name or read.tzname() == name else None


def _read_offset(text: str, zone: tzinfo | None) -> tzinfo | None:
    if not text:
        return zone or UTC
    if text.upper() in _NAMES_OF_UTC:
        return UTC
    offset = _OFFSET.fullmatch(text)
    if not offset or int(offset[2]) > 14 or int(offset[3] or 0) > 59:
        return None
    ahead = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
    return timezone(-ahead if offset[1] == "-" else ahead)
