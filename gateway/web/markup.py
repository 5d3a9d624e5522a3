"""Markup built as a tree: what people wrote is text in it, and never markup."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, tostring

__all__ = ["Element", "add", "document", "table", "written"]


def document(language: str, title: str) -> tuple[Element, Element, Element]:
    """An HTML page, its head and its body."""
    html = Element("html", lang={"zh": "zh-CN"}.get(language, language))
    head = add(html, "head")
    add(head, "meta", charset="utf-8")
    add(head, "title", title)
    return html, head, add(html, "body")


def add(parent: Element, tag: str, text: str = "", *, kind: str = "", **attributes: str) -> Element:
    """Put an element at the end of another. `kind`: its class."""
    element = SubElement(parent, tag, attributes | ({"class": kind} if kind else {}))
    element.text = text
    return element


def table(parent: Element, heads: Iterable[str], rows: Iterable[Iterable[tuple[str, str]]]) -> None:
    """A table of cells, each its text and its class."""
    element = add(parent, "table")
    row = add(add(element, "thead"), "tr")
    for text in heads:
        add(row, "th", text, scope="col")
    body = add(element, "tbody")
    for cells in rows:
        row = add(body, "tr")
        for text, kind in cells:
            add(row, "td", text, kind=kind)


def written(element: Element) -> str:
    """As it is sent or saved; a page with its doctype."""
    text = tostring(element, encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{text}" if element.tag == "html" else text
