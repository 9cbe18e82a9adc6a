#!/usr/bin/env python3
"""Tables of a results folder that Benchmarks/run filled.

    report.py [--check] FOLDER     writes results.json and report.md there and prints the tables
    report.py --line RUN           prints one measurement; RUN is the path of its files, no suffix

A measurement is two files: RUN.fio.json, what fio said, and RUN.json, which names the measurement
and says what the server's processes used. Ratios are made pair by pair: each round's figure by that
of the other server in the same round, and then the median over the rounds.
"""

import json
import statistics
import sys
from pathlib import Path

BASELINES = ["nbdkit", "qemu-nbd"]

# What Tapline with all three copies is held to: job, figure, baseline, comparison, bound.
TARGETS = [
    ("randwrite-4k-d1", "p50_us", "nbdkit", "<=", 1.0),
    ("randwrite-4k-d32", "iops", "nbdkit", ">=", 0.8),
    ("randwrite-4k-d1+fsync", "iops", "nbdkit", ">=", 1.2),
    ("randwrite-4k-d32", "iops", "qemu-nbd", ">=", 2.0),
]
PROTECTED = "tapline"

FIGURES = [
    ("iops", "IOPS", "{:,.0f}"),
    ("p50_us", "p50 µs", "{:,.1f}"),
    ("p99_us", "p99 µs", "{:,.1f}"),
    ("flush_p50_us", "flush p50 µs", "{:,.1f}"),
    ("flush_p99_us", "flush p99 µs", "{:,.1f}"),
    ("cpu_s_per_million", "CPU s per million", "{:,.1f}"),
]


def seconds(text):
    """fio's times as the script writes them: '300ms', '5s', '0'."""
    if text.endswith("ms"):
        return float(text[:-2]) / 1000
    return float(text.rstrip("s"))


def percentile_us(part, key):
    return part["lat_ns"]["percentile"][key] / 1000


def load_run(path):
    """One measurement as a flat dictionary; latencies in microseconds."""
    run = json.loads(Path(f"{path}.json").read_text())
    job = json.loads(Path(f"{path}.fio.json").read_text())["jobs"][0]
    if job["error"]:
        sys.exit(f"error: {path}: fio ended with error {job['error']}")
    part = max(job["read"], job["write"], key=lambda each: each["total_ios"])
    run["iops"] = part["iops"]
    run["p50_us"] = percentile_us(part, "50.000000")
    run["p99_us"] = percentile_us(part, "99.000000")
    requests_per_second = part["iops"]
    sync = job["sync"]
    if sync["total_ios"]:
        run["flush_p50_us"] = percentile_us(sync, "50.000000")
        run["flush_p99_us"] = percentile_us(sync, "99.000000")
        requests_per_second *= 1 + sync["total_ios"] / part["total_ios"]
    # The processes were charged for the ramp too, fio's counts leave it out.
    requests = requests_per_second * (part["runtime"] / 1000 + seconds(run["ramp"]))
    run["cpu_s_per_million"] = run["cpu_seconds"] / requests * 1e6
    return run


def show(figure, value):
    text = next(text for key, _, text in FIGURES if key == figure)
    return "" if value is None else text.format(value)


def print_line(path):
    run = load_run(path)
    print(
        f"round {run['round']}  {run['job']:<22} {run['server']:<14}"
        f" {run['iops']:>9,.0f} IOPS  p50 {run['p50_us']:>8,.1f} µs"
        f"  p99 {run['p99_us']:>9,.1f} µs  load {run['load']}",
        flush=True,
    )


def unique(values):
    return list(dict.fromkeys(values))


