#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`omniconn config` and Python's load_omni_transfer_config agree on every YAML that the vllm-omni wheel ships.

    config_oracle.py TOOL

Makes the virtual environment of tests/python first; where it cannot be made, the test fails.
"""
import json
import os
import pathlib
import subprocess
import sys

PYTHON_TESTS = pathlib.Path(__file__).resolve().parents[1] / "python"

# What 0.30.0 ships. Another number means that the comparison lost its subject.
FILES, WITH_CONNECTORS = 110, 62


def run(arguments, **options):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False, **options)


def environment_python():
    folder = os.environ.get("OMNICONN_PYTHON_ENV") or PYTHON_TESTS.parents[1] / "build" / "python"
    made = run([str(PYTHON_TESTS / "setup.sh")])
    if made.returncode != 0:
        sys.exit(f"the Python side is missing: {made.stderr}")
    return str(pathlib.Path(folder) / "bin" / "python")


def expected():
    python = environment_python()
    oracle = [python, "-B", str(PYTHON_TESTS / "config_oracle.py")]
    root = run([*oracle, "--root"])
    made = run(oracle)
    if root.returncode or made.returncode:
        sys.exit(f"config_oracle.py failed: {root.stderr}{made.stderr}")
    return pathlib.Path(root.stdout.strip()), json.loads(made.stdout)


def compare(entry, done):
    """What is wrong, or nothing."""
    if "error" in entry:
        return None if done.returncode not in (0, 2) else f"Python refuses it ({entry['error']}), the tool does not"
    if done.returncode != 0:
        return f"Python reads it, the tool says: {done.stderr}"
    ours = json.loads(done.stdout)
    theirs = {field: entry[field] for field in ("connectors", "default")}
    return None if ours == theirs else f"they differ\n  Python {json.dumps(theirs)}\n  ours   {json.dumps(ours)}"


def main():
    tool = sys.argv[1]
    root, entries = expected()
    environment = {name: text for name, text in os.environ.items() if name != "OMNICONN_SHM_LAYOUT"}
    bad = with_edges = 0
    for name, entry in sorted(entries.items()):
        wrong = compare(entry, run([tool, "config", str(root / name)], env=environment))
        with_edges += bool(entry.get("connectors"))
        if wrong:
            bad += 1
            print(f"{name}: {wrong}")
    print(f"{len(entries)} files, {with_edges} with connectors, {bad} bad")
    if (len(entries), with_edges) != (FILES, WITH_CONNECTORS):
        print(f"expected {FILES} files, {WITH_CONNECTORS} of them with connectors")
        bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
