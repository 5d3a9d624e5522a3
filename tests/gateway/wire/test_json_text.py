from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import ReadFailed
from gateway.wire.json_text import (
    MAX_JSON_DEPTH,
    MAX_OBJECTS,
    MAX_REPAIRED_CHARACTERS,
    MAX_VALUES,
    parse_json,
)

NAN = math.nan
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def shown(tree: Any) -> str:
    """As text, in which NaN equals NaN and 1 differs from 1.0 and True."""
    return repr(tree)


@given(trees, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), st.booleans())
def test_json_is_read_in_every_encoding_and_with_the_words_for_no_number(
    tree: Any, encoding: str, ascii_only: bool
) -> None:
    text = json.dumps(tree, ensure_ascii=ascii_only)
    assert shown(parse_json(text.encode(encoding, "surrogatepass"))) == shown(tree)


@pytest.mark.parametrize(
    ("body", "tree"),
    [
        (b'{"DS18B20-1":{"Temperature":12.6},"AM2301":{"Temperature":nan,"Humidity":-nan}}',
         {"DS18B20-1": {"Temperature": 12.6}, "AM2301": {"Temperature": NAN, "Humidity": NAN}}),
        (b'{"a":NaN,"b":inf,"c":-INF,"d":nan(0x8000000),"e":1.#QNAN,"f":-1.#IND}',
         dict.fromkeys("abcdef", NAN)),
        (b'{"a":1e999,"b":' + b"9" * 5000 + b"}", {"a": math.inf, "b": math.inf}),
        (b'{"a":+5,"b":.5,"c":5.,"d":007}', {"a": 5, "b": 0.5, "c": 5.0, "d": 7}),
        (b'{"a":1}\0', {"a": 1}),
        (b'{"a":1}\0\0{"a":2', {"a": 1}),
        (b'\xef\xbb\xbf{"a":1}\r\n', {"a": 1}),
        ('{"名称":"厨房","t":4}'.encode("gbk"), {"名称": "厨房", "t": 4}),
        ('{"名":4}'.encode("utf-16-le"), {"名": 4}),
        (b'{"a":1,"b":[2,],}', {"a": 1, "b": [2]}),
        (b'{"a":,"b":2}', {"a": None, "b": 2}),
        (b"{'a': True, 'b': None, 'c': 'it\\'s \"x\"'}", {"a": True, "b": None, "c": 'it\'s "x"'}),
        (b'{"a":ON,"b":out of range}', {"a": "ON", "b": "out of range"}),
        (b'{"a":"one\ntwo","b":"C:\\x"}', {"a": "one\ntwo", "b": "C:\\x"}),
        (b'{"a":"\\ud83d","b":"\\ud83d\\ude00","c":"\\\\ud83d"}',
         {"a": "\ufffd", "b": "😀", "c": "\\ud83d"}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"23.4", 23.4),
        (b" 23.4\r\n", 23.4),
        (b"-7", -7),
        (b"ON", "ON"),
        (b'"ON"', "ON"),
        (b"true", True),
        (b"False", False),
        (b"nan", NAN),
        (b"null", None),
        (b"None", None),
        (b"5\0", 5),
    ],
)  # fmt: skip
def test_what_firmware_writes_is_read(body: bytes, tree: Any) -> None:
    assert shown(parse_json(body)) == shown(tree)


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", b" ", b"{", b'{"a":', b'{"a":1', b'{"a":1}{"b":2}', b"[1,2", b'"on', b"a,b", b"12:30",
     b"\xff\xfe", b"\x08\x01\x12\x05", b"<html>", b"PK\x03\x04", b"\x1f\x8b\x08\x00",
     b'{"a":nan,' + b" " * MAX_REPAIRED_CHARACTERS + b"}"],
)  # fmt: skip
def test_what_is_no_message_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(ReadFailed) as refused:
        parse_json(body)
    assert refused.value.key == "not-json"


def test_what_makes_no_sense_is_shown() -> None:
    with pytest.raises(ReadFailed) as refused:
        parse_json('{"Time": 12:30, "Temperature": 4}')
    assert refused.value.facts == {"text": """'{"Time": 12:30, "Temper'"""}


@pytest.mark.parametrize("opened", ["[", '{"a":', '[{"a":'])
def test_what_is_too_deep_is_refused(opened: str) -> None:
    levels = (
        MAX_JSON_DEPTH // opened.count("[") if opened == "[" else MAX_JSON_DEPTH // len(opened.split("{"))
    )
    closed = {"[": "]", '{"a":': "}", '[{"a":': "}]"}[opened]
    assert parse_json(opened * levels + "1" + closed * levels)
    for depth in (MAX_JSON_DEPTH + 2, 500, 1500):
        with pytest.raises(ReadFailed) as refused:
            parse_json(opened * depth + "1" + closed * depth)
        assert refused.value.key == "json-deep"


@pytest.mark.parametrize("unit", ["[],", "{},", "0,", '"",', "nan,"])
def test_the_parts_of_a_message_are_counted_before_it_is_read(unit: str) -> None:
    most = MAX_VALUES if unit[0] not in "[{" else MAX_OBJECTS
    assert parse_json("[" + unit * (min(most, MAX_REPAIRED_CHARACTERS // 5) - 1) + "0]")
    for body in ("[" + unit * (most + 1) + "0]", f"[{unit * 350_000}0]".encode()):
        with pytest.raises(ReadFailed) as refused:
            parse_json(body)
        assert refused.value.key == "message-parts"


def test_brackets_in_a_text_are_no_depth() -> None:
    assert parse_json('{"a":"' + "[" * 100 + '"}') == {"a": "[" * 100}


@given(st.binary() | st.text().map(str.encode) | st.lists(st.sampled_from(
    ["{", "}", "[", "]", '"', "'", "\\", ":", ",", "nan", "-", "1", ".", "e", "u", " ", "\0", "\\ud83d"]
)).map(lambda parts: "".join(parts).encode()))  # fmt: skip
def test_any_bytes_are_a_tree_that_can_be_stored_or_refused(body: bytes) -> None:
    with contextlib.suppress(ReadFailed):
        assert json.dumps(parse_json(body), ensure_ascii=False).encode()
