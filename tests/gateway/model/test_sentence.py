"""Errors of the system and of libraries, made by the system and the libraries themselves."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import socket
import sqlite3
import ssl
import tomllib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from gateway.model import GatewayError, LinkDown, cause_of, duration, sentence
from gateway.words import LANGUAGES, translate, words


class Needed(msgspec.Struct, forbid_unknown_fields=True):
    number: int


def decode(text: bytes) -> object:
    return msgspec.json.decode(text, type=Needed)


def sqlite_of_a_text(folder: Path) -> None:
    (folder / "text").write_text("this is no database at all, and long enough to be read as one")
    with contextlib.closing(sqlite3.connect(folder / "text")) as database:
        database.execute("SELECT * FROM sqlite_master")


def refused_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    socket.create_connection(("127.0.0.1", port))


def tls_to_a_plain_port() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        ssl.create_default_context().wrap_socket(ours, server_hostname="x")


def no_certificate(folder: Path) -> None:
    (folder / "ca.pem").write_text("hello")
    ssl.create_default_context(cafile=str(folder / "ca.pem"))


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file that is missing": (lambda folder: (folder / "none").read_bytes(), "missing"),
    "a folder": (lambda folder: folder.read_bytes(), "folder"),
    "a file for a folder": (lambda folder: (Path(__file__) / "x").read_bytes(), "not-folder"),
    "a long name": (lambda folder: (folder / ("n" * 300)).read_bytes(), "name-long"),
    "a taken port": (lambda folder: socket.create_server(("192.0.2.1", 0)), "address-foreign"),
    "nobody listens": (lambda folder: refused_connection(), "refused"),
    "no such host": (lambda folder: socket.getaddrinfo("nothing.invalid", 1), "name-unknown"),
    "no TLS there": (lambda folder: tls_to_a_plain_port(), "not-tls"),
    "no certificate in it": (no_certificate, "certificate-file"),
    "no database": (sqlite_of_a_text, "damaged"),
    "not JSON": (lambda folder: msgspec.json.decode(b"{a"), "not-json-at"),
    "cut JSON": (lambda folder: msgspec.json.decode(b'{"a":'), "not-complete"),
    "not JSON for Python": (lambda folder: json.loads("{a"), "form-at"),
    "not XML": (lambda folder: ElementTree.fromstring("<a><b></a>"), "form-at"),
    "not TOML": (lambda folder: tomllib.loads("a = \n"), "form-at"),
    "a missing field": (lambda folder: decode(b"{}"), "field-missing"),
    "an unknown field": (lambda folder: decode(b'{"number":1,"x":2}'), "field-unknown"),
    "a wrong type": (lambda folder: decode(b'{"number":"1"}'), "field-type"),
    "not UTF-8": (lambda folder: b"\xff".decode(), "encoding"),
    "a missing package": (lambda folder: __import__("nothing_of_that_name"), "package"),
}


@pytest.mark.parametrize(("fail", "cause"), CASES.values(), ids=CASES)
def test_each_error_has_a_cause_of_ours(tmp_path: Path, fail: Callable[[Path], object], cause: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        fail(tmp_path)
    found = cause_of(raised.value)
    assert found["sentence"] == f"cause.{cause}"
    for language in LANGUAGES:
        said = translate(language, found["sentence"], **found["facts"])
        assert said not in ("", found["sentence"])
        assert "?" not in said
        assert "Errno" not in said
        assert str(raised.value) not in said


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_the_system_is_told_in_the_readers_language(number: int) -> None:
    found = cause_of(OSError(number, os.strerror(number)))
    said = translate("zh", found["sentence"], **found["facts"])
    assert os.strerror(number) not in said
    assert re.search("[\u4e00-\u9fff]", said)


def test_the_cause_is_found_behind_the_errors_of_libraries() -> None:
    def wrapped(inner: Exception, outer: Exception) -> Exception:
        try:
            raise outer from inner
        except type(outer) as error:
            return error

    inner = OSError(errno.EHOSTUNREACH, "No route to host")
    assert cause_of(wrapped(inner, RuntimeError("All connection attempts failed")))["sentence"] == (
        "cause.unreachable"
    )
    text = "could not open port /dev/ttyUSB9: [Errno 13] Permission denied: '/dev/ttyUSB9'"
    assert cause_of(RuntimeError(text))["sentence"] == "cause.permission"
    assert cause_of(TimeoutError())["sentence"] == "cause.timeout"
    assert cause_of(asyncio.IncompleteReadError(b"", 4))["sentence"] == "cause.closed"


def test_an_unknown_error_is_named_by_its_type_and_keeps_its_text_to_itself() -> None:
    found = cause_of(LookupError("https://robot.example/?token=secret"))
    assert found == sentence("cause.other", code="LookupError")


def test_an_error_as_a_fact_is_told_in_the_readers_language() -> None:
    error = LinkDown("line-open", url="rtu:/dev/x", reason=PermissionError(13, "Permission denied"))
    assert translate("zh", "error.line-open", **error.facts).startswith("无法打开 rtu:/dev/x（没有权限）")
    assert translate("en", "error.line-open", **error.facts).startswith(
        "rtu:/dev/x cannot be opened (no perm"
    )
    outer = GatewayError("needs-store", file="f", reason=error)
    assert outer.facts["reason"] == error.as_sentence()


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [(0, "0 秒", "0 s"), (119, "119 秒", "119 s"), (150, "2 分钟", "2 min"), (7200, "2 小时", "2 h"),
     (172_800, "2 天", "2 days")],
)  # fmt: skip
def test_durations(seconds: float, zh: str, en: str) -> None:
    said = duration(seconds)
    assert translate("zh", said["sentence"], **said["facts"]) == zh
    assert translate("en", said["sentence"], **said["facts"]) == en


def test_every_cause_that_the_code_can_find_has_words() -> None:
    source = Path("gateway/model/sentence.py").read_text("utf-8")
    named = set(re.findall(r'"cause\.([\w-]+)"', source))
    assert {f"cause.{name}" for name in named} <= words("zh").keys()
