from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.toml_text import TomlError, parse, read_text
from gateway.words import LANGUAGES, translate, words

HEAD = """\
schema = "linli/site/1"

# 一楼 · ground floor
[site]
id = "demo"
"""


@pytest.mark.parametrize(
    ("typed", "line", "key", "facts"),
    [
        ("title = “大厅”", 6, "character-lookalike", {"character": "“", "ascii": '"'}),
        ("title = ‘hall’", 6, "character-lookalike", {"character": "‘", "ascii": "'"}),
        ('title ＝ "大厅"', 6, "character-lookalike", {"character": "＝", "ascii": "="}),
        ("unit = ２", 6, "character-lookalike", {"character": "２", "ascii": "2"}),
        ("every = 1．5", 6, "character-lookalike", {"character": "．", "ascii": "."}),
        ("offset = −5", 6, "character-lookalike", {"character": "−", "ascii": "-"}),
        ('names = ["a"，"b"]', 6, "character-lookalike", {"character": "，", "ascii": ","}),
        ("［bus.hall］", 6, "character-lookalike", {"character": "［", "ascii": "["}),
        ("【bus.hall】", 6, "character-lookalike", {"character": "【", "ascii": "["}),
        ("＃ 备注", 6, "character-lookalike", {"character": "＃", "ascii": "#"}),
        ("title：“大厅”", 6, "character-lookalike", {"character": "：", "ascii": ":"}),
        ("unit\u00a0= 1", 6, "character-invisible", {"code": "U+00A0"}),
        ("unit = 1\u3000", 6, "character-invisible", {"code": "U+3000"}),
        ("unit = 1\u2028every = 3", 6, "character-invisible", {"code": "U+2028"}),
        ("unit = 1\u0085every = 3", 6, "character-invisible", {"code": "U+0085"}),
        ("ba\u200bud = 9600", 6, "character-invisible", {"code": "U+200B"}),
        ("[device.smoke\u2011hall]", 6, "character-lookalike", {"ascii": "-"}),
        ("\u200bunit = 1", 6, "character-invisible", {"code": "U+200B"}),
        ("\ufeffunit = 1", 6, "character-invisible", {"code": "U+FEFF"}),
        ("unit = 1\x0c", 6, "character-invisible", {"code": "U+000C"}),
        ('title: "大厅"', 6, "toml-colon", {"name": "title", "value": '"大厅"'}),
        ("unit: 3", 6, "toml-colon", {"name": "unit", "value": "3"}),
        ("// hall", 6, "toml-comment", {}),
        ("; hall", 6, "toml-comment", {}),
        ("一楼大厅的烟感", 6, "toml-statement", {}),
        ("unit 3", 6, "toml-statement", {}),
        ("[device.大厅]", 6, "toml-header", {}),
        ("[device.hall", 6, "toml-header", {}),
        ("[device hall]", 6, "toml-header", {}),
        ("[device..hall]", 6, "toml-header", {}),
        ("[]", 6, "toml-header", {}),
        ('标题 = "a"', 6, "toml-key", {}),
        ('my title = "a"', 6, "toml-key", {}),
        ("unit =", 6, "toml-value-missing", {}),
        ("unit = # 3", 6, "toml-value-missing", {}),
        ("title = 大厅", 6, "toml-unquoted", {}),
        ("title = hall", 6, "toml-unquoted", {}),
        ("port = /dev/ttyUSB0", 6, "toml-unquoted", {}),
        ('title = "hall', 6, "toml-quote-open", {}),
        ("title = hall'", 6, "toml-quote-open", {}),
        ('title = "hall\nunit = 3', 6, "toml-quote-open", {}),
        ('path = "C:\\Users\\me"', 6, "toml-backslash", {}),
        ('path = "C:\\data"', 6, "toml-backslash", {}),
        ("stills = True", 6, "toml-boolean", {}),
        ("stills = yes", 6, "toml-boolean", {}),
        ("stills = 是", 6, "toml-boolean", {}),
        ("unit = 03", 6, "toml-leading-zero", {}),
        ("every = 5s", 6, "toml-number", {}),
        ("every = 5 分钟", 6, "toml-number", {}),
        ("every = 0,5", 6, "toml-number", {}),
        ("every = 1 000", 6, "toml-number", {}),
        ("every = .5", 6, "toml-number", {}),
        ("url = 192.168.1.20", 6, "toml-unquoted", {}),
        ("mon = 08:00-21:30", 6, "toml-unquoted", {}),
        ("source = 06:05:04:03:02:01", 6, "toml-unquoted", {}),
        ("dev_eui = 24E124713C480123", 6, "toml-unquoted", {}),
        ("phone = 0571-88886666", 6, "toml-date", {}),
        ("every = 60（秒）", 6, "toml-number", {}),
        ("unit = 1；", 6, "toml-rest", {"rest": "；"}),
        ("unit = 1,", 6, "toml-rest", {"rest": ","}),
        ("stills = true,", 6, "toml-rest", {"rest": ","}),
        ('names = ["a"],', 6, "toml-rest", {"rest": ","}),
        ('title = { zh = "大厅" },', 6, "toml-rest", {"rest": ","}),
        ('bus = "rs485"，', 6, "toml-rest", {"rest": "，"}),
        ('bus = "rs485"。', 6, "toml-rest", {"rest": "。"}),
        ("bus = ''rs485''", 6, "toml-rest", {"rest": "rs485''"}),
        ("unit == 1", 6, "toml-equals", {}),
        ("unit => 1", 6, "toml-equals", {}),
        ("unit := 1", 6, "toml-equals", {}),
        ("repeat = null", 6, "toml-null", {}),
        ("repeat = None", 6, "toml-null", {}),
        ('title = { "zh": "东门" }', 6, "toml-braces-colon", {}),
        ('when = [{ point: "a.b" }]', 6, "toml-braces-colon", {}),
        ("day = 2026-13-01", 6, "toml-date", {}),
        ('title = "hall" // east', 6, "toml-rest", {"rest": "// east"}),
        ('title = "hall";', 6, "toml-rest", {"rest": ";"}),
        ('title = "hall" unit = 3', 6, "toml-rest", {"rest": "unit = 3"}),
        ('names = ["a" "b"]', 6, "toml-list", {}),
        ('names = [\n  "a"\n  "b"\n]', 6, "toml-bracket-open", {}),
        ("when = { a = 1, }", 6, "toml-list", {}),
        ("when = {\n  a = 1\n}", 6, "toml-brace-open", {}),
        ('names = ["a", "b"\n\n[bus.hall]\nunit = 1', 6, "toml-bracket-open", {}),
        ("when = { a = 1", 6, "toml-brace-open", {}),
        ("```toml", 6, "toml-mark", {"mark": "```toml"}),
        ("**[device.hall]**", 6, "toml-mark", {"mark": "**"}),
        ("\\[device.hall\\]", 6, "toml-mark", {"mark": "\\"}),
        ("- unit = 1", 6, "toml-mark", {"mark": "-"}),
        ("> [device.hall]", 6, "toml-mark", {"mark": ">"}),
        ("12 unit = 1", 6, "toml-mark", {"mark": "12"}),
        ("12: [device.hall]", 6, "toml-mark", {"mark": "12:"}),
        ("bus = &quot;rs485&quot;", 6, "toml-mark", {"mark": "&quot;"}),
        ("&nbsp;unit = 1", 6, "toml-mark", {"mark": "&nbsp;"}),
        ("bus = &#34;rs485&#34;", 6, "toml-mark", {"mark": "&#34;"}),
        ('"bus = ""rs485"""', 6, "toml-spreadsheet", {}),
        ('"[device.hall]\nbus = ""rs485"""', 6, "toml-spreadsheet", {}),
        ('title = { zh = "a", zh = "b" }', 6, "toml-twice", {"name": "zh", "first": 6}),
        ('id = "other"', 6, "toml-twice", {"name": "id", "first": 5}),
        ('[site]\nid = "two"', 6, "toml-twice", {"name": "[site]", "first": 4}),
        ("[bus.a]\n[bus.b]\n[bus.a]\nunit = 1", 8, "toml-twice", {"name": "[bus.a]", "first": 6}),
        ("[site.id]\na = 1", 6, "toml-redefined", {}),
        ('"""', 6, "toml-statement", {}),
        ('raw.json = "{"temperature": 4.2}"', 6, "toml-quotes-within", {}),
        ('title = "the "east" door"', 6, "toml-quotes-within", {}),
        ("unit = 1 ; gas", 6, "toml-rest", {"rest": "; gas"}),
        ("unit = 1 // gas", 6, "toml-rest", {"rest": "// gas"}),
        ("unit = 1 -- gas", 6, "toml-rest", {"rest": "-- gas"}),
        ("unit = 1 /* gas */", 6, "toml-rest", {"rest": "/* gas */"}),
        ("unit = 1 （厨房）", 6, "toml-rest", {"rest": "（厨房）"}),
        ("stills = true // for a week", 6, "toml-rest", {"rest": "// for a week"}),
        ("names = [1, 2] // two", 6, "toml-rest", {"rest": "// two"}),
        ("bus:\n  hall:\n    driver: modbus", 6, "toml-format", {}),
        ("---", 6, "toml-format", {}),
        ("{", 6, "toml-format", {}),
        ('<?xml version="1.0"?>', 6, "toml-format", {}),
        ("title = ″大厅″", 6, "character-lookalike", {"character": "″", "ascii": '"'}),
        ("title = 「大厅」", 6, "character-lookalike", {"character": "「", "ascii": '"'}),
        ("title = ´hall´", 6, "character-lookalike", {"character": "´", "ascii": "'"}),
        ('when = [{ point = "a.b", above = 8℃ }]', 6, "toml-number", {}),
        ('when = [{ point = "a.b", is = True }]', 6, "toml-boolean", {}),
        ("title = { zh = 东门 }", 6, "toml-unquoted", {}),
        ("units = [1, 02]", 6, "toml-leading-zero", {}),
    ],
)
def test_what_people_type_is_named_with_its_line_and_its_mend(
    typed: str, line: int, key: str, facts: dict[str, object]
) -> None:
    with pytest.raises(TomlError) as refused:
        parse(f"{HEAD}{typed}\n")
    error = refused.value
    assert (error.line, error.key) == (line, key)
    assert facts.items() <= error.facts.items()
    written = typed.split("\n")[line - 6].strip()
    for language in LANGUAGES:
        sentence = translate(language, f"error.{key}", **error.facts)
        assert "?" not in sentence.replace(written, "")
        assert written in sentence or "name" in facts


