"""The visual language: colours keep the contrast of WCAG 2 AA, space is on the grid, type on its scale."""

from __future__ import annotations

import colorsys
import re
from importlib.resources import files
from pathlib import Path

import pytest

STYLE = files("gateway.web").joinpath("static/style.css").read_text("utf-8")
CHARTS = files("gateway.web").joinpath("static/charts.css").read_text("utf-8")
TOKENS, MORE_CONTRAST = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[:2]
COLOURS = re.compile(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);")
LIGHT, DARK = ({name: pair[number] for name, *pair in COLOURS.findall(TOKENS)} for number in range(2))
CLEAR_LIGHT, CLEAR_DARK = (
    {name: pair[number] for name, *pair in COLOURS.findall(TOKENS + MORE_CONTRAST)} for number in range(2)
)
SHEETS = {
    sheet: sheet.read_text("utf-8") for sheet in sorted(Path(str(files("gateway"))).rglob("static/*.css"))
}
RULES = {
    sheet: re.sub(r"/\*.*?\*/|:root \{.*?\}", "", text, flags=re.DOTALL) for sheet, text in SHEETS.items()
}
SEVERITIES = ("bad", "fault", "warn", "drill", "good")
SCHEMES = ["light", "dark", "more contrast, light", "more contrast, dark"]
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
    ("alarm-ink", "action"),
    ("fault-ink", "fault"),
    ("fault-ink", "fault-deep"),
    ("card", "soft"),
]


def luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [LIGHT, DARK, CLEAR_LIGHT, CLEAR_DARK], ids=SCHEMES)
@pytest.mark.parametrize(("text", "paper"), PAIRS)
def test_contrast(scheme: dict[str, str], text: str, paper: str) -> None:
    light, dark = sorted((luminance(scheme[text]), luminance(scheme[paper])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=SCHEMES[:2])
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


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=SCHEMES[:2])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_brand_is_no_severity(scheme: dict[str, str], severity: str) -> None:
    apart = abs(hue(scheme["brand"]) - hue(scheme[severity]))
    assert min(apart, 360 - apart) > 20


def hue(colour: str) -> float:
    """In degrees."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 360 * colorsys.rgb_to_hsv(red, green, blue)[0]


@pytest.mark.parametrize("sheet", RULES, ids=lambda sheet: sheet.name)
def test_type_is_on_the_scale(sheet: Path) -> None:
    """Or follows what is around it."""
    sizes = re.findall(r"font-size: ([^;}]+)", RULES[sheet])
    off = [
        size
        for size in sizes
        if not re.match(r"var\(--text-\w+\)|[.\d]+em|inherit|min|clamp|\d[.\d]*px", size)
    ]
    assert off == []


@pytest.mark.parametrize("sheet", RULES, ids=lambda sheet: sheet.name)
def test_space_is_on_the_grid(sheet: Path) -> None:
    spaces = re.findall(r"(?:padding|margin|gap|inset)(?:-[a-z-]+)?: ([^;}]+)", RULES[sheet])
    lengths = [float(length) for space in spaces for length in re.findall(r"(-?[.\d]+)rem", space)]
    assert [length for length in lengths if length % 0.25] == []


@pytest.mark.parametrize("sheet", RULES, ids=lambda sheet: sheet.name)
def test_colours_are_roles(sheet: Path) -> None:
    """But for white, black, and what is drawn on the picture of a camera."""
    rules = re.sub(r"(?m)^\.(?:stage|handle)\b.*$", "", RULES[sheet])
    assert set(re.findall(r"#[0-9a-f]{3,8}\b(?![^{]*\{)", rules)) <= {"#fff", "#000"}
