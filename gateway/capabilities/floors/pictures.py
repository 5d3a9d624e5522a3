"""Pictures of floors: what may be uploaded, how large it is, and where it is kept.

Kept under a digest of their content, so that an earlier version of the site file finds its picture again.
"""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from gateway.base.files import write_durably
from gateway.model import GatewayError

MAX_PICTURE_BYTES = 5_000_000
MAX_SIDE = 20_000
"""Pixels, or units of an SVG, of each side."""
MAX_KEPT_BYTES = 50_000_000
"""Of all pictures together."""
MAX_SVG_ELEMENTS = 50_000
FILE_PATTERN = re.compile(r"[0-9a-f]{16}\.(png|jpg|svg)")
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "svg": "image/svg+xml"}

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8\xff"
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""The markers whose segment gives the size (ITU-T T.81, table B.1)."""
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


class Picture(NamedTuple):
    """What was recognised."""

    ending: str
    width: int
    height: int


def recognise(data: bytes) -> Picture:
    """The kind and size of a picture. Raises `GatewayError` unless it is a PNG, JPEG or SVG with a size."""
    try:
        if data.startswith(_PNG_START):
            found = Picture("png", *struct.unpack(">II", data[16:24]))
        elif data.startswith(_JPEG_START):
            found = Picture("jpg", *_jpeg_size(data))
        elif data.startswith(b"%PDF"):
            raise GatewayError("picture-pdf")
        else:
            found = Picture("svg", *_svg_size(data))
    except (struct.error, IndexError, ValueError, expat.ExpatError) as error:
        raise GatewayError("picture-unknown") from error
    if not all(0 < side <= MAX_SIDE for side in found[1:]):
        raise GatewayError("picture-size", most=MAX_SIDE)
    return found


def picture_digest(data: bytes) -> str:
    """What the name of a picture's file begins with."""
    return hashlib.sha256(data).hexdigest()[:16]


def store(folder: Path, data: bytes, kept: set[str]) -> tuple[str, Picture]:
    """Store a picture; returns the name of its file. Those not in `kept` give way, the oldest first.

    Raises `GatewayError`.
    """
    picture = recognise(data)
    name = f"{picture_digest(data)}.{picture.ending}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_durably(folder / name, data)
        _make_room(folder, kept | {name})
    except OSError as error:
        raise GatewayError("picture-unwritable", path=folder, reason=error) from error
    return name, picture


def _make_room(folder: Path, kept: set[str]) -> None:
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
    size = sum(file.stat().st_size for file in files)
    for file in files:
        if size > MAX_KEPT_BYTES and file.name not in kept:
            size -= file.stat().st_size
            file.unlink()


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # A fill byte.
            at += 1
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise ValueError("no frame")


def _svg_size(data: bytes) -> tuple[int, int]:
    """Of the `viewBox`, else of `width` and `height`."""
    roots: list[dict[str, str]] = []
    count = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > MAX_SVG_ELEMENTS:
            raise ValueError("too many elements")
        if not roots:
            if name.rpartition(" ")[2] != "svg":
                raise ValueError("no SVG")
            roots.append(attributes)

    def refuse(*_: object) -> None:
        raise ValueError("entities are not needed, and may be endless")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = begin
    parser.EntityDeclHandler = refuse
    parser.Parse(data, True)
    (root,) = roots
    box = [float(each) for each in _NUMBER.findall(root.get("viewBox", ""))]
    sides = box[2:4] if len(box) == 4 else [_length(root.get(side, "")) for side in ("width", "height")]
    width, height = (round(side) for side in sides)
    return width, height


def _length(text: str) -> float:
    found = _NUMBER.match(text)
    if found is None:
        raise ValueError("no size")
    return float(found[0])
