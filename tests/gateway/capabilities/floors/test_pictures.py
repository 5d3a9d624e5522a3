"""Pictures made by OpenCV, and SVGs as drawing programs write them."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capabilities.floors import pictures
from gateway.capabilities.floors.pictures import MAX_SVG_ELEMENTS, Picture, recognise, store
from gateway.model import GatewayError


def picture(ending: str, width: int = 64, height: int = 48) -> bytes:
    return bytes(cv2.imencode(f".{ending}", np.zeros((height, width, 3), np.uint8))[1])


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_size_of_a_photograph(ending: str) -> None:
    assert recognise(picture(ending)) == Picture(ending, 64, 48)


@pytest.mark.parametrize(
    ("root", "size"),
    [
        ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 420"/>', (800, 420)),
        ('<svg width="21cm" height="29.7cm" viewBox="-10,-10,210,297"/>', (210, 297)),
        ('<?xml version="1.0"?>\n<!-- made --><svg width="640px" height="480.4px"></svg>', (640, 480)),
        ('<s:svg xmlns:s="http://www.w3.org/2000/svg" width="1e2" height="50"/>', (100, 50)),
    ],
)
def test_size_of_an_svg(root: str, size: tuple[int, int]) -> None:
    assert recognise(root.encode()) == ("svg", *size)


BOMB = '<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg viewBox="0 0 9 9">&b;</svg>'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"<html/>",
        b"<svg/>",
        b'<svg viewBox="0 0 nan inf"/>',
        b'<svg viewBox="0 0 0 5"/>',
        b'<svg viewBox="0 0 1e9 1e9"/>',
        b'<svg viewBox="0 0 9 9">',
        BOMB.encode(),
        b'<svg viewBox="0 0 9 9">' + b"<g/>" * (MAX_SVG_ELEMENTS + 1) + b"</svg>",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"\xff\xd8\xff\xe0\x00\x00" * 9,
        picture("jpg")[:40],
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(GatewayError) as refused:
        recognise(data)
    assert refused.value.key in ("picture-unknown", "picture-size")


@given(st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"<svg "]), st.binary(max_size=64))
def test_any_bytes_are_a_picture_or_refused(start: bytes, rest: bytes) -> None:
    try:
        found = recognise(start + rest)
    except GatewayError:
        return
    assert found.width > 0 < found.height


def test_a_pdf_is_refused_by_name() -> None:
    with pytest.raises(GatewayError) as refused:
        recognise(b"%PDF-1.7")
    assert refused.value.key == "picture-pdf"


def test_the_oldest_pictures_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "floors"
    names = []
    for number in range(4):
        name, found = store(folder, picture("png", 10 + number), set(names[:1]))
        assert found.width == 10 + number
        names.append(name)
        os.utime(folder / name, (number, number))
    monkeypatch.setattr(pictures, "MAX_KEPT_BYTES", 1)
    newest, _ = store(folder, picture("png", 99), {names[0]})
    assert {file.name for file in folder.iterdir()} == {names[0], newest}
    with pytest.raises(GatewayError):
        store(folder / newest, picture("png"), set())
