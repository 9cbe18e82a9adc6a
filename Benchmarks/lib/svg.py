"""Charts as SVG elements: lines over two axes, and bars. Standard library only.

Colours and line styles are CSS classes, one for each series, that the page defines; so one drawing
serves light and dark. Numbers in pixels are those of the view box; the page scales it.
"""

import math
from dataclasses import dataclass, field
from xml.etree import ElementTree

WIDTH, HEIGHT = 380, 236
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 24, 38
BAR_LEFT, BAR_RIGHT, BAR_STEP, BAR_HEIGHT = 104, 44, 18, 12

# What marks the points of the first series, the second …: each in the box from -4 to 4.
MARKS = [
    "M-3.5-3.5L3.5 3.5M-3.5 3.5L3.5-3.5",
    "M-3.2-3.2h6.4v6.4h-6.4z",
    "M0-4L4 3.2H-4z",
    "M0-4.2L4.2 0L0 4.2L-4.2 0z",
    "M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z",
    "M0 4L4-3.2H-4z",
]


@dataclass
class Point:
    """`low` and `high`, the least and the most of all rounds, are drawn when they differ."""

    x: float
    y: float
    low: float
    high: float
    text: str


@dataclass
class Series:
    """`style` is the CSS class; `mark` an index into MARKS."""

    style: str
    label: str
    mark: int
    points: list = field(default_factory=list)


@dataclass
class Axis:
    """`place` maps a value to 0 … 1; `ticks` are values with their texts."""

    title: str
    place: object
    ticks: list


def element(parent, tag, text=None, **attributes):
    """A new element below `parent`; `class_` and `text_anchor` mean `class` and `text-anchor`."""
    names = {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()}
    child = ElementTree.SubElement(parent, tag, names)
    child.text = text
    return child


def linear_axis(title, highest, show):
    """From 0 to at least `highest`, with ticks at round values."""
    highest = highest or 1
    magnitude = 10 ** math.floor(math.log10(highest / 4))
    step = next(magnitude * n for n in (1, 2, 2.5, 5, 10) if highest / (magnitude * n) <= 5)
    count = math.ceil(highest / step - 1e-9)
    ticks = [(step * n, show(step * n)) for n in range(count + 1)]
    return Axis(title, lambda value: value / (step * count), ticks)


def logarithmic_axis(title, lowest, highest, show):
    """Ticks at 1, 2 and 5 times the powers of ten, or at the powers alone where that is enough."""
    low, high = math.log10(lowest / 1.1), math.log10(highest * 1.1)
    factors = (1,) if high - low > 3 else (1, 2, 5) if high - low < 1.7 else (1, 3)
    values = [n * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for n in factors]
    ticks = [(value, show(value)) for value in values if low <= math.log10(value) <= high]
    return Axis(title, lambda value: (math.log10(value) - low) / (high - low), ticks)


def doubling_axis(title, values):
    """A tick at each of the values; equal factors are equal distances."""
    low, high = math.log2(min(values)), math.log2(max(values))
    return Axis(
        title,
        lambda value: 0.04 + 0.92 * (math.log2(value) - low) / (high - low),
        [(value, str(value)) for value in values],
    )


def line_chart(parent, title, x_axis, y_axis, series, with_marks=True):
    """A chart with a line for each series."""
    svg = drawing(parent, title, HEIGHT)

    def across(value):
        return round(LEFT + x_axis.place(value) * (WIDTH - LEFT - RIGHT), 1)

    def up(value):
        return round(HEIGHT - BOTTOM - y_axis.place(value) * (HEIGHT - TOP - BOTTOM), 1)

    for value, text in y_axis.ticks:
        element(svg, "path", class_="grid", d=f"M{LEFT} {up(value)}H{WIDTH - RIGHT}")
        element(svg, "text", text, class_="end", x=LEFT - 6, y=up(value) + 4)
    for value, text in x_axis.ticks:
        element(svg, "path", class_="grid", d=f"M{across(value)} {TOP}V{HEIGHT - BOTTOM}")
        element(svg, "text", text, class_="middle", x=across(value), y=HEIGHT - BOTTOM + 14)
    element(svg, "text", y_axis.title, class_="axis", x=4, y=12)
    element(svg, "text", x_axis.title, class_="axis end", x=WIDTH - RIGHT, y=HEIGHT - 6)
    for one in series:
        places = " ".join(f"{across(point.x)},{up(point.y)}" for point in one.points)
        line = element(svg, "polyline", class_=f"line {one.style}", points=places)
        element(line, "title", one.label)
        for point in one.points if with_marks else []:
            if up(point.low) != up(point.high):
                spread = f"M{across(point.x)} {up(point.low)}V{up(point.high)}"
                element(svg, "path", class_=f"spread {one.style}", d=spread)
            mark = element(
                svg, "path", class_=f"mark {one.style}", d=MARKS[one.mark],
                transform=f"translate({across(point.x)} {up(point.y)})",
            )
            element(mark, "title", point.text)


def bar_chart(parent, title, axis, bars):
    """A bar for each (style, label, value, text)."""
    bottom = 4 + len(bars) * BAR_STEP
    svg = drawing(parent, title, bottom + 34)

    def across(value):
        return round(BAR_LEFT + axis.place(value) * (WIDTH - BAR_LEFT - BAR_RIGHT), 1)

    for value, text in axis.ticks:
        element(svg, "path", class_="grid", d=f"M{across(value)} 2V{bottom}")
        element(svg, "text", text, class_="middle", x=across(value), y=bottom + 14)
    element(svg, "text", axis.title, class_="axis end", x=WIDTH - RIGHT, y=bottom + 29)
    for index, (style, label, value, text) in enumerate(bars):
        top = 4 + index * BAR_STEP + (BAR_STEP - BAR_HEIGHT) // 2
        element(svg, "text", label, class_="end", x=BAR_LEFT - 6, y=top + 10)
        element(
            svg, "rect", class_=f"bar {style}", x=BAR_LEFT, y=top,
            width=round(across(value) - BAR_LEFT, 1), height=BAR_HEIGHT,
        )
        element(svg, "text", text, class_="value", x=across(value) + 5, y=top + 10)


def swatch(parent, style, mark):
    """What stands for a series in a legend."""
    svg = element(parent, "svg", class_="swatch", viewBox="0 0 34 12", aria_hidden="true")
    element(svg, "path", class_=f"line {style}", d="M1 6H33")
    element(svg, "path", class_=f"mark {style}", d=MARKS[mark], transform="translate(17 6)")


def drawing(parent, title, height):
    return element(parent, "svg", viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=title)
