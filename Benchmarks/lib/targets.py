"""What Tapline with all three copies is held to, and whether it was met."""

from dataclasses import asdict, dataclass
from statistics import median

from summary import ratios

PROTECTED = "tapline"

# Job, figure, comparison, bound, and the server whose figure the bound multiplies.
TARGETS = [
    ("randwrite-4k-d1", "p50_us", "<=", 0.7, "nbdkit"),
    ("randwrite-4k-d32", "iops", ">=", 1.0, "nbdkit"),
    ("randwrite-4k-d1+fsync", "iops", ">=", 1.5, "nbdkit"),
    ("write-256k-d4", "iops", ">=", 0.8, "nbdkit"),
    ("randread-4k-d32", "iops", ">=", 1.2, "nbdkit"),
    ("randwrite-4k-d1", "p50_us", "<=", 0.5, "qemu-nbd"),
    ("randwrite-4k-d32", "iops", ">=", 3.0, "qemu-nbd"),
    ("randwrite-4k-d1+fsync", "iops", ">=", 2.0, "qemu-nbd"),
    ("randwrite-4k-d32", "iops", ">=", 0.9, "tapline-plain"),
    ("randwrite-4k-d1", "p50_us", "<=", 1.05, "tapline-plain"),
]

FIGURE_NAMES = {"p50_us": "p50", "iops": "IOPS"}
SIGNS = {"<=": "≤", ">=": "≥"}

# The jobs whose processor time is shown beside that of the other servers; nothing is demanded.
CPU_JOBS = ["randwrite-4k-d1", "randwrite-4k-d32", "randwrite-4k-d1+fsync"]


@dataclass
class Verdict:
    """A target and the ratios of all rounds; `ratio`, their median, decides. None: not measured."""

    job: str
    figure: str
    comparison: str
    bound: float
    baseline: str
    ratio: float | None = None
    lowest: float | None = None
    highest: float | None = None

    @property
    def met(self):
        if self.ratio is None:
            return None
        return self.ratio <= self.bound if self.comparison == "<=" else self.ratio >= self.bound

    @property
    def outcome(self):
        return {True: "met", False: "MISSED", None: "not measured"}[self.met]

    @property
    def demand(self):
        figure, sign = FIGURE_NAMES[self.figure], SIGNS[self.comparison]
        return f"{figure} {sign} {self.bound} × {self.baseline}"

    @property
    def measured(self):
        return "" if self.ratio is None else f"{self.ratio:.2f}"

    @property
    def spread(self):
        return "" if self.ratio is None else f"{self.lowest:.2f} to {self.highest:.2f}"

    def plain(self):
        return asdict(self) | {"met": self.met}


def judge(runs):
    verdicts = []
    for job, figure, comparison, bound, baseline in TARGETS:
        verdict = Verdict(job, figure, comparison, bound, baseline)
        pairs = ratios(runs, job, PROTECTED, baseline, figure)
        if pairs:
            verdict.ratio, verdict.lowest, verdict.highest = median(pairs), min(pairs), max(pairs)
        verdicts.append(verdict)
    return verdicts


def all_met(verdicts):
    """Whether something was measured and nothing was missed."""
    measured = [verdict.met for verdict in verdicts if verdict.met is not None]
    return bool(measured) and all(measured)
