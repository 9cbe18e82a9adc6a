"""Measurements, as Benchmarks/run leaves them.

A measurement is two files: RUN.fio.json, what fio said, and RUN.json, which names the measurement
and says what the server's processes used. One of several clients, on several connections or disks,
has a third: RUN.fio_clat_hist.log, how much they did by time.
"""

import json
import sys
from collections import Counter
from pathlib import Path

# What people read instead of a server's name.
LABELS = {"file": "file (no server)"}

# A figure's key, the head of its column, and its format.
FIGURES = [
    ("iops", "IOPS", "{:,.0f}"),
    ("p50_us", "p50 µs", "{:,.1f}"),
    ("p99_us", "p99 µs", "{:,.1f}"),
    ("flush_p50_us", "flush p50 µs", "{:,.1f}"),
    ("flush_p99_us", "flush p99 µs", "{:,.1f}"),
    ("cpu_s_per_million", "CPU s per million", "{:,.1f}"),
]


class Run:
    """One measurement.

    `figures` has the keys of FIGURES that the measurement has: latencies in microseconds, from
    submission to reply. `latencies` and `flush_latencies` count requests by latency in nanoseconds,
    as fio's histogram has it: each bin is named by its middle and is at most 1/64 of it wide.
    """

    def __init__(self, said, job, log):
        """What RUN.json and RUN.fio.json say; the lines of the log, None for a single client."""
        self.round = said["round"]
        self.job = said["job"]
        self.server = said["server"]
        self.disks = said["disks"]
        self.connections = said["connections"]
        self.depth = said["depth"]
        self.options = dict(word[2:].split("=", 1) for word in said["options"].split())
        self.load = said["load"]
        part = max(job["read"], job["write"], key=lambda each: each["total_ios"])
        sync = job["sync"]
        # Not total_ios: for the client that writes a file, fio leaves that at 0.
        flushes = sync.get("lat_ns", {}).get("N", 0)
        self.latencies = histogram(part)
        self.flush_latencies = histogram(sync) if flushes else {}
        seconds = said["runtime_ms"] / 1000
        requests = part["total_ios"] + flushes
        if log is None:
            iops = part["iops"]
            # The processes were charged for the ramp too, fio's counts leave it out.
            requests *= 1 + said["ramp_ms"] / part["runtime"]
        else:
            iops = requests_between(log, said["ramp_ms"], said["runtime_ms"]) / seconds
        self.figures = {
            "iops": iops,
            "p50_us": percentile_us(part, "50.000000"),
            "p99_us": percentile_us(part, "99.000000"),
        }
        if flushes:
            self.figures["flush_p50_us"] = percentile_us(sync, "50.000000")
            self.figures["flush_p99_us"] = percentile_us(sync, "99.000000")
        if said["cpu_seconds"] is not None:
            self.figures["cpu_s_per_million"] = said["cpu_seconds"] / requests * 1e6

    def plain(self):
        """What results.json keeps; the histograms stay in fio's own files."""
        names = ["round", "job", "server", "disks", "connections", "depth", "options", "load"]
        return {name: getattr(self, name) for name in names} | self.figures


def load(path):
    said = json.loads(Path(f"{path}.json").read_text())
    jobs = json.loads(Path(f"{path}.fio.json").read_text())["jobs"]
    if len(jobs) != 1 or jobs[0]["error"]:
        sys.exit(f"error: {path}: fio reports {len(jobs)} groups, error {jobs[0]['error']}")
    log = None
    if said["disks"] * said["connections"] > 1:
        log = Path(f"{path}.fio_clat_hist.log").read_text().splitlines()
    return Run(said, jobs[0], log)


def load_folder(folder):
    """All measurements of a results folder, in the order in which they were made."""
    paths = sorted(
        (path for path in (folder / "runs").glob("*.json") if not path.name.endswith(".fio.json")),
        key=lambda path: path.stat().st_mtime_ns,
    )
    return [load(str(path).removesuffix(".json")) for path in paths]


def line(run):
    return (
        f"round {run.round}  {run.job:<22} {label(run.server):<16}"
        f" {run.figures['iops']:>9,.0f} IOPS  p50 {run.figures['p50_us']:>8,.1f} µs"
        f"  p99 {run.figures['p99_us']:>9,.1f} µs  load {run.load}"
    )


def label(server):
    return LABELS.get(server, server)


def unique(values):
    return list(dict.fromkeys(values))


def requests_between(log, ramp_ms, runtime_ms):
    """How many reads and writes all clients did in one interval: it begins `ramp_ms` after the
    first of them, and takes `runtime_ms`.

    A line of the log is: time in ms, direction (0 read, 1 write, 2 trim), block size, and how many
    requests had which latency since the client's line before.
    """
    done = Counter()
    for entry in log:
        time, direction, _, *counts = map(int, entry.split(","))
        if direction in (0, 1):
            done[time] += sum(counts)
    begin = min(done) + ramp_ms
    return sum(count for time, count in done.items() if begin <= time < begin + runtime_ms)


def percentile_us(part, key):
    return part["lat_ns"]["percentile"][key] / 1000


def histogram(part):
    return {int(latency): count for latency, count in part["lat_ns"]["bins"].items() if count}
