"""Medians over the rounds, and ratios between servers.

Ratios are made pair by pair: a round's figure by that of the other server in the same round, a few
seconds apart, and then the median over the rounds. What changes the machine from round to round
meets both.
"""

from statistics import median

from measurements import FIGURES, unique

BASELINES = ["nbdkit", "qemu-nbd", "tapline-plain"]
COMPARED_FIGURES = ["iops", "p50_us"]


def summarize(runs):
    """A row for each pair of job and server: medians, and median ratios to each baseline."""
    rows = []
    for job in unique(run.job for run in runs):
        for server in unique(run.server for run in runs):
            mine = [run for run in runs if (run.job, run.server) == (job, server)]
            if not mine:
                continue
            row = {"job": job, "server": server, "rounds": len(mine)}
            for figure, _, _ in FIGURES:
                row[figure] = median_of(mine, figure)
            row["ratios"] = {}
            for baseline in BASELINES:
                for figure in COMPARED_FIGURES:
                    pairs = ratios(runs, job, server, baseline, figure)
                    if pairs and baseline != server:
                        row["ratios"][f"{figure}/{baseline}"] = median(pairs)
            rows.append(row)
    return rows


def median_of(runs, figure):
    """None when no run has the figure."""
    values = [run.figures[figure] for run in runs if figure in run.figures]
    return median(values) if values else None


def ratios(runs, job, server, baseline, figure):
    """The figure of one server by that of another, for each round that has both."""
    by_key = {(run.server, run.round): run.figures for run in runs if run.job == job}
    return [
        by_key[server, round_number][figure] / by_key[baseline, round_number][figure]
        for round_number in unique(number for _, number in by_key)
        if (server, round_number) in by_key and (baseline, round_number) in by_key
    ]
