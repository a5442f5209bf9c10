#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Put and get beside the real Python connector of vllm-omni 0.30.0, in the shared-memory layout that both speak.

    bench/python_peer.py [--peer build/gcc-release/tests/bin/segment_peer] [--rounds N] [--json FILE]

Each round has every pair of sides at every size, one after the other: producer on CPU 0, consumer on CPU 1. Three figures per pair:
    put      the call alone, nobody waits
    get      the call alone, the object is there; Python has built its object then, ours has summed every byte
    one way  from before the put until the waiting consumer has it: Python polls once a millisecond, as its stages do, ours sleeps in inotify
The object is a dict with one uint8 tensor of that size; Python serializes and deserializes it, ours sends and reads the same bytes.

Then ours to ours against one plain shared-memory object per key, written by hand with shm_open, ftruncate, mmap and memcpy; its reader sleeps
in inotify, too, until the writer's close, then maps, sums and unlinks. Medians of rounds; ratios are of the same round.
"""
import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "python"))
import interop_support

if __name__ == "__main__":
    interop_support.into_the_environment("python_peer")

import report
from interop_support import PREFIX, SHM, Meanwhile, SegmentPeer, left_in_shm
from peer_client import Peer

SIZES = (("4 KiB", 4 << 10, 40, 30), ("1 MiB", 1 << 20, 20, 15), ("64 MiB", 64 << 20, 2, 2))  # name, bytes, calls for put and get, for one way
PAIRS = (("Python", "Python"), ("Python", "ours"), ("ours", "Python"), ("ours", "ours"))
BAR = 1.2


class Bench:
    def __init__(self, program, folder):
        self.folder = folder
        self.count = 0
        self.peers = {}
        for side, cpu in (("producer", 0), ("consumer", 1)):
            for kind, peer in (("Python", Peer("--untracked", stderr=subprocess.DEVNULL)), ("ours", SegmentPeer(program))):
                os.sched_setaffinity(peer.process.pid, {cpu % os.cpu_count()})
                peer("open", **({"connector": "SharedMemoryConnector"} if kind == "Python" else {}))
                self.peers[side, kind] = peer
        self.files = {}
        for name, size, _, _ in SIZES:
            path = os.path.join(folder, str(size))
            self.peers["producer", "Python"]("serialize", payload=self.payload(size), out=path)
            self.files[size] = path

    @staticmethod
    def payload(size):
        return {"tensor": [size], "dtype": "uint8", "seed": 1}

    def put(self, kind, prefix, size, count, lockstep):
        plain = kind == "plain"
        source = {"payload": self.payload(size)} if kind == "Python" else {"file": self.files[size], "plain": plain}
        return self.peers["producer", "ours" if plain else kind]("bench_put", prefix=prefix, count=count, lockstep=lockstep, **source)

    def get(self, kind, prefix, count, waits):
        if kind == "Python":
            how = {"interval": 0.001 if waits else 0.0}
        else:
            how = {"plain": kind == "plain", "waits": waits}
        return self.peers["consumer", "ours" if kind == "plain" else kind]("bench_get", prefix=prefix, count=count, timeout=30.0, **how)

    def prefix(self):
        self.count += 1
        return f"{PREFIX}{self.count}_"

    def calls(self, producer, consumer, size, count):
        """Medians of put and get, in us."""
        prefix = self.prefix()
        put = self.put(producer, prefix, size, count, 0.0)
        got = self.get(consumer, prefix, count, False)
        return statistics.median(put["ns"]) / 1e3, statistics.median(got["ns"]) / 1e3

    def one_way(self, producer, consumer, size, count):
        prefix = self.prefix()
        got = Meanwhile(self.get, consumer, prefix, count, True)
        time.sleep(0.05)  # the consumer waits for the first one by now
        put = self.put(producer, prefix, size, count, 30.0)
        return statistics.median(end - start for start, end in zip(put["start_ns"], got.result()["end_ns"])) / 1e3

    def round(self):
        out = {}
        for name, size, calls, trips in SIZES:
            for producer, consumer in (*PAIRS, ("plain", "plain")):
                pair = f"{name}, {producer} to {consumer}" if producer != "plain" else f"{name}, by hand"
                out[f"{pair}: put"], out[f"{pair}: get"] = self.calls(producer, consumer, size, calls)
                out[f"{pair}: one way"] = self.one_way(producer, consumer, size, trips)
            ours, plain = f"{name}, ours to ours", f"{name}, by hand"
            for what in ("put", "get", "one way"):
                out[f"{ours}: {what} / by hand"] = out[f"{ours}: {what}"] / out[f"{plain}: {what}"]
            out[f"{ours}: put + get / by hand"] = (out[f"{ours}: put"] + out[f"{ours}: get"]) / (out[f"{plain}: put"] + out[f"{plain}: get"])
            for producer, consumer in PAIRS[1:]:
                pair = f"{name}, {producer} to {consumer}"
                out[f"{pair}: one way / Python to Python"] = out[f"{pair}: one way"] / out[f"{name}, Python to Python: one way"]
        return out


def flags_of(program):
    """What the build tree around the program says it was compiled with."""
    for folder in pathlib.Path(program).resolve().parents:
        cache = folder / "CMakeCache.txt"
        if cache.exists():
            said = dict(re.findall(r"^(\w+):\w+=(.*)$", cache.read_text(), re.M))
            return f"{said.get('CMAKE_CXX_FLAGS', '')} {said.get('CMAKE_CXX_FLAGS_' + said.get('CMAKE_BUILD_TYPE', '').upper(), '')}".strip()
    return "flags not recorded"


def commit():
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no", "--", "include", "bench", "tests/shm_segment"], capture_output=True, text=True).stdout
    return head + ("+changes" if changed.strip() else "")


def cpu():
    found = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return found.group(1) if found else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=str(ROOT / "build" / "gcc-release" / "tests" / "bin" / "segment_peer"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json")
    options = parser.parse_args()
    if not os.access(options.peer, os.X_OK):
        sys.exit(f"python_peer: there is no program {options.peer}; build the target omniconn_test_program_segment_peer or name it with --peer")
    bench = None
    try:
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            bench = Bench(options.peer, folder)
            info = bench.peers["producer", "ours"]("info")
            if not info["optimized"]:
                sys.exit(f"python_peer: {options.peer} is built without optimization; measure a release build")
            rounds = []
            for number in range(-1, options.rounds):
                made = bench.round()
                if number >= 0:  # the first warms memory and code
                    rounds.append(made)
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    finally:
        for peer in bench.peers.values() if bench is not None else ():
            peer.stop()
        for name in left_in_shm():
            (SHM / name).unlink(missing_ok=True)
    figures = []
    for name in rounds[0]:
        figures.append(report.figure(name, [each[name] for each in rounds], "x" if " / " in name else "us", most=BAR if name.endswith(": one way / by hand") else None))
    run = {"name": "beside Python", "options": "vllm-omni 0.30.0, torch replaced by a stub; a dict with one uint8 tensor", "rounds": options.rounds,
           "compiler": info["compiler"], "flags": flags_of(options.peer), "commit": commit(), "cpu": cpu()}  # fmt: skip
    report.show(run, figures, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
