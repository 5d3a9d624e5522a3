from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.editing import Edit, edited
from gateway.model import GatewayError

TEXT = """\
# 站点
[site]
title = { zh = "厅", en = "Hall" }   # 名称

[device.smoke]
bus = "rs485"  # 靠门
unit = 1

[contact.wang]
phone = "1"

[rule.hot]
when = [{ point = "a.b", above = 30 }]
"""


def changed(*edits: Edit) -> list[str]:
    """The lines that an edit removes and adds."""
    before, after = TEXT.splitlines(), edited(TEXT, edits).splitlines()
    return [f"- {line}" for line in before if line not in after] + [
        f"+ {line}" for line in after if line not in before
    ]


def test_only_what_is_edited_changes() -> None:
    assert changed(Edit(("device", "smoke", "unit"), 2)) == ["- unit = 1", "+ unit = 2"]
    assert changed(Edit(("site", "title"), {"zh": "堂"})) == [
        '- title = { zh = "厅", en = "Hall" }   # 名称',
        '+ title = {zh = "堂"}   # 名称',
    ]
    assert changed(Edit(("rule", "hot", "when", "0", "above"), 35)) == [
        '- when = [{ point = "a.b", above = 30 }]',
        '+ when = [{ point = "a.b", above = 35 }]',
    ]


def test_a_new_table_stands_apart() -> None:
    text = edited(TEXT, [Edit(("contact", "li", "phone"), "2"), Edit(("contact", "li", "email"), "a@b")])
    assert '\n\n[contact.li]\nphone = "2"\nemail = "a@b"\n\n[rule.hot]\n' in text


def test_the_last_of_a_kind_leaves_nothing() -> None:
    text = edited(TEXT, [Edit(("contact", "wang"))])
    assert "contact" not in tomllib.loads(text)
    assert text == TEXT.replace('[contact.wang]\nphone = "1"\n\n', "")


def test_removing_what_is_not_there_changes_nothing() -> None:
    assert edited(TEXT, [Edit(("site", "contact")), Edit(("device", "smoke", "room"))]) == TEXT


def test_what_cannot_be_edited_is_refused() -> None:
    for path in (("site", "title", "zh", "deep"), ("rule", "hot", "when", "7", "above")):
        with pytest.raises(GatewayError) as refused:
            edited(TEXT, [Edit(path, 1)])
        assert refused.value.facts == {"where": ".".join(path)}


NAMES = st.text("ab-_é\"'. ", min_size=1, max_size=4)
VALUES = st.one_of(
    st.integers(-9, 9), st.booleans(), st.text(max_size=5), st.lists(st.integers(0, 3), max_size=3)
)
TABLES = st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=3)


@given(TABLES, NAMES, NAMES, st.one_of(st.none(), VALUES))
def test_the_text_says_what_was_edited(
    tables: dict[str, dict[str, object]], table: str, key: str, value: object
) -> None:
    written = ""
    for name, content in tables.items():
        written = edited(written, [Edit((name, inner), each) for inner, each in content.items()])
    assert tomllib.loads(written) == {name: content for name, content in tables.items() if content}
    wanted = {name: dict(content) for name, content in tables.items() if content}
    if value is None:
        wanted.get(table, {}).pop(key, None)
    else:
        wanted.setdefault(table, {})[key] = value
    assert tomllib.loads(edited(written, [Edit((table, key), value)])) == wanted
