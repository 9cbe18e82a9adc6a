"""report.md: the tables, in Markdown that is aligned in plain text too."""

from measurements import FIGURES, label, unique
from summary import BASELINES, COMPARED_FIGURES
from targets import CPU_JOBS

FORMATS = {figure: text for figure, _, text in FIGURES}


def render(environment, rows, verdicts):
    parts = [
        "# Benchmark results",
        "  \n".join(f"{name}: {value}" for name, value in environment.items()),
        "## Targets of Tapline with all three copies",
        table(*target_cells(verdicts)),
    ]
    heads, cells = cpu_cells(rows)
    if cells:
        parts += ["## CPU seconds of all server processes per million 4 KiB writes",
                  table(heads, cells)]
    parts += ["## Medians over the rounds", table(*median_cells(rows))]
    heads, cells = ratio_cells(rows)
    if cells:
        parts += ["## Ratios, pair by pair (median over the rounds)", table(heads, cells)]
    return "\n\n".join(parts) + "\n"


def target_cells(verdicts):
    heads = ["job", "target", "", "measured", "least to most"]
    return heads, [
        [verdict.job, verdict.demand, verdict.outcome, verdict.measured, verdict.spread]
        for verdict in verdicts
    ]


def cpu_cells(rows):
    servers = unique(row["server"] for row in rows if row["cpu_s_per_million"] is not None)
    by_key = {(row["job"], row["server"]): row["cpu_s_per_million"] for row in rows}
    return ["job", *map(label, servers)], [
        [job, *(show("cpu_s_per_million", by_key.get((job, server))) for server in servers)]
        for job in CPU_JOBS
        if any((job, server) in by_key for server in servers)
    ]


def median_cells(rows):
    return ["job", "server", *(head for _, head, _ in FIGURES)], [
        [row["job"], label(row["server"]), *(show(key, row[key]) for key, _, _ in FIGURES)]
        for row in rows
    ]


def ratio_cells(rows):
    names = [f"{figure}/{baseline}" for baseline in BASELINES for figure in COMPARED_FIGURES]
    heads = [name.replace("_us", "").replace("/", " / ") for name in names]
    return ["job", "server", *heads], [
        [row["job"], label(row["server"])]
        + [f"{row['ratios'][name]:.2f}" if name in row["ratios"] else "" for name in names]
        for row in rows
        if row["ratios"]
    ]


def show(figure, value):
    return "" if value is None else FORMATS[figure].format(value)


def is_number(cell):
    return cell == "" or cell[0].isdigit()


def table(heads, rows):
    """Columns of numbers are aligned at the right."""
    columns = list(zip(heads, *rows))
    widths = [max(map(len, column)) for column in columns]
    rights = [all(map(is_number, column[1:])) for column in columns]
    lines = []
    for cells in [heads, *rows]:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, rights)
        ]
        lines.append("| " + " | ".join(padded) + " |")
    rule = ["-" * (w - 1) + ":" if right else "-" * w for w, right in zip(widths, rights)]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return "\n".join(lines)
