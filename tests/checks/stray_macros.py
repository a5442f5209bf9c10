#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which macros an include leaves behind: only those of config.hpp and version.hpp, and what our list below allows.

    stray_macros.py COMPILER_FILE INCLUDE_DIR      (include/ or single_include/)

Reads the preprocessor's own record of each #define and #undef and the file it stands in.
"""
import pathlib
import re
import sys

import compiler

ALLOWED = {
    "OMNICONN_FWD_INCLUDED",  # joins the two single headers
    "MSGPACK_NO_BOOST",       # msgpack-cxx reads it; whoever includes msgpack later must see the same
}
LINE_MARK = re.compile(r'^# \d+ "([^"]*)"')
CHANGE = re.compile(r"^#(define|undef) (\w+)")


def defined_in(text):
    return set(re.findall(r"^#\s*define (\w+)", text, re.M))


def main():
    folder = pathlib.Path(sys.argv[2]).resolve()
    command = [f"-I{folder}" if word == f"-I{compiler.INCLUDE}" else word for word in compiler.command(sys.argv[1])]
    allowed = set(ALLOWED)
    for name in ("config.hpp", "version.hpp"):
        allowed |= defined_in((compiler.INCLUDE / "omniconn" / name).read_text(encoding="utf-8"))
    status, out, errors = compiler.run(command + ["-E", "-dD", "-x", "c++", "-"], "#include <omniconn/omniconn.hpp>\n")
    if status:
        print(errors)
        return 1
    left, here, seen = {}, "", set()
    for line in out.split("\n"):
        mark = LINE_MARK.match(line)
        if mark:
            here = mark.group(1)
            continue
        change = CHANGE.match(line)
        if not change or not here.startswith(str(folder)):
            continue
        word, name = change.groups()
        seen.add(name)
        if word == "define":
            left[name] = here
        else:
            left.pop(name, None)
    if "OMNICONN_VERSION" not in seen:
        print(f"the check is blind: it did not see {folder} define OMNICONN_VERSION")
        return 1
    strays = sorted(set(left) - allowed)
    for name in strays:
        print(f"{left[name]}: {name} is still defined after the include. Move it to config.hpp if users may see it, else #undef it")
    print(f"{len(left)} macros left, {len(strays)} of them strays")
    return 1 if strays else 0


if __name__ == "__main__":
    sys.exit(main())
