# SPDX-License-Identifier: Apache-2.0
"""Figures of the benchmarks that are written in Python: their table, and the JSON that tools/bench_tables.py reads."""
import json
import pathlib
import statistics


def figure(name, values, unit, least=None, most=None):
    """The median of rounds, with the bar that it has to reach."""
    bars = [f"{sign} {bar:g}" for sign, bar in ((">=", least), ("<=", most)) if bar is not None]
    median = statistics.median(values)
    four = lambda number: float(f"{number:.4g}")
    met = (least is None or median >= least) and (most is None or median <= most)
    return {"name": name, "unit": unit, "median": four(median), "min": four(min(values)), "max": four(max(values)), "bar": " and ".join(bars), "met": met}


def show(run, figures, file):
    """Prints the figures, and writes them to a file where one is named. `run`: what was measured, with what."""
    for f in figures:
        print(f"  {f['name']:<52} {f['median']:>11.4g} {f['unit']:<3} [{f['min']:.4g} .. {f['max']:.4g}] {f['bar']}{'' if not f['bar'] else '  met' if f['met'] else '  NOT MET'}")
    if file:
        head = json.dumps(run, indent=2)[:-2]
        lines = ",\n".join("    " + json.dumps(f) for f in figures)
        pathlib.Path(file).write_text(f'{head},\n  "figures": [\n{lines}\n  ]\n}}\n')
