#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the consumers' program with nothing but a compiler and pkg-config: with the core alone, and with all parts.

    pkg_config.py PREFIX COMPILER WORK_FOLDER [PART...]
"""
import os
import pathlib
import shlex
import subprocess
import sys

prefix, compiler, work, *parts = sys.argv[1:]
here = pathlib.Path(__file__).resolve().parent
pathlib.Path(work).mkdir(parents=True, exist_ok=True)
environment = {**os.environ, "PKG_CONFIG_PATH": f"{prefix}/share/pkgconfig"}
for name, packages in (("core", ["omniconn"]), ("parts", [f"omniconn-{part}" for part in parts])):
    if not packages:
        continue
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", *packages], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    subprocess.run([compiler, "-std=c++20", here / "main.cpp", here / "other.cpp", "-o", f"{work}/{name}",
                    *shlex.split(flags.stdout)], check=True)
    subprocess.run([f"{work}/{name}"], check=True)
    print(name, "ok:", flags.stdout.strip())
