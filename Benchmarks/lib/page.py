"""report.html: one file, no scripts, nothing from elsewhere. It is well-formed XML, too."""

from xml.etree import ElementTree

import charts
import tables
from svg import element

# The servers' colours in light and in dark; Tapline's three are blues and greens.
COLOURS = {
    "file": ("#6b7280", "#9ca3af"),
    "nbdkit": ("#c2410c", "#fb923c"),
    "qemu-nbd": ("#86198f", "#e879f9"),
    "tapline-plain": ("#0ea5e9", "#7dd3fc"),
    "tapline-groups": ("#0f766e", "#2dd4bf"),
    "tapline": ("#1d4ed8", "#6091fa"),
}
DASHES = {"file": "2 3", "tapline-plain": "6 3", "tapline-groups": "9 2 2 2"}

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1f2937; --dim: #5b6472; --rule: #e2e5ea;
  --good: #15803d; --bad: #b91c1c; }
body { margin: 2rem auto; max-width: 78rem; padding: 0 1rem; background: var(--paper);
  color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; }
p { max-width: 48rem; margin: .3rem 0; color: var(--dim); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr));
  gap: 1.2rem 1.6rem; }
figure { margin: 0; } figcaption { font-weight: 600; font-size: .9rem; }
figure svg { width: 100%; height: auto; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
svg text.axis { fill: var(--ink); } svg text.value { fill: var(--ink); }
.end { text-anchor: end; } .middle { text-anchor: middle; }
.grid { stroke: var(--rule); fill: none; }
.line { stroke: var(--series); fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.line.tapline { stroke-width: 2.8; }
.mark { stroke: var(--series); fill: var(--series); stroke-width: 1.4; }
.spread { stroke: var(--series); fill: none; stroke-width: 1; opacity: .8; }
.bar { fill: var(--series); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0;
  margin: .5rem 0 .8rem; font-size: .9rem; }
.swatch { width: 34px; height: 12px; margin-right: .4rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums;
  margin: .5rem 0; }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th { color: var(--dim); font-weight: 600; } .number { text-align: right; }
.met { color: var(--good); font-weight: 600; } .missed { color: var(--bad); font-weight: 600; }
summary { cursor: pointer; margin: 1.5rem 0 .3rem; font-weight: 600; }
"""

DARK = """
  :root { --paper: #14171c; --ink: #e5e7eb; --dim: #a3abb8; --rule: #2c323b; --good: #4ade80;
    --bad: #f87171; }
"""

SECTIONS = [
    ("IOPS by depth", charts.depths,
     "4 KiB random writes on one connection to one disk. A point is the median of the rounds; thin"
     " vertical lines reach from the least of them to the most."),
    ("Scaling by connections", charts.connections,
     "4 KiB random writes on several connections to one disk."),
    ("Scaling by disks", charts.disks,
     "4 KiB random writes on one connection to each disk. Together the disks are as large as the"
     " single one. In tapline all disks are one consistency group, in tapline-groups each is one;"
     " with one disk the two are the same."),
    ("Processor time", charts.cpu,
     "User and system time of all server processes, flushes counted as requests. For tapline that"
     " is both sites: the recovery site's journal and disk, too."),
    ("Latency", charts.latencies,
     "From a request's submission to its reply, of all rounds together. A lower line is better;"
     " right of 99 % are the requests that a user notices."),
]


def render(environment, runs, rows, verdicts):
    html = ElementTree.Element("html", {"lang": "en"})
    head = element(html, "head")
    element(head, "meta", charset="utf-8")
    element(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    element(head, "title", "Tapline: benchmark results")
    element(head, "style", style())
    body = element(html, "body")
    element(body, "h1", "What protection costs")
    element(
        body, "p",
        f"Tapline {environment.get('commit', '')}, {environment.get('date', '')}:"
        f" {environment.get('processor', '')}, {environment.get('memory', '')}. Compare lines with"
        " each other; the absolute figures are this machine's. How it was measured:"
        " Benchmarks/README.md.",
    )
    section = element(body, "section", id="targets")
    element(section, "h2", "Targets of Tapline with all three copies")
    table(section, *tables.target_cells(verdicts))
    for title, draw, text in SECTIONS:
        section = ElementTree.Element("section")
        element(section, "h2", title)
        element(section, "p", text)
        legend = element(section, "ul", class_="legend")
        grid = element(section, "div", class_="charts")
        draw(grid, runs)
        charts.fill_legend(legend, grid)
        if not len(legend):
            section.remove(legend)
        if len(grid):
            body.append(section)
    details(body, "All figures: medians over the rounds", tables.median_cells(rows))
    details(body, "All ratios, pair by pair: medians over the rounds", tables.ratio_cells(rows))
    details(body, "The machine", (["", ""], [list(item) for item in environment.items()]))
    # HTML has no short form of an empty element, but for a few that have no end tag, as `meta`.
    text = ElementTree.tostring(html, encoding="unicode", short_empty_elements=False)
    return "<!DOCTYPE html>\n" + text.replace("></meta>", "/>") + "\n"


def style():
    """The text has no character that XML and HTML read differently in a style sheet: < > &."""
    light = "".join(f".{server} {{ --series: {pair[0]}; }}\n" for server, pair in COLOURS.items())
    dark = "".join(f"  .{server} {{ --series: {pair[1]}; }}\n" for server, pair in COLOURS.items())
    dashes = "".join(
        f".line.{server} {{ stroke-dasharray: {dash}; }}\n" for server, dash in DASHES.items()
    )
    return f"{STYLE}{light}{dashes}@media (prefers-color-scheme: dark) {{{DARK}{dark}}}\n"


def details(parent, title, cells):
    box = element(parent, "details")
    element(box, "summary", title)
    table(box, *cells)


def table(parent, heads, rows):
    outer = element(element(parent, "div", class_="wide"), "table")
    line = element(outer, "tr")
    for head in heads:
        element(line, "th", head)
    for cells in rows:
        line = element(outer, "tr")
        for cell in cells:
            kind = {"met": "met", "MISSED": "missed"}.get(cell)
            kind = kind or ("number" if cell and tables.is_number(cell) else "text")
            element(line, "td", cell, class_=kind)
