"""The charts of the page: which measurements each of them shows.

A chart is chosen by what was measured (depth, connections, disks), not by the names of jobs, and
left out when there is nothing to compare in it.
"""

import math
from collections import Counter
from statistics import median

import svg
from measurements import label, unique

# In legends, and for colours and marks. A later server is drawn over an earlier one.
SERVERS = ["file", "nbdkit", "qemu-nbd", "tapline-plain", "tapline-groups", "tapline"]

# Percentiles at which a latency curve is drawn: evenly on an axis that gives each nine its place.
NINES = [step / 10 for step in range(0, 41)]
PERCENTILE_TICKS = [0, 50, 90, 99, 99.9, 99.99]


def latencies(parent, runs):
    """For each job, how long requests took at each percentile; and how long its flushes took."""
    for job in unique(run.job for run in runs):
        mine = [run for run in runs if run.job == job]
        latency_chart(parent, f"latency-{job}", job, mine, lambda run: run.latencies)
        latency_chart(
            parent, f"flush-{job}", f"{job}: flushes", mine, lambda run: run.flush_latencies
        )


def latency_chart(parent, name, title, runs, histogram_of):
    lines = []
    for server in servers_of(runs):
        counts = Counter()
        for run in runs:
            if run.server == server:
                counts.update(histogram_of(run))
        if counts:
            lines.append(series(server, percentile_points(counts)))
    if not lines:
        return
    values = [point.y for line in lines for point in line.points]
    svg.line_chart(
        figure(parent, name, title),
        f"{title}: latency by percentile",
        svg.Axis(
            "share of requests that took at most so long (%)",
            lambda percent: nines(percent / 100) / NINES[-1],
            [(tick, f"{tick:g}") for tick in PERCENTILE_TICKS],
        ),
        svg.logarithmic_axis("latency", min(values), max(values), duration),
        lines,
        with_marks=False,
    )


def nines(share):
    """0.9 is one nine, 0.99 are two."""
    return -math.log10(1 - share)


def percentile_points(counts):
    """The curve of a histogram, as far to the right as there are requests to speak of."""
    total = sum(counts.values())
    points, seen, bins = [], 0, iter(sorted(counts.items()))
    latency = 0
    for place in NINES:
        share = 1 - 10**-place
        if total * (1 - share) < 1:
            break
        while seen < max(1, share * total):
            latency, count = next(bins)
            seen += count
        microseconds = latency / 1000
        points.append(svg.Point(share * 100, microseconds, microseconds, microseconds, ""))
    return points


def depths(parent, runs):
    """One disk, one connection: IOPS by the number of requests in flight."""
    chosen = [run for run in writes(runs) if (run.disks, run.connections) == (1, 1)]
    iops_chart(
        parent, "depth", "4 KiB random writes by depth", "writes in flight", chosen,
        lambda run: run.depth,
    )


def connections(parent, runs):
    """One disk, several connections: with one request on each, and with 32 in all."""
    one_disk = [run for run in writes(runs) if run.disks == 1]
    iops_chart(
        parent, "connections-d1", "one write in flight on each connection",
        "connections to one disk", [run for run in one_disk if run.depth == 1],
        lambda run: run.connections,
    )
    iops_chart(
        parent, "connections-32", "32 writes in flight in all", "connections to one disk",
        [run for run in one_disk if run.depth * run.connections == 32],
        lambda run: run.connections,
    )


def disks(parent, runs):
    """One connection to each of several disks, one request in flight on each."""
    for name, title, flushed in [
        ("disks-d1", "one write in flight on each disk", False),
        ("disks-d1-fsync", "one write in flight on each disk, then a flush", True),
    ]:
        chosen = [
            run for run in writes(runs, flushed) if (run.connections, run.depth) == (1, 1)
        ]
        iops_chart(parent, name, title, "disks", chosen, lambda run: run.disks)


def writes(runs, flushed=False):
    """Those of 4 KiB at random offsets."""
    return [
        run
        for run in runs
        if (run.options["rw"], run.options["bs"]) == ("randwrite", "4k")
        and ("fsync" in run.options) == flushed
    ]


def iops_chart(parent, name, title, x_title, runs, x_of):
    places = sorted(unique(map(x_of, runs)))
    if len(places) < 2:
        return
    lines = []
    for server in servers_of(runs):
        points = []
        for place in places:
            values = [run.figures["iops"] for run in runs if x_of(run) == place
                      and run.server == same_server(server, run.disks)]
            if values:
                text = f"{label(server)}: {median(values):,.0f} IOPS at {place} {x_title}"
                points.append(svg.Point(place, median(values), min(values), max(values), text))
        lines.append(series(server, points))
    highest = max(point.high for line in lines for point in line.points)
    svg.line_chart(
        figure(parent, name, title), f"{title}: IOPS by {x_title}",
        svg.doubling_axis(x_title, places), svg.linear_axis("IOPS", highest, thousands), lines,
    )


def same_server(server, disk_count):
    """With one disk, a group for each disk is one group."""
    return "tapline" if server == "tapline-groups" and disk_count == 1 else server


def cpu(parent, runs):
    """Processor time of all server processes. Jobs of one request size have one scale."""
    figure_name = "cpu_s_per_million"
    for size in unique(run.options["bs"] for run in runs):
        medians = {}
        for run in runs:
            if run.options["bs"] == size and figure_name in run.figures:
                medians.setdefault(run.job, {}).setdefault(run.server, []).append(
                    run.figures[figure_name]
                )
        if not medians:
            continue
        highest = max(median(values) for by_server in medians.values()
                      for values in by_server.values())
        axis = svg.linear_axis("CPU seconds per million requests", highest, "{:g}".format)
        for job, by_server in medians.items():
            bars = [
                (server, label(server), median(by_server[server]),
                 f"{median(by_server[server]):.1f}")
                for server in SERVERS
                if server in by_server
            ]
            svg.bar_chart(figure(parent, f"cpu-{job}", job), f"{job}: CPU time", axis, bars)


def fill_legend(items, grid):
    """Names the servers whose lines are in the grid; bars have their names beside them."""
    drawn = {line.get("class").split()[-1] for line in grid.iter("polyline")}
    for mark, server in enumerate(SERVERS):
        if server in drawn:
            item = svg.element(items, "li")
            svg.swatch(item, server, mark)
            svg.element(item, "span", label(server))


def servers_of(runs):
    measured = {run.server for run in runs}
    return [server for server in SERVERS if server in measured]


def series(server, points):
    return svg.Series(server, label(server), SERVERS.index(server), points)


def figure(parent, name, title):
    box = svg.element(parent, "figure", id=name)
    svg.element(box, "figcaption", title)
    return box


def duration(microseconds):
    for factor, unit in [(1e6, "s"), (1e3, "ms"), (1, "µs")]:
        if microseconds >= factor:
            return f"{microseconds / factor:g} {unit}"
    return f"{microseconds * 1000:g} ns"


def thousands(value):
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
