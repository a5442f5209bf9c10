#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/peers: its rows and bars name what exists, each program gets its own options, and with `--run` a short run from end to end."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path += [str(ROOT / "bench"), str(ROOT / "bench" / "peers")]

import processes
import results
import rows

TELLS = "import json, sys; print(json.dumps({'ready': sys.argv[1:]}), flush=True); sys.stdin.read()"


class PeersTest(unittest.TestCase):
    def test_rows_and_ratios_name_what_exists(self):
        names = [row.name for row in rows.ROWS]
        self.assertEqual(len(names), len(set(names)))
        for row in rows.ROWS:
            self.assertIn(row.station, rows.STATIONS)
            self.assertIn(row.against, ["", *names])
        for _, _, above, below, _, _ in rows.ratios(rows.SIZES):
            self.assertIn(above, names)
            self.assertIn(below, names)
        for name, seen in rows.SEEN.items():
            self.assertIn(name, names)
            self.assertEqual(len(seen), len(rows.SIZES))

    def test_every_station_s_program_is_there(self):
        for station in rows.STATIONS.values():
            source = station.program if station.program.endswith(".py") else station.program + ".cpp"
            self.assertTrue((ROOT / "bench" / "peers" / source).exists(), source)

    def test_a_station_s_options_reach_its_program(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(processes, "BUILD", pathlib.Path(folder)), \
                mock.patch.object(processes, "command_of", lambda station, compiler: [sys.executable, "-c", TELLS]):
            peers, absent = processes.start({"ours", "limits"}, "none")
            told = {name: peer.about for name, peer in peers.items()}
            for peer in peers.values():
                peer.stop()
        self.assertEqual(absent, {})
        for name in (rows.OURS, rows.CHECKSUM, rows.RESERVE, rows.LIMITS):
            self.assertEqual(told[name][: told[name].index("--space")], list(rows.STATIONS[name].arguments))
        self.assertEqual(len({words[words.index("--space") + 1] for words in told.values()}), len(told))

    def test_a_ratio_is_of_the_same_round(self):
        key = lambda name: (name, 64, False)
        rounds = [{key(rows.HYBRID): {"p50_us": ours}, key(rows.UCX): {"p50_us": theirs}} for ours, theirs in ((1.0, 2.0), (3.0, 2.0), (8.0, 2.0))]
        self.assertEqual(results.ratio(rounds, rows.HYBRID, rows.UCX, 64, False), [0.5, 1.5, 4.0])


class ShortRun(unittest.TestCase):
    def test_it_measures_and_writes_figures(self):
        with tempfile.TemporaryDirectory() as folder:
            written = pathlib.Path(folder) / "peers.json"
            subprocess.run([ROOT / "bench" / "peers" / "run", "--rounds", "1", "--sizes", "64,4096", "--peers", "ours,limits", "--require", "all", "--json", written], check=True)
            figures = {figure["name"]: figure for figure in json.loads(written.read_text())["figures"]}
        for name in ("64 B: ours, hybrid", "4 KiB: ours, blocking", "64 B: half a futex round trip"):
            self.assertGreater(figures[name]["median"], 0)


if __name__ == "__main__":
    unittest.main(defaultTest="ShortRun" if "--run" in sys.argv else "PeersTest", argv=[word for word in sys.argv if word != "--run"])
