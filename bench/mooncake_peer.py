#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Put and get over a real Mooncake store of release 0.3.13.post1, ours beside its own Python client, which is its C++ client behind a thin layer.

    bench/mooncake_peer.py [--program build/gcc-release/bin/mooncake_bench] [--rounds N] [--json FILE]

Starts a master and a storage node on free ports of the loopback. Each round measures every client at every size, one after the other, the order
turning around. Python is measured twice: `put` and `get`, which copy, and `put_from` and `get_into` with registered memory, which do not.
Ours puts from the caller's memory; `get_view` reads into memory of the connector's allocator, which keeps 64 MiB warm as `localbuf` is by default, and `get_into` into the caller's. Then our transfer engine against blocking send and recv of the same bytes with a byte
of acknowledgement, each to a process of its own. Medians of rounds; ratios are of the same round.
"""
import argparse
import ctypes
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "python"))
import interop_support

if __name__ == "__main__":
    interop_support.into_the_environment("mooncake_peer")

import report
from mooncake_server import MooncakeServer

from mooncake.store import MooncakeDistributedStore

SIZES = (("4 KiB", 4 << 10, 200), ("1 MiB", 1 << 20, 20), ("64 MiB", 64 << 20, 3))


class Ours:
    def __init__(self, program, master):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.ask(f"open {master}") == "ready"

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        if not said:
            sys.exit("mooncake_peer: our program ended")
        return said.rstrip()

    def median(self, line):
        return [statistics.median(map(float, part.split())) / 1e3 for part in self.ask(line).split("|")]

    def both(self, size, count, prefix):
        made = [self.median(f"{what} {size} {count} {prefix}")[0] for what in ("put", "get", "into")]
        self.ask(f"remove {count} {prefix}")
        return made


class Theirs:
    def __init__(self, master):
        self.store = MooncakeDistributedStore()
        assert self.store.setup("127.0.0.1", "P2PHANDSHAKE", 0, 256 << 20, "tcp", "", master) == 0
        self.memory = ctypes.create_string_buffer(os.urandom(1 << 20) * 64)
        self.address = ctypes.addressof(self.memory)
        assert self.store.register_buffer(self.address, len(self.memory)) == 0

    @staticmethod
    def median(count, call):
        times = []
        for i in range(count):
            before = time.perf_counter_ns()
            call(i)
            times.append(time.perf_counter_ns() - before)
        return statistics.median(times) / 1e3

    def both(self, size, count, prefix, copies):
        s, data = self.store, self.memory.raw[:size]

        def put(i):
            assert (s.put(f"{prefix}{i}", data) if copies else s.put_from(f"{prefix}{i}", self.address, size)) == 0

        def get(i):
            got = s.get(f"{prefix}{i}") if copies else s.get_into(f"{prefix}{i}", self.address, size)
            assert (len(got) if copies else got) == size

        made = [self.median(count, put), self.median(count, get)]
        for i in range(count):
            assert s.remove(f"{prefix}{i}", True) == 0
        return made


def one_round(ours, theirs, number):
    out = {}
    for name, size, count in SIZES:
        clients = [("ours", lambda p: ours.both(size, count, p)), ("Python", lambda p: theirs.both(size, count, p, True)), ("Python in place", lambda p: theirs.both(size, count, p, False))]
        for who, run in clients if number % 2 == 0 else reversed(clients):
            for what, median in zip(("put", "get", "get_into"), run(f"{number}-{who.replace(' ', '')}-")):
                out[f"{name}, {who}: {what}"] = median
        for what, who, call in (("put", "Python", "put"), ("get", "Python", "get"), ("put", "Python in place", "put"), ("get_into", "Python in place", "get")):
            out[f"{name}, {what}: {who} / ours"] = out[f"{name}, {who}: {call}"] / out[f"{name}, ours: {what}"]
    for name, size, count in SIZES:
        pair = ["engine", "plain"] if number % 2 == 0 else ["plain", "engine"]
        made = {which: ours.median(f"{which} {size} {count}") for which in pair}
        for i, what in enumerate(("write", "read")):
            out[f"{name}, engine: {what}"], out[f"{name}, send and recv: {what}"] = made["engine"][i], made["plain"][i]
            out[f"{name}, {what}: engine / send and recv"] = made["engine"][i] / made["plain"][i]
    return out


def figure(name, values):
    least = most = None
    if " / ours" in name and "in place" not in name:
        least = 2 if name.startswith("64 MiB") else 1
    elif name.startswith("64 MiB") and name.endswith("engine / send and recv"):
        most = 1.1
    return report.figure(name, values, "x" if " / " in name else "us", least, most)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "build" / "gcc-release" / "bin" / "mooncake_bench"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json")
    options = parser.parse_args()
    if not os.access(options.program, os.X_OK):
        sys.exit(f"mooncake_peer: there is no program {options.program}; build the target mooncake_bench or name it with --program")
    with tempfile.TemporaryDirectory() as folder:
        with MooncakeServer(folder) as store:
            ours, theirs = Ours(options.program, store.master), Theirs(store.master)
            compiler, flags, commit, cpu = ours.ask("made").split("|")
            rounds = []
            for number in range(-1, options.rounds):
                made = one_round(ours, theirs, number)
                if number >= 0:  # the first warms memory and code
                    rounds.append(made)
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            before = int(ours.ask("opened"))
            for _ in range(10):
                ours.ask("put 4096 500 many")
                ours.ask("get 4096 500 many")
                ours.ask("remove 500 many")
            opened = int(ours.ask("opened")) - before
            theirs.store.close()
    figures = [figure(name, [each[name] for each in rounds]) for name in rounds[0]]
    figures.append({"name": "connections opened in 10,000 puts and gets", "unit": "", "median": opened, "min": opened, "max": opened, "bar": "", "met": True})
    run = {"name": "Mooncake store", "options": "release 0.3.13.post1; a master and a node on the loopback; one call at a time", "rounds": options.rounds, "compiler": compiler, "flags": flags, "commit": commit, "cpu": cpu}
    report.show(run, figures, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
