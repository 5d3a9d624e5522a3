"""Content lines and components of iCalendar (RFC 5545, 3.1 and 3.4–3.6). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

MAX_LINE_OCTETS = 75
"""Without the line break (3.1)."""
MAX_DEPTH = 8
_LINE = re.compile(
    r'([A-Za-z0-9-]+)((?:;[A-Za-z0-9-]+=(?:"[^"]*"|[^";:,]*)(?:,(?:"[^"]*"|[^";:,]*))*)*):(.*)', re.DOTALL
)
_PARAMETER = re.compile(r';([A-Za-z0-9-]+)=((?:"[^"]*"|[^";:])*)')
_ESCAPED = re.compile(r"\\([\\;,nN])")


class CalendarWrong(ValueError):
    """A text is no iCalendar. `line` counts from 1, before unfolding."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class Property(msgspec.Struct, frozen=True):
    """One content line; the names are in capitals."""

    name: str
    parameters: Mapping[str, str]
    value: str


class CalendarComponent(msgspec.Struct, frozen=True):
    """What is between `BEGIN` and `END`."""

    name: str
    properties: list[Property] = []
    components: list[CalendarComponent] = []

    def every(self, name: str) -> Iterator[Property]:
        """All properties of a name."""
        return (each for each in self.properties if each.name == name)

    def first(self, name: str) -> Property | None:
        """The first property of a name."""
        return next(self.every(name), None)

    def text(self, name: str) -> str:
        """The text of a property; empty if there is none."""
        found = self.first(name)
        return unescaped(found.value) if found else ""


def escaped(text: str) -> str:
    """A text as a value (3.3.11); what is not printable becomes a space."""
    lines = "\n".join(text.splitlines())
    plain = "".join(each if each == "\n" or each.isprintable() else " " for each in lines)
    return re.sub(r"([\\;,])", r"\\\1", plain).replace("\n", "\\n")


def unescaped(value: str) -> str:
    """The text of a value."""
    return _ESCAPED.sub(lambda found: "\n" if found[1] in "nN" else found[1], value)


def folded(line: str) -> str:
    """A content line with its line breaks; no character is cut in two."""
    found, octets = [], 0
    for character in line:
        size = len(character.encode())
        if octets + size > MAX_LINE_OCTETS:
            found.append("\r\n ")
            octets = 1
        found.append(character)
        octets += size
    return "".join(found) + "\r\n"


def parse(text: str) -> list[CalendarComponent]:
    """The components of a text, outermost first. Raises `CalendarWrong`."""
    found: list[CalendarComponent] = []
    open_ones: list[CalendarComponent] = []
    for number, line in _unfolded(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")):
        match = _LINE.fullmatch(line)
        if match is None:
            raise CalendarWrong(number)
        name, value = match[1].upper(), match[3]
        if name == "BEGIN":
            component = CalendarComponent(value.strip().upper(), [], [])
            (open_ones[-1].components if open_ones else found).append(component)
            open_ones.append(component)
            if len(open_ones) > MAX_DEPTH:
                raise CalendarWrong(number)
        elif not open_ones:
            raise CalendarWrong(number)
        elif name == "END":
            if open_ones.pop().name != value.strip().upper():
                raise CalendarWrong(number)
        else:
            parameters = {key.upper(): given.strip('"') for key, given in _PARAMETER.findall(match[2])}
            open_ones[-1].properties.append(Property(name, parameters, value))
    if open_ones or not found:
        raise CalendarWrong(text.count("\n") + 1)
    return found


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """The content lines, each with the number of its first line; empty ones are left out."""
    pending, first = "", 0
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        if line[:1] in {" ", "\t"} and pending:
            pending += line[1:]
            continue
        if pending.strip():
            yield first, pending
        pending, first = line, number
    if pending.strip():
        yield first, pending


def written(lines: Iterable[tuple[str, str]]) -> str:
    """Content lines of names, with their parameters, and values."""
    return "".join(folded(f"{name}:{value}") for name, value in lines)
