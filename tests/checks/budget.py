#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an include costs, in preprocessed lines (-E -P): the same number for everybody, unlike seconds.

    budget.py COMPILER_FILE BUDGET_FILE         each header of the budget within its limit?
    budget.py COMPILER_FILE --list HEADER...    print the cost of some headers

Opt-in parts are left out. Raising a number in the budget is a change to be reviewed.
"""
import sys

import compiler


def cost(command, header):
    status, out, errors = compiler.run(command + ["-E", "-P", "-x", "c++", "-"], f"#include <{header}>\n")
    if status:
        raise SystemExit(f"{header} cannot be preprocessed:\n{errors}")
    return out.count("\n")


def main():
    command = [word for word in compiler.command(sys.argv[1]) if not word.startswith("-DOMNICONN_WITH_")]
    if sys.argv[2] == "--list":
        for header in sys.argv[3:]:
            print(f"{cost(command, header):7} {header}")
        return 0
    over = 0
    with open(sys.argv[2], encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    for header, limit in rows:
        lines = cost(command, header)
        verdict = "ok" if lines <= int(limit) else f"OVER by {lines - int(limit)}"
        over += lines > int(limit)
        print(f"{header:40} {lines:7} of {limit:>6}  {verdict}")
    return 1 if over or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