def summarize(runs):
    """The medians of each pair of job and server, and its ratios to each baseline."""
    by_key = {(run["job"], run["server"], run["round"]): run for run in runs}
    rounds = unique(run["round"] for run in runs)
    rows = []
    for job in unique(run["job"] for run in runs):
        for server in unique(run["server"] for run in runs):
            mine = [by_key[key] for r in rounds if (key := (job, server, r)) in by_key]
            row = {"job": job, "server": server, "rounds": len(mine)}
            for figure, _, _ in FIGURES:
                values = [run[figure] for run in mine if figure in run]
                row[figure] = statistics.median(values) if values else None
            row["ratios"] = {
                f"{figure}/{baseline}": ratio
                for baseline in BASELINES
                if baseline != server
                for figure in ("iops", "p50_us")
                if (ratio := median_ratio(by_key, rounds, job, server, baseline, figure))
            }
            rows.append(row)
    return rows


def median_ratio(by_key, rounds, job, server, baseline, figure):
    ratios = [
        by_key[job, server, r][figure] / by_key[job, baseline, r][figure]
        for r in rounds
        if (job, server, r) in by_key and (job, baseline, r) in by_key
    ]
    return statistics.median(ratios) if ratios else None


def judge(rows):
    """Each target with the ratio that was measured and whether it was met."""
    results = []
    for job, figure, baseline, comparison, bound in TARGETS:
        for row in rows:
            ratio = row["ratios"].get(f"{figure}/{baseline}")
            if row["job"] != job or row["server"] != PROTECTED or ratio is None:
                continue
            met = ratio <= bound if comparison == "<=" else ratio >= bound
            target = f"{job}: {figure} {comparison} {bound}× {baseline}"
            results.append({"target": target, "ratio": ratio, "met": met})
    return results


def table(heads, rows):
    """A Markdown table whose columns are aligned in plain text too."""
    widths = [max(map(len, column)) for column in zip(heads, *rows)]
    lines = []
    for cells in [heads, *rows]:
        padded = [
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths))
        ]
        lines.append("| " + " | ".join(padded) + " |")
    rule = ["-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return "\n".join(lines)


def render(environment, rows, targets):
    parts = ["# Benchmark results", environment.rstrip().replace("\n", "  \n")]
    parts.append("## Medians over the rounds")
    parts.append(
        table(
            ["job", "server", *(head for _, head, _ in FIGURES)],
            [
                [row["job"], row["server"], *(show(key, row[key]) for key, _, _ in FIGURES)]
                for row in rows
            ],
        )
    )
    names = [f"{figure}/{baseline}" for baseline in BASELINES for figure in ("iops", "p50_us")]
    compared = [row for row in rows if row["ratios"]]
    if compared:
        parts.append("## Ratios, pair by pair (median over the rounds)")
        parts.append(
            table(
                ["job", "server", *(name.replace("_us", "").replace("/", " / ") for name in names)],
                [
                    [row["job"], row["server"]]
                    + [f"{row['ratios'][n]:.2f}" if n in row["ratios"] else "" for n in names]
                    for row in compared
                ],
            )
        )
    if targets:
        parts.append("## Targets of Tapline with all three copies")
        parts.append(
            table(
                ["target", "", "measured"],
                [[t["target"], "met" if t["met"] else "MISSED", f"{t['ratio']:.2f}"]
                 for t in targets],
            )
        )
    return "\n\n".join(parts) + "\n"


def main(arguments):
    if arguments[0] == "--line":
        return print_line(arguments[1])
    check = arguments[0] == "--check"
    folder = Path(arguments[-1])
    paths = sorted(
        (path for path in (folder / "runs").glob("*.json") if not path.name.endswith(".fio.json")),
        key=lambda path: path.stat().st_mtime_ns,
    )
    runs = [load_run(str(path).removesuffix(".json")) for path in paths]
    rows = summarize(runs)
    targets = judge(rows)
    environment = (folder / "environment.txt").read_text()
    report = render(environment, rows, targets)
    (folder / "report.md").write_text(report)
    (folder / "results.json").write_text(
        json.dumps(
            {
                "environment": dict(line.split(": ", 1) for line in environment.splitlines()),
                "runs": runs,
                "summary": rows,
                "targets": targets,
            },
            indent=1,
        )
        + "\n"
    )
    print(f"\n{report}\nkept in {folder}")
    return 1 if check and not all(target["met"] for target in targets) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
