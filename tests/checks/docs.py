#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every C++ block of a page compiles, and runs to success if it has a main() without arguments.

    docs.py COMPILER_FILE PAGE...

A block is a fence that begins with ```cpp. One that shows a fragment is fenced as ```cpp fragment and is not compiled: there are to be few.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import compiler  # noqa: E402

BLOCK = re.compile(r"^```cpp *$\n(.*?)^```", re.M | re.S)
LIBRARIES = {"yaml": ["-lyaml-cpp"]}


def main():
    command = compiler.command(sys.argv[1])
    parts = compiler.parts_in(command)
    failures = checked = 0
    with tempfile.TemporaryDirectory() as folder:
        for page in map(pathlib.Path, sys.argv[2:]):
            for number, match in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")), 1):
                text = match.group(1)
                line = page.read_text(encoding="utf-8")[: match.start()].count("\n") + 2
                needed = set()
                for header in re.findall(r"#include <(omniconn/[^>]+)>", text):
                    needed |= set(compiler.parts_of(compiler.INCLUDE / header))
                if not needed <= parts:
                    print(f"{page.name}:{line}: left out, this build lacks {', '.join(sorted(needed - parts))}")
                    continue
                source = pathlib.Path(folder) / f"{page.stem}_{number}.cpp"
                source.write_text(f'#line {line} "{page.name}"\n{text}', encoding="utf-8")
                program = source.with_suffix("")
                runs = re.search(r"^int main\(\)", text, re.M)  # one that takes arguments is compiled only
                libraries = [word for part in ("yaml",) if part in parts for word in LIBRARIES[part]]
                arguments = [*command, "-O0", "-Wall", "-Wextra", str(source)]
                arguments += ["-o", str(program), *libraries, "-pthread"] if runs else ["-fsyntax-only"]
                if "gtest" in text:
                    arguments = [*command, "-O0", str(source), "-fsyntax-only"]
                    runs = None
                status, out, err = compiler.run(arguments)
                if status == 0 and runs:
                    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=60)
                    status, err = done.returncode, done.stdout + done.stderr
                checked += 1
                if status != 0:
                    failures += 1
                    print(f"{page}:{line}: the block does not {'compile or run' if runs else 'compile'}\n{err[:3000]}")
    print(f"{checked} blocks, {failures} bad")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
