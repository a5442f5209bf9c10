#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One file, one good half and one or more bad ones: the good half must compile, each bad one must fail with its text.

    compile_fail.py COMPILER_FILE SOURCE

The source carries its own expectations, one comment line per bad half, with a regular expression that both g++ and clang
match (the name of a small concept, or our own sentence; not the compiler's words and quotes):

    // expect-error 1: transport_get
    // expect-error 2: a lease needs a transport that survives

Half N is compiled with -DOMNICONN_EXPECT_ERROR=N, the good half without that macro.
"""
import pathlib
import re
import sys

import compiler

EXPECT = re.compile(r"^// expect-error (\d+): (.+)$", re.M)


def main():
    command = compiler.command(sys.argv[1]) + ["-fsyntax-only"]
    source = pathlib.Path(sys.argv[2])
    expectations = EXPECT.findall(source.read_text(encoding="utf-8"))
    if not expectations:
        print(f"{source.name} has no line '// expect-error 1: REGEX'")
        return 1
    bad = 0
    status, _, errors = compiler.run(command + [str(source)])
    if status:
        bad += 1
        print(f"the good half of {source.name} does not compile:\n{errors}")
    outputs = {}
    for half, pattern in expectations:
        if half not in outputs:
            outputs[half] = compiler.run(command + [f"-DOMNICONN_EXPECT_ERROR={half}", str(source)])
        status, _, errors = outputs[half]
        if status == 0:
            bad += 1
            print(f"bad half {half} of {source.name} compiles")
        elif not re.search(pattern, errors):
            bad += 1
            print(f"bad half {half} of {source.name} fails, but not with /{pattern}/:\n{errors}")
    print(f"{source.name}: the good half and {len(outputs)} bad, {len(expectations)} expected texts, {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
