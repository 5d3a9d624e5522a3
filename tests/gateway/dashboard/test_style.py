"""The colours keep the contrast of WCAG 2 AA, in the light and in the dark."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

STYLE = files("gateway.dashboard").joinpath("static/style.css").read_text("utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[:2]
)
PAIRS = [
    *((text, paper) for text in ("ink", "soft") for paper in ("paper", "card", "bad-paper", "warn-paper")),
    *(
        (colour, paper)
        for colour in ("good", "warn", "bad", "brand", "drill")
        for paper in ("card", "paper")
    ),
    *((colour, f"{colour}-paper") for colour in ("good", "warn", "bad", "drill")),
    ("alarm-ink", "alarm"),
    ("alarm-ink", "alarm-deep"),
]


def luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [LIGHT, LIGHT | DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "paper"), PAIRS)
def test_contrast(scheme: dict[str, str], text: str, paper: str) -> None:
    light, dark = sorted((luminance(scheme[text]), luminance(scheme[paper])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
