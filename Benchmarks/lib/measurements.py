"""Measurements, as Benchmarks/run leaves them.

A measurement is two files: RUN.fio.json, what fio said, and RUN.json, which names the measurement
and says what the server's processes used.
"""

import json
import sys
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

    def __init__(self, said, job):
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
        self.figures = {
            "iops": part["iops"],
            "p50_us": percentile_us(part, "50.000000"),
            "p99_us": percentile_us(part, "99.000000"),
        }
        requests_per_second = part["iops"]
        if flushes:
            self.figures["flush_p50_us"] = percentile_us(sync, "50.000000")
            self.figures["flush_p99_us"] = percentile_us(sync, "99.000000")
            requests_per_second *= 1 + flushes / part["total_ios"]
        if said["cpu_seconds"] is not None:
            # The processes were charged for the ramp too, fio's counts leave it out.
            measured_seconds = part["runtime"] / 1000 + seconds(said["ramp"])
            requests = requests_per_second * measured_seconds
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
    return Run(said, jobs[0])


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


def seconds(text):
    """fio's times as the script writes them: '300ms', '5s', '0'."""
    if text.endswith("ms"):
        return float(text[:-2]) / 1000
    return float(text.rstrip("s"))


def percentile_us(part, key):
    return part["lat_ns"]["percentile"][key] / 1000


def histogram(part):
    return {int(latency): count for latency, count in part["lat_ns"]["bins"].items() if count}
