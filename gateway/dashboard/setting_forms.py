"""The form of a group of settings: what it shows, and the edits that follow from what was entered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from gateway.config.editing import Edit
from gateway.config.settable import Setting, SettingGroup, SettingKind, value_at
from gateway.model.hours import WEEKDAY_KEYS, parse_days, parse_span
from gateway.words import LANGUAGES

MAX_TEXT = 200
MAX_ROWS = 12
"""Of a list of tables."""
CLOSED = "closed"
"""The key of the dates on which a week does not apply."""
_SEPARATORS = re.compile(r"[\s,，、;；]+")
_DASHES = re.compile("[–—~～至]")

Form = Mapping[str, str]


class FieldError(msgspec.Struct, frozen=True):
    """A field that cannot be understood; `key` is in the table `setting` of the words."""

    field: str
    key: str
    facts: dict[str, object] = {}


def field_values(group: SettingGroup, data: Mapping[str, Any]) -> dict[str, str]:
    """What the fields of a form show for a file."""
    shown: dict[str, str] = {}
    for number, setting in enumerate(group.settings):
        shown |= _shown_values(setting, f"v{number}", value_at(dict(data), (*group.path, *setting.key)))
    return shown


def row_numbers(name: str, values: Form) -> range:
    """The rows of a form: those that are filled in, and an empty one."""
    rows = [int(field.split(".")[1]) for field in values if _is_of_row(field, name)]
    return range(min(MAX_ROWS, max(rows, default=-1) + 2))


def _is_of_row(field: str, name: str) -> bool:
    return re.fullmatch(rf"{name}\.[0-9]{{1,3}}\.[0-9]+(\..+)?", field) is not None


def _shown_values(setting: Setting, name: str, value: Any) -> dict[str, str]:
    """What the fields of one setting show."""
    if setting.kind is SettingKind.TITLE:
        titles = value if isinstance(value, dict) else dict.fromkeys(LANGUAGES[:1], value or "")
        return {f"{name}.{lang}": str(titles.get(lang, "")) for lang in LANGUAGES}
    if setting.kind is SettingKind.NAMES:
        return {f"{name}.{each}": "1" for each in value or ()}
    if setting.kind is SettingKind.WEEKLY:
        return {f"{name}.{key}": text for key, text in _week_texts(value or {}).items()}
    if setting.kind is SettingKind.ROWS:
        return {
            field: text
            for row, table in enumerate(value or ())
            for column, each in enumerate(setting.columns)
            for field, text in _shown_values(
                each, f"{name}.{row}.{column}", value_at(table, each.key)
            ).items()
        }
    return {name: "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)}


def edits_of(
    group: SettingGroup, data: Mapping[str, Any], form: Form
) -> tuple[list[Edit], list[FieldError]]:
    """What the form changes in a file, and what is wrong in it."""
    before, edits, errors = field_values(group, data), list[Edit](), list[FieldError]()
    for number, setting in enumerate(group.settings):
        name = f"v{number}"
        given = {
            field: text.strip() for field, text in form.items() if field.partition(".")[0] == name and text
        }
        if {field: text for field, text in given.items() if text} == {
            field: text for field, text in before.items() if field.partition(".")[0] == name and text
        }:
            continue
        path = (*group.path, *setting.key)
        try:
            edits += _edits(setting, path, name, given, value_at(dict(data), path))
        except _Refused as refused:
            errors.append(refused.error)
    return edits, errors


class _Refused(Exception):
    def __init__(self, field: str, key: str, **facts: object) -> None:
        self.error = FieldError(field, key, facts)


def _edits(setting: Setting, path: tuple[str, ...], name: str, given: Form, before: Any) -> list[Edit]:
    for field, text in given.items():
        if len(text) > MAX_TEXT or not text.isprintable():
            raise _Refused(field, "text-long", most=MAX_TEXT)
    if setting.kind is SettingKind.TITLE:
        titles = {lang: text for lang in LANGUAGES if (text := given.get(f"{name}.{lang}", ""))}
        return [Edit(path, titles or None)]
    if setting.kind is SettingKind.NAMES:
        return [Edit(path, [each for each in setting.choices if f"{name}.{each}" in given])]
    if setting.kind is SettingKind.WEEKLY:
        return _week_edits(path, name, given, before or {})
    if setting.kind is SettingKind.ROWS:
        return _row_edits(setting, path, name, given, before or [])
    text = given.get(name, "")
    if setting.kind is SettingKind.NUMBER and text:
        return [Edit(path, _number(setting, name, text))]
    return [Edit(path, text or None)]


def _row_edits(
    setting: Setting, path: tuple[str, ...], name: str, given: Form, before: list[Any]
) -> list[Edit]:
    """The changed values of the rows; all of them where one comes or goes. A row whose fields are empty
    goes."""
    rows: list[dict[str, Any]] = []
    for row in row_numbers(name, given):
        table: dict[str, Any] = {}
        for column, each in enumerate(setting.columns):
            field = f"{name}.{row}.{column}"
            own = {key: text for key, text in given.items() if key == field or key.startswith(f"{field}.")}
            if own:
                for edit in _edits(each, each.key, field, own, None):
                    table[each.key[0]] = edit.value
        if table:
            rows.append(table)
    if len(rows) != len(before):
        return [Edit(path, rows or None)]
    return [
        Edit((*path, str(number), each.key[0]), row.get(each.key[0]))
        for number, row in enumerate(rows)
        for each in setting.columns
        if row.get(each.key[0]) != before[number].get(each.key[0])
    ]


def _number(setting: Setting, name: str, text: str) -> float:
    facts = {"least": _shown(setting.least), "most": _shown(setting.most)}
    try:
        number = float(text.replace("，", "").replace(",", ""))
    except ValueError as error:
        raise _Refused(name, "number-wrong", **facts) from error
    if not setting.admits(number):
        raise _Refused(name, "number-wrong", **facts)
    return int(number) if number.is_integer() else number


def _shown(bound: float | None) -> str:
    return "…" if bound is None else f"{bound:g}"


def _week_texts(table: Mapping[str, Any]) -> dict[str, str]:
    """The spans of each weekday, and the dates, as people enter them."""
    texts: dict[str, list[str]] = {day: [] for day in WEEKDAY_KEYS}
    for key, spans in table.items():
        if _is_days(key):
            for number in parse_days(key):
                texts[WEEKDAY_KEYS[number % 7]] += [spans] if isinstance(spans, str) else spans
    closed = table.get(CLOSED, ())
    return {day: ", ".join(spans) for day, spans in texts.items()} | {CLOSED: ", ".join(map(str, closed))}


def _week_edits(path: tuple[str, ...], name: str, given: Form, before: Mapping[str, Any]) -> list[Edit]:
    week = {day: _spans(f"{name}.{day}", given.get(f"{name}.{day}", "")) for day in WEEKDAY_KEYS}
    dates = _dates(f"{name}.{CLOSED}", given.get(f"{name}.{CLOSED}", ""))
    after: dict[str, Any] = {key: spans for key, spans in _in_ranges(week).items() if spans}
    if dates:
        after[CLOSED] = dates
    gone = [key for key in before if key not in after and (key == CLOSED or _is_days(key))]
    return [
        *(Edit((*path, key), value) for key, value in after.items() if before.get(key) != value),
        *(Edit((*path, key)) for key in gone),
    ]


def _in_ranges(week: Mapping[str, list[str]]) -> dict[str, str | list[str]]:
    """Days that follow one another with the same spans as one key: `mon-fri`."""
    found: dict[str, str | list[str]] = {}
    days = list(week)
    while days:
        first = last = days.pop(0)
        while days and week[days[0]] == week[first]:
            last = days.pop(0)
        spans = week[first]
        found[first if first == last else f"{first}-{last}"] = spans[0] if len(spans) == 1 else spans
    return found


def _spans(field: str, text: str) -> list[str]:
    spans = [each for each in _SEPARATORS.split(_DASHES.sub("-", text.replace("：", ":"))) if each]
    for span in spans:
        try:
            parse_span(span)
        except ValueError as error:
            raise _Refused(field, "span-wrong", text=span) from error
    return sorted(spans)


def _dates(field: str, text: str) -> list[str]:
    dates = [each for each in _SEPARATORS.split(text) if each]
    for each in dates:
        try:
            date.fromisoformat(each)
        except ValueError as error:
            raise _Refused(field, "date-wrong", text=each) from error
    return sorted(dates)


def _is_days(key: str) -> bool:
    try:
        return bool(parse_days(key))
    except ValueError:
        return False
