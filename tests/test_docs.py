"""The documents are true: paths exist, the example in CONTRIBUTING runs, names follow the glossary."""

from __future__ import annotations

import ast
import http.cookiejar
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(ROOT.glob("*.md"))
SOURCES = sorted([*(ROOT / "gateway").rglob("*.py"), *(ROOT / "drivers").rglob("*.py")])
START_TIMEOUT_S = 120

SITE = """\
schema = "linli/site/1"
[site]
id = "centre"
title = "Centre"
[journal]
path = "{folder}/journal.db"
[control]
socket = "{folder}/control.sock"
[dashboard]
port = {port}
access = "{folder}/access.key"
[bus.camera]
driver = "camera"
url = "rtsp://192.0.2.1/stream"
view = "overhead"
[device.counter-blue]
profile = "occupancy/camera-zone"
title = "People in the blue room"
bus = "camera"
zone = [[0.1, 0.6], [0.9, 0.6], [0.9, 0.95]]
every = 10
"""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_paths_in_a_document_exist(document: Path) -> None:
    named = re.findall(
        r"`((?:gateway|drivers|config|tests|scripts|systemd)/[\w./-]+)`", document.read_text("utf-8")
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


def blocks(document: str) -> Iterator[tuple[str, str]]:
    """Path and content of each code block that names its file in the first line."""
    for text in re.findall(r"^```\w+\n(.*?)^```$", document, re.MULTILINE | re.DOTALL):
        if path := re.match(r"(?:# |\{# )((?:gateway|tests)/\S+)(?: #\})?\n", text):
            yield path[1], text[path.end() :]


def fetch(port: int, key: str, path: str) -> str:
    """A page of a dashboard that is about to start, in English."""
    address = f"http://127.0.0.1:{port}"
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    opener.open(f"{address}/?key={key}&lang=en", timeout=10).close()
    with opener.open(address + path, timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.timeout(3 * START_TIMEOUT_S)
def test_the_capability_of_the_manual_works(tmp_path: Path) -> None:
    manual = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    tree = tmp_path / "tree"
    for folder in ("gateway", "drivers", "config", "tests"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    files = dict(blocks(manual))
    assert len(files) > 8
    for path, content in files.items():
        file = tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, "utf-8")
    (example,) = re.findall(r"^```toml\n(\[meeting-room\..*?)^```$", manual, re.MULTILINE | re.DOTALL)
    port = free_port()
    site = tmp_path / "site.toml"
    site.write_text(SITE.format(folder=tmp_path, port=port) + example, "utf-8")

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    env = {**os.environ, "PYTHONPATH": str(tree), "LINLI_LANG": "en"}
    assert "OK" in run("gateway.cli", "check", str(site))
    assert "Blue room" in run("gateway.cli", "meetings", "--config", str(site))
    own_tests = "tests/gateway/capabilities/meetings"
    run("pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tree), own_tests)
    command = [sys.executable, "-m", "gateway.cli", "dashboard", "--config", str(site)]
    with subprocess.Popen(command, cwd=tree, env=env) as dashboard:
        try:
            key, deadline = tmp_path / "access.key", time.monotonic() + START_TIMEOUT_S
            while True:
                try:
                    page = fetch(port, key.read_text("utf-8").strip(), "/meetings")
                    break
                except (OSError, urllib.error.URLError):
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
        finally:
            dashboard.terminate()
    assert "Blue room" in page
    assert "Unknown" in page  # No reading yet: unknown is never shown as empty.


FORBIDDEN_WORDS = {
    "docket", "gauge", "judge", "ear", "lookout", "confession", "mishap", "apart", "together", "unbroken",
    "told", "spoken", "way", "patient", "bury", "lose", "homeless", "lessons", "recall", "wish",
    "suspicion", "convicted", "reach", "patience",
}  # fmt: skip
"""Words that say nothing to a stranger; the glossary in CONTRIBUTING has those to use instead."""
FORBIDDEN_CONSTANTS = {
    "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "YEAR", "MOST", "LEAST", "FEW", "FEWEST", "EVERY", "AGAIN",
    "LATE",
}  # fmt: skip
"""The unit goes into the name: DAY_S, MINUTES_PER_DAY."""
ALLOWED_NAMES = {"together"}
"""`together` is a key of emergency plans, which are files of the users."""
ALLOWED_TWICE = {"Address", "Options", "_Server"}
"""What each driver calls so, by the contract or by its protocol."""


def definitions(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every function, class, parameter, variable and attribute that a file defines."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def words_of(name: str) -> set[str]:
    """`_CodecError` and `codec_error` have the words codec and error; `under_way` is one word."""
    return {word.lower() for word in re.findall(r"under_way|[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def test_names_are_words_of_the_trade() -> None:
    offenders = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in SOURCES
        for line, name in definitions(path)
        if (FORBIDDEN_WORDS & words_of(name) or name.strip("_") in FORBIDDEN_CONSTANTS)
        and name not in ALLOWED_NAMES
    ]
    assert not offenders, "\n" + "\n".join(offenders)


def test_a_class_name_means_one_class() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        if path.is_relative_to(ROOT / "gateway/simulate"):  # It has the other end of the same things.
            continue
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(ROOT)))
    offenders = [
        f"{name}: {', '.join(paths)}"
        for name, paths in sorted(homes.items())
        if len(paths) > 1 and name not in ALLOWED_TWICE
    ]
    assert not offenders, "\n" + "\n".join(offenders)
