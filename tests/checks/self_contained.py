#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each header of one folder compiles when it is the first and only include, and a second time after itself.

    self_contained.py COMPILER_FILE FOLDER [--all]      (FOLDER below include/omniconn, "." for the files at its top)

Without --all only what a user includes: what lies in the folder itself.

Headers of parts that this build lacks are named, not compiled.
"""
import sys

import compiler


def main():
    command = compiler.command(sys.argv[1])
    present = compiler.parts_in(command)
    folder = compiler.INCLUDE / "omniconn" / sys.argv[2]
    headers = sorted(folder.rglob("*.hpp") if "--all" in sys.argv else folder.glob("*.hpp"))
    bad = 0
    for header in headers:
        name = header.relative_to(compiler.INCLUDE).as_posix()
        lacking = [part for part in compiler.parts_of(header) if part not in present]
        if lacking:
            print(f"{name}: not compiled, this build lacks {' '.join(lacking)}")
            continue
        status, _, errors = compiler.run(command + ["-fsyntax-only", "-x", "c++", "-"], f"#include <{name}>\n#include <{name}>\n")
        if status:
            bad += 1
            print(f"{name} does not compile alone:\n{errors}")
    print(f"{len(headers)} headers, {bad} bad")
    return 1 if bad or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
