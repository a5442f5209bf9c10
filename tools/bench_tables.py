#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of docs/benchmarks.md from the JSON files that the benchmarks wrote to bench/results/.

    tools/bench_tables.py            rewrite the tables
    tools/bench_tables.py --check    exit 1 if a table is not what its file says (a test runs this)

A table stands between `<!-- bench: NAME -->` and `<!-- end -->`, NAME being bench/results/NAME.json.
"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
MARK = re.compile(r"(<!-- bench: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.S)


def google_benchmark(run):
    """Google Benchmark's own format: the counters base_us, ours_us and ratio of each benchmark that has them."""
    lines = [
        f"{run['context']['num_cpus']} CPUs at {run['context']['mhz_per_cpu']} MHz; medians of the iterations.",
        "",
        "| figure | peer | ours | ratio |",
        "|---|---|---|---|",
    ]
    for b in run["benchmarks"]:
        if "ratio" in b:
            lines.append(f"| {b['name'].split('/')[0].replace('_', ' ')} | {b['base_us']:.4g} us | {b['ours_us']:.4g} us | {b['ratio']:.3f} |")
    return "\n".join(lines) + "\n"


def table(name):
    run = json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    if "benchmarks" in run:
        return google_benchmark(run)
    lines = [
        f"{run['options']}; median of {run['rounds']} rounds [least .. most]; {run['compiler']}, {run['flags']}; commit {run['commit']}; {run['cpu']}.",
        "",
        "| figure | median | range | bar | |",
        "|---|---|---|---|---|",
    ]
    for f in run["figures"]:
        met = "" if not f["bar"] else "met" if f["met"] else "**not met**"
        lines.append(f"| {f['name']} | {f['median']:g} {f['unit']} | {f['min']:g} .. {f['max']:g} | {f['bar']} | {met} |")
    return "\n".join(lines) + "\n"


def main():
    old = PAGE.read_text(encoding="utf-8")
    new = MARK.sub(lambda m: m.group(1) + table(m.group(2)) + m.group(4), old)
    if sys.argv[1:] == ["--check"]:
        if new != old:
            print("docs/benchmarks.md is not what bench/results/ says; run tools/bench_tables.py")
            return 1
        return 0
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
