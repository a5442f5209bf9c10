# SPDX-License-Identifier: Apache-2.0
"""How a station's program comes to be: compiled here, or a script for the right Python. What is lacking makes it absent."""
import os
import pathlib
import shlex
import subprocess
import sys

import rows

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "peers"
FLAGS = ["-std=c++20", "-O2"]
WARNINGS = ["-Wall", "-Wextra"]


class Absent(Exception):
    """Why a peer cannot be measured."""


def build(compiler, station):
    """The program of a station, compiled unless it is newer than all it is made of."""
    source, program = HERE / f"{station.program}.cpp", BUILD / station.program
    libraries = list(station.libraries)
    if station.package:
        said = output_of(["pkg-config", "--cflags", "--libs", station.package])
        if said.returncode != 0:
            raise Absent(f"pkg-config does not know {station.package}; bench/peers/setup.sh installs it")
        libraries += shlex.split(said.stdout)
    depends = BUILD / f"{station.program}.d"
    command = [compiler, *FLAGS, *WARNINGS, f"-I{ROOT / 'include'}", f"-I{HERE.parent}", "-MD", "-MF", str(depends), str(source), "-o", str(program), *libraries]
    note = BUILD / f"{station.program}.command"
    made_so = note.exists() and note.read_text() == shlex.join(command)
    if not (made_so and program.exists() and depends.exists() and newest(depends) <= program.stat().st_mtime):
        print(f"-- compiling {station.program}", file=sys.stderr)
        BUILD.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        made = output_of(command)
        if made.returncode != 0:
            first = next((line for line in made.stderr.splitlines() if "error" in line), made.stderr[:200] or "it does not compile")
            raise Absent(f"{first.strip()}; bench/peers/setup.sh installs what is missing")
        note.write_text(shlex.join(command))
    return [str(program)]


def output_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise Absent(f"there is no {command[0]}; bench/peers/setup.sh installs it") from None


def newest(depends):
    files = depends.read_text().split(":", 1)[1].replace("\\\n", " ").split()
    return max((os.stat(file).st_mtime if os.path.exists(file) else float("inf")) for file in files)


def command_of(station, compiler):
    if not station.program.endswith(".py"):
        return build(compiler, station)
    build(compiler, rows.SUM_FOR_PYTHON)
    environment = ROOT / "build" / ("python" if station.peer == "vllm-omni" else "peers-python")
    python = environment / "bin" / "python"
    if not python.exists():
        raise Absent(f"there is no {python.relative_to(ROOT)}; bench/peers/setup.sh makes it")
    return [str(python), "-B", str(HERE / station.program)]
