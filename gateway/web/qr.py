"""QR codes: the only file that knows segno."""

from __future__ import annotations

import io

import segno


def svg(text: str) -> bytes:
    """A picture of any size, dark on white whatever the colours around it."""
    out = io.BytesIO()
    code = segno.make(text, micro=False, error="m")
    code.save(out, kind="svg", border=4, light="#fff", omitsize=True, xmldecl=False)
    return out.getvalue()
