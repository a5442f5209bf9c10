#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes cmake/headers.cmake, the list of public headers, from what lies in include/.

    tools/headers.py           rewrite the list
    tools/headers.py --check   say what differs and exit 1 (a test runs this)

The build does not glob: what is installed is a reviewed list. A header belongs to the part that its marker names, one
of its first five lines reading

    // omniconn-part: yaml

(the first one, where it names several), else to core.
"""
import argparse
import difflib
import pathlib
import re
import sys

MARKER = re.compile(r"^// omniconn-part: ([a-z0-9_ ]+)$")


def parts_of(path):
    """The parts that a header's marker names, in order; empty for core."""
    with open(path, encoding="utf-8") as file:
        for _, line in zip(range(5), file):
            match = MARKER.match(line.rstrip())
            if match:
                return match.group(1).split()
    return []


def listing(include):
    lists = {"core": []}
    for path in sorted(include.rglob("*.hpp")):
        part = (parts_of(path) or ["core"])[0]
        lists.setdefault(part, []).append(path.relative_to(include).as_posix())
    lines = ["# SPDX-License-Identifier: Apache-2.0", "# Written by tools/headers.py; a test compares it with include/."]
    for part in ["core"] + sorted(set(lists) - {"core"}):
        lines.append(f"set(omniconn_headers_{part}")
        lines += [f"  {header}" for header in lists[part]]
        lines[-1] += ")"
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parent.parent
    target = root / "cmake" / "headers.cmake"
    wanted = listing(root / "include")
    present = target.read_text(encoding="utf-8") if target.exists() else ""
    if wanted == present:
        return 0
    if arguments.check:
        sys.stdout.writelines(difflib.unified_diff(present.splitlines(True), wanted.splitlines(True),
                                                   "cmake/headers.cmake", "include/"))
        print("cmake/headers.cmake is not what lies in include/: run tools/headers.py")
        return 1
    target.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
