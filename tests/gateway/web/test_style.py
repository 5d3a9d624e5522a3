"""The colours keep the contrast of WCAG 2 AA, in the light and in the dark."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

STYLE = files("gateway.web").joinpath("static/style.css").read_text("utf-8")
CHARTS = files("gateway.capabilities.visitors").joinpath("static/visitors.css").read_text("utf-8")
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


@pytest.mark.parametrize("scheme", [LIGHT, LIGHT | DARK], ids=["light", "dark"])
@pytest.mark.parametrize("shade", range(7))
def test_contrast_of_the_figures_in_a_heat_map(scheme: dict[str, str], shade: int) -> None:
    """A square is the brand's colour, let through by so much over the card."""
    found = re.search(rf"\.shade-{shade} \{{ fill-opacity: ([.\d]+); \}}", CHARTS)
    part = float(found[1]) if found else 1.0
    text = next(
        colour
        for among, colour in re.findall(r"\.chart :is\((\.on-[^)]*)\) \{ fill: var\(--(\w+)\); \}", CHARTS)
        if f".on-{shade}" in among.split(", ")
    )
    over, below = scheme["brand"], scheme["card"]
    mixed = "#" + "".join(
        f"{round(int(over[i : i + 2], 16) * part + int(below[i : i + 2], 16) * (1 - part)):02x}"
        for i in (1, 3, 5)
    )
    light, dark = sorted((luminance(mixed), luminance(scheme[text])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
