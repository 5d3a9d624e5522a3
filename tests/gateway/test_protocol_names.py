"""The core knows no protocol by its name: not in an identifier, an import, a string or an error key."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import drivers

GATEWAY = Path(__file__).parents[2] / "gateway"
SOURCES = sorted(
    path for path in GATEWAY.rglob("*.py")
    if path.relative_to(GATEWAY).parts[0] not in ("simulate", "words")
)  # fmt: skip
OTHER_MEANINGS = {
    "ble": {"field/scan/__init__.py"},  # The radio: a kind of target, like serial, tcp and mqtt.
    "camera": None,  # An everyday word; who may import a driver, tests/test_house.py says.
}


def words(text: str) -> list[str]:
    """`HTTPPush`, `http_push` and `http-push.x` are all made of the words http and push."""
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", text)


def names_in(source: str) -> Iterator[str]:
    """Every identifier, import and string of a module; its docstrings and comments are free."""
    tree = ast.parse(source)
    documentation = {
        id(node.value)
        for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            if isinstance(text := getattr(node, field, None), str):
                yield text


def mentions(text: str, driver: str) -> bool:
    """Whether the driver's words stand in the text, one after the other."""
    found = "-".join(word.lower() for word in words(text))
    return re.search(rf"(^|-){driver.replace('_', '-')}(-|$)", found) is not None


@pytest.mark.parametrize("driver", drivers.driver_names())
def test_the_core_never_names_a_driver(driver: str) -> None:
    exempt = OTHER_MEANINGS.get(driver, set())
    found = {
        f"{path.relative_to(GATEWAY)}: {text}"
        for path in SOURCES
        if exempt is not None and str(path.relative_to(GATEWAY)) not in exempt
        for text in names_in(path.read_text(encoding="utf-8"))
        if mentions(text, driver)
    }
    assert found == set()


@pytest.mark.parametrize("text", ["MODBUS", "modbus-exception", "ModbusBus", "drivers.modbus", "a modbus"])
def test_a_name_is_found_however_it_is_written(text: str) -> None:
    assert mentions(text, "modbus")
    assert not mentions("table", "ble")
    assert mentions("HTTPPush", "http_push")
