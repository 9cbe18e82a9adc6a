#!/usr/bin/env python3
"""The report on a results folder that Benchmarks/run filled.

    report.py [--check] FOLDER     writes results.json, report.md and report.html there and prints
                                   the tables; with --check, ends with 1 when a target is missed
    report.py --line RUN           prints one measurement; RUN is the path of its files, no suffix

What each step does is said in lib/: measurements.py, summary.py, targets.py, tables.py, page.py.
"""

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

import measurements  # noqa: E402  (found by the path above)


def write_report(folder, check):
    # Only a whole report needs these; a line is printed after every measurement.
    import page
    import summary
    import tables
    import targets

    runs = measurements.load_folder(folder)
    environment = dict(
        line.split(": ", 1) for line in (folder / "environment.txt").read_text().splitlines()
    )
    rows = summary.summarize(runs)
    verdicts = targets.judge(runs)
    report = tables.render(environment, rows, verdicts)
    (folder / "report.md").write_text(report)
    (folder / "report.html").write_text(page.render(environment, runs, rows, verdicts))
    results = {
        "environment": environment,
        "runs": [run.plain() for run in runs],
        "summary": rows,
        "targets": [verdict.plain() for verdict in verdicts],
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{report}\nkept in {folder}; the page to look at: {folder / 'report.html'}")
    return 1 if check and not targets.all_met(verdicts) else 0


def main(arguments):
    if arguments[:1] == ["--line"] and len(arguments) == 2:
        print(measurements.line(measurements.load(arguments[1])), flush=True)
        return 0
    check = arguments[:1] == ["--check"]
    if len(arguments) != 1 + check:
        sys.exit(__doc__)
    return write_report(Path(arguments[-1]), check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
