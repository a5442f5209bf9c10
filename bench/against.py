#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares two builds of a benchmark: runs them in turns and writes the ratio of each figure, new against old.

    bench/against.py OLD NEW [--runs N] [--json FILE] [--old-commit COMMIT] [--only TEXT]...

OLD and NEW are binaries that take `--rounds 1 --json FILE`. Only figures in us that both have are compared. The machine changes its speed
between runs: neighbours are compared, and the median of their ratios counts.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile


def one_run(binary, folder):
    path = folder / "run.json"
    subprocess.run([binary, "--rounds", "1", "--json", str(path)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads(path.read_text(encoding="utf-8"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--old-commit", default="?")
    parser.add_argument("--only", action="append", default=[], help="figures whose name holds one of these")
    arguments = parser.parse_args()

    ratios, last = {}, None
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for n in range(arguments.runs):
            order = (arguments.old, arguments.new) if n % 2 == 0 else (arguments.new, arguments.old)
            runs = {binary: one_run(binary, folder) for binary in order}
            last = runs[arguments.new]
            old = {f["name"]: f for f in runs[arguments.old]["figures"]}
            for f in last["figures"]:
                wanted = not arguments.only or any(text in f["name"] for text in arguments.only)
                if wanted and f["unit"] == "us" and old.get(f["name"], {}).get("median"):
                    ratios.setdefault(f["name"], []).append(f["median"] / old[f["name"]]["median"])
            print(f"run {n + 1} of {arguments.runs}", file=sys.stderr)

    figures = [{"name": name, "unit": "x", "median": round(statistics.median(all_of), 3), "min": round(min(all_of), 3), "max": round(max(all_of), 3),
                "bar": "", "met": True} for name, all_of in ratios.items()]
    for f in figures:
        print(f"{f['name']:50} {f['median']:8.3f} x  [{f['min']:.3f} .. {f['max']:.3f}]")
    if arguments.json:
        head = {key: last[key] for key in ("compiler", "flags", "commit", "cpu") if key in last}
        run = {"name": last["name"] + ", new against old", "options": f"each figure against that of commit {arguments.old_commit}, in turns", "rounds": arguments.runs, **head, "figures": figures}
        text = json.dumps(run, indent=2, ensure_ascii=False)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
