"""A language is whole: no English in a Chinese sentence, no Chinese in an English one."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import re
import sqlite3
import ssl
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from gateway.cli import commands
from gateway.journal.reader import CRASH_REASON, DAMAGE_REASON
from gateway.model import Lane, cause_of
from gateway.uplink.lanes import REFUSAL_REASONS
from gateway.words import LANGUAGES, translate, words

ROOT = Path(__file__).parents[1]
FACT = re.compile(r"\{\w*\}")
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
CHINESE = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")
NAMES = frozenset(
    WORD.findall(
        """ANSI AsyncAPI BTHome BlueZ CA ChirpStack COM CPU CSV CU16 DI3 DNS DevEUI Excel GBK GPIO HTTP
        HTTPS ID IP JPEG JSON JavaScript KB LoRaWAN MAC MB MQTT ONNX OpenCV PDF PEM PIN PNG PostgreSQL QoS
        SHA SIGHUP SIGTERM SIM SVG Schema TLS TOML URL USB UTF Unicode Windows XML YAML Ctrl Shift English
        p50 p99 null iPhone iPad iOS Safari Chrome Firefox Ed25519 Base64"""
    )
)
"""What has no Chinese name, or stands so on the device, the keyboard or the button."""
TYPED = frozenset(
    WORD.findall(
        """linli sudo sha256sum gpioinfo bluetooth gpio zh en true false nan inf y ack reset is default
        overhead oblique mon sun people add remove sessions revoke display duty manager installer
        CAPABILITY sensor try list each hmac jsonschema psycopg run report
        createdb template0 UTF8 PGHOST max_connections"""
    )
)
"""What a person types beside the keys of files and the commands: programs, values, answers."""
NOT_READ = frozenset({"dashboard.other-language"})
"""The button that leads to the other language, in that language."""
CODE = re.compile(
    r'"[^"]*"'  # what is to be written
    r"|\[\[?[\w….-]+\]?\]|\b\w+ ?= ?\S+"  # a table of a file; a key with its value
    r"|(?<![\w-])--?[a-z][\w-]*"  # an option
    r"|\b[a-z+]+://[\w.:-]*|\b(?:tcp|rtu|serial):\S+|[\w.]*(?:/[\w….:*-]+)+/?|\w+@[\w.]+|\b[\w-]+\.\w+"
    r"|\.\w+|\b[A-Z]+_[A-Z_]+\b|-----[A-Z ]+-----|\b[A-Z]\b|\b[0-9A-F]{2}(?:[ :][0-9A-F]{2})+\b"
    r"|\b(?:systemctl|pip|chmod|linli)(?: [\w./'\[\]-]+)+|[a-z]+(?:-[a-z]+)+"
)
"""A URL, path, address or file; what stands in a file; a command with its arguments."""


def keys_of_files() -> Iterator[str]:
    """The keys that a person may write into a file."""
    for file in ROOT.glob("config/**/*.toml"):
        yield from re.findall(r"^#? ?([a-z0-9_]+) = ", file.read_text(encoding="utf-8"), re.MULTILINE)
    for folder in ("gateway", "drivers"):
        for file in (ROOT / folder).rglob("*.py"):
            yield from re.findall(r"^    ([a-z0-9_]+): \w", file.read_text(encoding="utf-8"), re.MULTILINE)


ALLOWED = NAMES | TYPED | frozenset(commands()) | frozenset(keys_of_files())


def foreign_words(language: str, text: str) -> list[str]:
    """What does not belong in a sentence of the language."""
    if language == "en":
        return CHINESE.findall(text)
    return [word for word in WORD.findall(CODE.sub(" ", text)) if word not in ALLOWED]


def system_errors() -> Iterator[BaseException]:
    for number in errno.errorcode:
        yield OSError(number, os.strerror(number), "/some/file")


def tls_errors() -> Iterator[BaseException]:
    for number in range(100):
        failed = ssl.SSLCertVerificationError(1, "certificate verify failed: unable to get local issuer")
        failed.verify_code = number
        yield failed
    for reason in ("WRONG_VERSION_NUMBER", "NO_START_LINE", "TLSV1_ALERT_UNKNOWN_CA", "UNKNOWN"):
        error = ssl.SSLError(1, f"[SSL: {reason}] something (_ssl.c:1006)")
        error.reason = reason
        yield error
    yield ssl.SSLEOFError(8, "EOF occurred in violation of protocol")


def database_errors() -> Iterator[BaseException]:
    for code in range(40):
        error = sqlite3.OperationalError("database disk image is malformed")
        error.sqlite_errorcode = code
        yield error


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    number: int
    name: str | None = None
    inner: dict[str, list[float]] = {}
    small: bool = False


def form_errors() -> Iterator[BaseException]:
    for text in (
        "", "{", "[]", "{}", '{"number":"1"}', '{"number":1.5}', '{"number":1,"x":2}', "nul",
        '{"number":1,"name":2}', '{"number":1,"inner":{"a":["b"]}}', '{"number":1,"small":0}',
        '{"number":null}', '{"number":1,"inner":3}',
    ):  # fmt: skip
        with pytest.raises(msgspec.DecodeError) as refused:
            msgspec.json.decode(text, type=Wanted)
        yield refused.value
    parsers: list[tuple[Callable[[str], object], str]] = [
        (ET.fromstring, "<a><b></a>"),
        (tomllib.loads, "a ="),
        (json.loads, "{,}"),
    ]
    for parse, text in parsers:
        with pytest.raises((SyntaxError, ValueError)) as malformed:
            parse(text)
        yield malformed.value
    yield UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    yield RecursionError("maximum recursion depth exceeded")


def library_errors() -> Iterator[BaseException]:
    """One of each kind that the libraries define, with a text of theirs."""
    for name in ("h11", "httpx2", "pymodbus.exceptions", "bleak.exc", "cv2", "aiosmtplib", "serial"):
        for kind in vars(importlib.import_module(name)).values():
            if isinstance(kind, type) and issubclass(kind, Exception):
                with contextlib.suppress(TypeError):  # Those that need more than a text are built on it.
                    yield kind("Server disconnected without sending a response")


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_mixes_languages(language: str) -> None:
    found = {}
    for key, sentence in words(language).items():
        text = FACT.sub(" ", sentence.replace("{{", "").replace("}}", ""))
        is_read = key not in NOT_READ and not key.startswith("argument.")
        if is_read and (foreign := foreign_words(language, text)):
            found[key] = foreign
    assert found == {}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "errors", [system_errors, tls_errors, database_errors, form_errors, library_errors]
)
def test_no_text_of_a_library_is_in_a_sentence(
    language: str, errors: Callable[[], Iterator[BaseException]]
) -> None:
    causes = [cause_of(error) for error in errors()]
    assert len(causes) > 10
    for cause in causes:
        # What was read, and the code that is all there is to say of some errors.
        unknown = dict.fromkeys(cause["facts"].keys() & {"code", "field", "where", "package"}, "–")
        reason = {**cause, "facts": cause["facts"] | unknown}
        text = translate(language, "error.system", reason=reason)
        assert foreign_words(language, text) == [], text


@pytest.mark.parametrize("language", LANGUAGES)
def test_lanes_and_reasons_of_losses_have_words(language: str) -> None:
    reasons = {CRASH_REASON, DAMAGE_REASON, *REFUSAL_REASONS.values()}
    reasons |= {"space", "disk", "thinned", "dead", "denied", "poison", "unencodable"}
    keys = {f"lane.{lane.name.lower()}" for lane in Lane} | {f"lost.{reason}" for reason in reasons}
    assert keys <= words(language).keys()
