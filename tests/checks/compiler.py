# SPDX-License-Identifier: Apache-2.0
"""The compiler that built the tests, for checks that compile something of their own.

CMake writes a file with one argument per line: the compiler, then the flags of a target that links every part found.
"""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"

sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tools"))
from headers import parts_of  # noqa: E402,F401


def command(file):
    lines = pathlib.Path(file).read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line and line not in ("-I", "-isystem", "-D")]


def parts_in(command_line):
    """The parts that this build has, from -DOMNICONN_WITH_<PART>=1."""
    return {word.removeprefix("-DOMNICONN_WITH_").split("=")[0].lower() for word in command_line if word.startswith("-DOMNICONN_WITH_")}


def run(arguments, text=None):
    """Exit status, stdout and stderr; the source is read from text if given (the arguments then name '-x c++ -')."""
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    return done.returncode, done.stdout, done.stderr
