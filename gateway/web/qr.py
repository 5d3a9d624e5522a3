"""QR codes. The only file that uses segno."""

from __future__ import annotations

import io

import segno


def svg(text: str) -> bytes:
    """A scalable picture, always dark on white."""
    out = io.BytesIO()
    code = segno.make(text, micro=False, error="m")
    code.save(out, kind="svg", border=4, light="#fff", omitsize=True, xmldecl=False)
    return out.getvalue()
