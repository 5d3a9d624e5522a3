from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import ReadFailed
from gateway.wire.json_text import number_in_text, parse_json

NAN = math.nan
KIB = 1024
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def shown(tree: Any) -> str:
    """As text, in which NaN equals NaN and 1 differs from 1.0 and True."""
    return repr(tree)


def not_read(body: bytes | str) -> str:
    with pytest.raises(ReadFailed) as refused:
        parse_json(body)
    return refused.value.key


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
        (b"{'a': ''}", {"a": ""}),
        (b"true", True),
        (b"False", False),
        (b"nan", NAN),
        (b"null", None),
        (b"None", None),
        (b"5\0", 5),
        (b"t=23.4&door=open&name=%E5%8E%A8+1&ok=true&x=&t=24", {"t": 24, "door": "open", "name": "厨 1",
         "ok": True, "x": ""}),
        (b"state=on", {"state": "on"}),
        (b"aGVsbG8=", "aGVsbG8="),
        (b"aGVsbA==", "aGVsbA=="),
        (b"23,4", 23.4),
        (b'{"a":23,4,"b": -1,55 ,"c":[1,2]}', {"a": 23.4, "b": -1.55, "c": [1, 2]}),
        (b'{"a":1,000,"b":1,234,567,"c":3}', {"a": "1,000", "b": "1,234,567", "c": 3}),
        (b'{"a":1}{"b":2}', [{"a": 1}, {"b": 2}]),
        (b'{"a":1}\r\n{"b":nan}\r\n', [{"a": 1}, {"b": NAN}]),
        (b'{"a":1},\n[2],\n', [{"a": 1}, [2]]),
        (b'{"a":21.5}1.5,"x":3}', {"a": 21.5}),
        ('{"Humidity": 5} 名称'.encode(), {"Humidity": 5}),
        (b'{"a":1} ' + b"[" * 2000, {"a": 1}),
    ],
)  # fmt: skip
def test_what_firmware_writes_is_read(body: bytes, tree: Any) -> None:
    assert shown(parse_json(body)) == shown(tree)


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", b" ", b"{", b'{"a":', b'{"a":1', b'1\n2', b'ON {"a":1}', b"[1,2", b'"on', b"'on", b"'",
     b'"on\'', b"a,b", b"12:30", b"\xff\xfe", b"\x08\x01\x12\x05", b"<html>",
     b"PK\x03\x04", b"\x1f\x8b\x08\x00"],
)  # fmt: skip
def test_what_is_no_message_is_said_to_be_none(body: bytes) -> None:
    assert not_read(body) == "not-json"


LONG = '{"x": "' + "x" * 16 * KIB + '", '


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"Time": 12:30, "Temperature": 4}', '{"Time": 12:30, "Temper'),
        ('{"Temperature": 4, "Time": 12:30, "Humidity": 5}', ', "Time": 12:30, "Humidi'),
        (LONG + '"Temperature": 4, "Time": 12:30, "Humidity": 5}', ', "Time": 12:30, "Humidi'),
        (LONG + '"名称": 1, "温度": 未知, "湿度": 5}', '": 1, "温度": 未知, "湿度": 5}'),
        (LONG + '"Humidity": 5} 名称', 'midity": 5} 名称'),
        (LONG + '"Humidity": [1, 2,', '{"x": "xxxxx'),
        (256 * KIB * "😀", 12 * "😀"),
        ('{"Humidity": 5} ' + 256 * KIB * "x", '{"Humidity":'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("coded", [str, str.encode])
def test_what_makes_no_sense_is_shown(body: str, shown: str, coded: Callable[[str], str | bytes]) -> None:
    with pytest.raises(ReadFailed) as refused:
        parse_json(coded(body))
    assert refused.value.facts == {"text": repr(shown)}


def test_up_to_16384_characters_are_repaired() -> None:
    def message(length: int) -> str:
        return '{"a":nan' + " " * (length - 9) + "}"

    assert shown(parse_json(message(16 * KIB))) == shown({"a": NAN})
    assert not_read(message(16 * KIB + 1)) == "not-json"


def test_up_to_262144_bytes_are_read_in_another_encoding() -> None:
    def message(length: int) -> bytes:
        return '{"名":1'.encode("gbk") + b" " * (length - 8) + b"}"

    assert parse_json(message(256 * KIB)) == {"名": 1}
    assert not_read(message(256 * KIB + 1)) == "not-json"


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_32_objects_and_lists_within_each_other_are_read_and_no_more(opened: str, closed: str) -> None:
    most = 32 // len(closed)
    for inmost in ("1", '"x"'):
        assert parse_json(opened * most + inmost + closed * most)
        assert not_read("[" + opened * most + inmost + closed * most + "]") == "json-deep"
    for depth in (500, 1500):
        assert not_read(opened * depth + "1" + closed * depth) == "json-deep"


@pytest.mark.parametrize(
    ("unit", "most"), [("[],", 2999), ("{},", 2999), ("0,", 20_000), ('"",', 20_000), ("nan,", 20_000)]
)
def test_the_parts_of_a_message_are_counted_before_it_is_read(unit: str, most: int) -> None:
    """3000 objects and lists, one of which holds the others; values are counted by their commas."""
    if unit != "nan,":
        assert parse_json("[" + unit * most + "0]")
    assert not_read("[" + unit * (most + 1) + "0]") == "message-parts"
    assert not_read(f"[{unit * 350_000}0]".encode()) == "message-parts"


def test_a_number_in_a_text_is_exact_as_far_as_it_can_be_stored() -> None:
    assert shown(number_in_text("18446744073709551615")) == "18446744073709551615"
    assert shown(number_in_text("-9223372036854775808")) == "-9223372036854775808"
    assert shown(number_in_text("100000000000000000000")) == "1e+20"


def test_brackets_in_a_text_are_no_depth() -> None:
    assert parse_json('{"a":"' + "[" * 100 + '"}') == {"a": "[" * 100}


PIECES = [*"{}[]\"'\\:,-1.eu \0温", "nan", "\\ud83d"]
pieces = st.lists(st.sampled_from(PIECES)).map(lambda parts: "".join(parts).encode())


@given(st.sampled_from(["", LONG]), st.binary() | st.text().map(str.encode) | pieces)
def test_any_bytes_are_a_tree_that_can_be_stored_or_refused(beginning: str, body: bytes) -> None:
    with contextlib.suppress(ReadFailed):
        assert json.dumps(parse_json(beginning.encode() + body), ensure_ascii=False).encode()