@pytest.mark.parametrize(
    "value", ['"“大厅”：２ 楼"', "'C:\\data'", '"""a\n“b”"""', "1 # 一楼：“大厅”", "\t3\t"]
)
def test_what_is_toml_is_read(value: str) -> None:
    assert parse(f"{HEAD}title = {value}\n")["site"]["title"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_of_any_editor_is_read(tmp_path: Path, encoding: str, newline: str) -> None:
    file = tmp_path / "site.toml"
    file.write_bytes((HEAD + 'title = "大厅"\n').replace("\n", newline).encode(encoding))
    assert parse(read_text(file))["site"] == {"id": "demo", "title": "大厅"}


@pytest.mark.parametrize(
    ("data", "line", "key"),
    [
        ((HEAD + 'title = "大厅"\n').encode("utf-16"), 1, "file-utf16"),
        ((HEAD + 'title = "Hall"\n').encode("utf-16-le"), 1, "file-utf16"),
        (HEAD.encode("gb18030"), 3, "file-gbk"),
        ((HEAD + 'title = "大厅"\n').encode() + b"# \xff\xff\n", 7, "file-encoding"),
        (HEAD.encode() + b"\0" * 512, 6, "file-zeros"),
        (b"\0" * 512, 1, "file-zeros"),
    ],
)
def test_another_encoding_is_named(tmp_path: Path, data: bytes, line: int, key: str) -> None:
    file = tmp_path / "site.toml"
    file.write_bytes(data)
    with pytest.raises(TomlError) as refused:
        read_text(file)
    assert (refused.value.line, refused.value.key) == (line, key)
    assert key != "file-gbk" or refused.value.facts["read"] == "# 一楼 · ground floor"


TABLES = "".join(f"[t{number}]\nunit = {number}\n" for number in range(5000))


@pytest.mark.parametrize(
    ("typed", "line", "key"),
    [
        ("a = " + '\\"' * 400_000, 10001, "toml-unquoted"),
        ('a = x"' + '\\"' * 400_000, 10001, "toml-quote-open"),
        ('[b]\n\na = [ # "' + "\n1," * 98, 10003, "toml-bracket-open"),
        ('a = """' + "\nb" * 98, 10001, "toml-quote-open"),
        ("a" + ".a" * 100_000 + " = 1", 10001, "toml-limits"),
    ],
)
def test_a_mistake_in_a_large_file_is_found_as_soon_as_in_a_small_one(
    typed: str, line: int, key: str
) -> None:
    with pytest.raises(TomlError) as refused:
        parse(TABLES + typed + "\n")
    assert (refused.value.line, refused.value.key) == (line, key)


@given(st.text(st.sampled_from("ab1.=:[]{}\"'\\#,\n\t “＝２，"), max_size=60))
def test_every_text_is_read_or_explained_in_our_words(text: str) -> None:
    error = None
    try:
        parse(HEAD + text)
    except TomlError as refused:
        error = refused
    assert error is None or 1 <= error.line <= (HEAD + text).count("\n") + 1
    assert error is None or all(f"error.{error.key}" in words(language) for language in LANGUAGES)
