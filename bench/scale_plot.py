#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plots what shm_scale measured: one way in us against the number of live keys and of consumers.

    bench/scale_plot.py bench/results/shm_scale.json scale.svg
"""
import json
import pathlib
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "peers"))
import plot

# The axis names the others by their places between these.
NAMED = {1: "1", 4: "4", 10: "10", 64: "64", 1000: "1,000", 10**4: "10,000", 10**5: "100,000", 10**6: "1,000,000"}


def main():
    source, target = map(pathlib.Path, sys.argv[1:])
    lines = {}
    for f in json.loads(source.read_text(encoding="utf-8"))["figures"]:
        if found := re.fullmatch(r"([\d,]+) (live key|consumer)s?: (blocking|hybrid)", f["name"]):
            number, what, wait = found.groups()
            lines.setdefault(f"{what}s, {wait}", {})[int(number.replace(",", ""))] = f["median"]
    names = {x: NAMED.get(x, "") for line in lines.values() for x in line}
    target.write_text(plot.svg("One way of 64 B through shared memory, p50", lines, names, lambda us: f"{us:g} us"), encoding="utf-8")


if __name__ == "__main__":
    main()
