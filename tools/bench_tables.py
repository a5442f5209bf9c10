#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of docs/ from the JSON files that the benchmarks, the tests of faults and the model checker wrote to bench/results/.

    tools/bench_tables.py            rewrite the tables
    tools/bench_tables.py --check    exit 1 if a table is not what its file says, or a file does not say what was measured (a test runs this)

A table stands between `<!-- bench: NAME -->` and `<!-- end -->`, NAME being bench/results/NAME.json. `<!-- bench: NAME bars -->`: only figures that have a bar.
`<!-- bench: NAME grid -->`: figures that are called "ROW: COLUMN" as tables of these.
"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "docs" / name for name in ("benchmarks.md", "reliability.md", "model-checking.md", "where-the-time-goes.md")]
MARK = re.compile(r"(<!-- bench: ([\w-]+)( bars| grid)? -->\n)(.*?)(<!-- end -->)", re.S)


def made_of(run):
    """Compiler, flags, commit and processor, as the benchmark recorded them; "" for a file that says none."""
    return "; ".join(text for text in (
        ", ".join(run[field] for field in ("compiler", "flags") if run.get(field)),
        f"commit {run['commit']}" if "commit" in run else "", run.get("cpu", "")) if text)


def rows(head, lines):
    return ["", f"| {' | '.join(head)} | bar | |", "|---" * (len(head) + 2) + "|"] + lines


def judged(bar, met):
    return f"{bar} | {'' if not bar else 'met' if met else '**not met**'} |"


def google_benchmark(run):
    """Google Benchmark's own format: the counters base_us, ours_us, ratio and bar of each benchmark that has them."""
    context = run["context"]
    made = made_of(context)
    lines = []
    for b in run["benchmarks"]:
        if "ratio" in b:
            name = b["name"].split("/")[0].replace("_", " ")
            bar = f"<= {b['bar']:g}" if "bar" in b else ""
            lines.append(f"| {name} | {b['base_us']:.4g} us | {b['ours_us']:.4g} us | {b['ratio']:.3f} | " + judged(bar, not bar or b["ratio"] <= b["bar"]))
    head = f"{context['num_cpus']} CPUs at {context['mhz_per_cpu']} MHz; medians of the iterations{'; ' + made if made else ''}."
    return [head] + rows(["figure", "peer", "ours", "ratio"], lines)


def own_format(run):
    lines = [
        f"| {f['name']} | {f['median']:g} {f['unit']} | {f['min']:g} .. {f['max']:g} | " + judged(f["bar"], f["met"])
        for f in run["figures"]
    ]
    return [f"{run['options']}; median of {run['rounds']} rounds [least .. most]; {made_of(run)}."] + rows(["figure", "median", "range"], lines)


def grid(run):
    """Rows that have a column in common are one table."""
    tables = []
    for f in run["figures"]:
        row, column = f["name"].rsplit(": ", 1)
        text = f"{f['median']:g} {f['unit']}".rstrip()
        text += f" [{f['min']:g} .. {f['max']:g}]" if f["min"] != f["max"] else ""
        text += f", {f['bar']}: {'met' if f['met'] else '**not met**'}" if f["bar"] else ""
        columns, cells = next((t for t in tables if row in t[1] or column in t[0]), ({}, {}))
        if not columns:
            tables.append((columns, cells))
        columns[column] = True
        cells.setdefault(row, {})[column] = text
    out = [f"{run['options']}; median of {run['rounds']} rounds [least .. most]; {made_of(run)}."]
    for columns, cells in tables:
        out += ["", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        out += [f"| {row} | {' | '.join(texts.get(column, '') for column in columns)} |" for row, texts in cells.items()]
    return out


def faults(run):
    """What tests/shm/crash/counts.hpp writes: counts with their bars, and how often a process died at each failpoint."""
    lines = [f"| {c['name']} | {c['value']:.10g} | " + judged(c["bar"], c["met"]) for c in run["counts"]]
    out = [f"{run['options'][:1].upper()}{run['options'][1:]}. {run['seconds']:.0f} s; {made_of(run)}."] + rows(["count", "value"], lines)
    if run["failpoints"]:
        hits = [f"`{name}` {n}" for name, n in run["failpoints"].items()]
        out += ["", f"Deaths at each failpoint ({sum(run['failpoints'].values())} in all): " + ", ".join(hits) + "."]
    return out


def model_checker(run):
    """What tests/model/programs/shm_model.cpp writes: stories and mutants with their bounds."""
    def number(n):
        return "any" if n < 0 else str(n)

    def bounds(r):
        return f"{number(r['preemptions'])} / {number(r['stale'])} / {number(r['kills'])}{'' if r['coarse'] else ', everywhere'}"

    def counted(r):
        return f"{r['executions']:,} | {r['states']:,} | {r['seconds']:.1f} s"

    lines = [f"{made_of(run)}.", "", "| story | bounds | executions | states | time | outcome |", "|---|---|---|---|---|---|"]
    lines += [f"| {s['name']} | {bounds(s)} | {counted(s)} | {s['outcome']} |" for s in run["stories"]]
    lines += ["", "| mutant | trap | story | bounds | executions | states | time | noticed |", "|---|---|---|---|---|---|---|---|"]
    return lines + [f"| {m['name']} | {m['trap']} | {m['story']} | {bounds(m)} | {counted(m)} | {m['outcome']} |" for m in run["mutants"]]


def load(name):
    return json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def table(name, shape):
    run = load(name)
    if shape == " bars":
        run["figures"] = [f for f in run["figures"] if f["bar"]]
    form = grid if shape == " grid" else google_benchmark if "benchmarks" in run else faults if "counts" in run else model_checker if "stories" in run else own_format
    return "\n".join(form(run)) + "\n"


def nameless(name):
    """Whether the file leaves open which commit was measured. Older files of Google Benchmark had no room for it."""
    run = load(name)
    return not run.get("context", run).get("commit", "older" if "benchmarks" in run else "")


def main():
    problems = []
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = MARK.sub(lambda m: m.group(1) + table(m.group(2), m.group(3)) + m.group(5), old)
        if sys.argv[1:] != ["--check"]:
            page.write_text(new, encoding="utf-8")
            continue
        problems += [f"bench/results/{name}.json does not say which commit was measured; run the benchmark again, built from a git checkout"
                     for _, name, *_ in MARK.findall(old) if nameless(name)]
        if new != old:
            problems.append(f"docs/{page.name} is not what bench/results/ says; run tools/bench_tables.py")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
