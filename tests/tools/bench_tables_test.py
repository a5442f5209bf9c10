#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/bench_tables.py: tables of both formats, and a check that sees stale tables and files that do not say what was measured."""
import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import bench_tables  # noqa: E402

OWN = {
    "name": "x", "options": "64 B", "rounds": 7, "compiler": "g++ 12", "flags": "-O2", "commit": "abc1234", "cpu": "Some CPU",
    "figures": [
        {"name": "plain", "unit": "us", "median": 1.5, "min": 1, "max": 2, "bar": "", "met": True},
        {"name": "good", "unit": "x", "median": 1.2, "min": 1.1, "max": 1.4, "bar": "<= 1.5", "met": True},
        {"name": "bad", "unit": "x", "median": 1.6, "min": 1.1, "max": 1.9, "bar": "<= 1.5", "met": False},
    ],
}
GOOGLE = {
    "context": {"num_cpus": 2, "mhz_per_cpu": 2596, "compiler": "g++ 12", "flags": "-O2", "commit": "abc1234", "cpu": "Some CPU"},
    "benchmarks": [
        {"name": "at_bar/iterations:9", "base_us": 100.0, "ours_us": 110.0, "ratio": 1.1, "bar": 1.1},
        {"name": "over/iterations:9", "base_us": 100.0, "ours_us": 111.0, "ratio": 1.11, "bar": 1.1},
        {"name": "no_bar", "base_us": 1.0, "ours_us": 2.0, "ratio": 2.0},
        {"name": "alone", "real_time": 5.0},
    ],
}
FAULTS = {
    "name": "x", "options": "a producer is killed", "seconds": 12.4, "compiler": "g++ 12", "commit": "abc1234", "cpu": "Some CPU",
    "counts": [
        {"name": "deaths", "value": 1000, "bar": ">= 1000", "met": True},
        {"name": "lost", "value": 1, "bar": "0", "met": False},
        {"name": "gap (ms)", "value": 1.5, "bar": "", "met": True},
    ],
    "failpoints": {"shm.a.b": 52, "shm.c.d": 53},
}
MODEL = {
    "name": "model", "compiler": "g++ 12", "commit": "abc1234",
    "stories": [{"name": "two meet", "preemptions": -1, "stale": 1, "kills": 0, "coarse": False, "executions": 12345, "states": 99, "steps": 7, "seconds": 1.26, "outcome": "all seen"}],
    "mutants": [{"name": "a rule less", "trap": 3, "story": "two meet", "preemptions": 2, "stale": 0, "kills": 1, "coarse": True, "executions": 5, "states": 4, "steps": 7, "seconds": 0.04,
                 "outcome": "a block is lost"}],
}
PAGE = "# Figures\n\n<!-- bench: run -->\n<!-- end -->\n\nafter\n"


class BenchTablesTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        (self.root / "bench" / "results").mkdir(parents=True)
        self.addCleanup(setattr, bench_tables, "ROOT", bench_tables.ROOT)
        self.addCleanup(setattr, bench_tables, "PAGES", bench_tables.PAGES)
        self.addCleanup(setattr, sys, "argv", sys.argv)
        bench_tables.ROOT = self.root
        bench_tables.PAGES = [self.root / "other.md", self.root / "page.md"]
        for page in bench_tables.PAGES:
            page.write_text(PAGE if page.name == "page.md" else "no table here\n", encoding="utf-8")

    def call(self, run, *arguments):
        (self.root / "bench" / "results" / "run.json").write_text(json.dumps(run), encoding="utf-8")
        sys.argv = ["bench_tables.py", *arguments]
        with contextlib.redirect_stdout(io.StringIO()) as said:
            status = bench_tables.main()
        return status, said.getvalue()

    def written(self, run, shape=""):
        bench_tables.PAGES[1].write_text(PAGE.replace("run -->", f"run{shape} -->"), encoding="utf-8")
        self.assertEqual(self.call(run), (0, ""))
        self.assertEqual(self.call(run, "--check"), (0, ""))
        page = bench_tables.PAGES[1].read_text(encoding="utf-8")
        self.assertTrue(page.startswith(f"# Figures\n\n<!-- bench: run{shape} -->\n") and page.endswith("<!-- end -->\n\nafter\n"), page)
        return page

    def test_our_own_format(self):
        page = self.written(OWN)
        self.assertIn("64 B; median of 7 rounds [least .. most]; g++ 12, -O2; commit abc1234; Some CPU.\n\n| figure | median | range | bar | |\n|---|---|---|---|---|\n", page)
        self.assertIn("| plain | 1.5 us | 1 .. 2 |  |  |\n", page)
        self.assertIn("| good | 1.2 x | 1.1 .. 1.4 | <= 1.5 | met |\n", page)
        self.assertIn("| bad | 1.6 x | 1.1 .. 1.9 | <= 1.5 | **not met** |\n", page)

    def test_a_grid(self):
        figure = lambda name, median, **more: {"name": name, "unit": "us", "median": median, "min": median, "max": median, "bar": "", "met": True, **more}
        page = self.written({**OWN, "figures": [
            figure("10 keys: blocking", 20.5, max=22), figure("100 keys: blocking", 21), figure("100 keys: more", 1.2, unit="x", bar="<= 1.3"),
            figure("64 B: calls", 12, unit="", bar="<= 10", met=False), figure("10 keys: first", 3)]}, " grid")  # fmt: skip
        self.assertIn("64 B; median of 7 rounds [least .. most]; g++ 12, -O2; commit abc1234; Some CPU.\n\n| | blocking | more | first |\n|---|---|---|---|\n", page)
        self.assertIn("| 10 keys | 20.5 us [20.5 .. 22] |  | 3 us |\n| 100 keys | 21 us | 1.2 x, <= 1.3: met |  |\n\n| | calls |\n|---|---|\n", page)
        self.assertIn("| 64 B | 12, <= 10: **not met** |\n<!-- end -->", page)

    def test_figures_with_bars_only(self):
        page = self.written(OWN, " bars")
        self.assertIn("| good |", page)
        self.assertNotIn("| plain |", page)

    def test_google_benchmark(self):
        page = self.written(GOOGLE)
        self.assertIn("2 CPUs at 2596 MHz; medians of the iterations; g++ 12, -O2; commit abc1234; Some CPU.\n\n| figure | peer | ours | ratio | bar | |\n|---|---|---|---|---|---|\n", page)
        self.assertIn("| at bar | 100 us | 110 us | 1.100 | <= 1.1 | met |\n", page)
        self.assertIn("| over | 100 us | 111 us | 1.110 | <= 1.1 | **not met** |\n", page)
        self.assertIn("| no bar | 1 us | 2 us | 2.000 |  |  |\n", page)
        self.assertNotIn("alone", page)

    def test_counts_of_faults(self):
        page = self.written(FAULTS)
        self.assertIn("A producer is killed. 12 s; g++ 12; commit abc1234; Some CPU.\n\n| count | value | bar | |\n|---|---|---|---|\n", page)
        self.assertIn("| deaths | 1000 | >= 1000 | met |\n", page)
        self.assertIn("| lost | 1 | 0 | **not met** |\n", page)
        self.assertIn("| gap (ms) | 1.5 |  |  |\n\nDeaths at each failpoint (105 in all): `shm.a.b` 52, `shm.c.d` 53.\n", page)
        self.assertNotIn("Deaths", self.written({**FAULTS, "failpoints": {}}))

    def test_model_checker(self):
        page = self.written(MODEL)
        self.assertIn("g++ 12; commit abc1234.\n\n| story |", page)
        self.assertIn("| two meet | any / 1 / 0, everywhere | 12,345 | 99 | 1.3 s | all seen |\n", page)
        self.assertIn("| a rule less | 3 | two meet | 2 / 0 / 1 | 5 | 4 | 0.0 s | a block is lost |\n", page)

    def test_stale_table(self):
        self.written(OWN)
        status, said = self.call({**OWN, "rounds": 8}, "--check")
        self.assertEqual(status, 1)
        self.assertIn("docs/page.md is not what bench/results/ says", said)

    def test_commit_that_is_not_said(self):
        older = {**GOOGLE, "context": {"num_cpus": 2, "mhz_per_cpu": 2596}}
        self.assertIn("2 CPUs at 2596 MHz; medians of the iterations.\n", self.written(older))
        for run in ({**OWN, "commit": ""}, {**FAULTS, "commit": ""}, {field: OWN[field] for field in OWN if field != "commit"}, {**GOOGLE, "context": {**GOOGLE["context"], "commit": ""}}):
            self.call(run)
            status, said = self.call(run, "--check")
            self.assertEqual(status, 1, run)
            self.assertEqual(said, "bench/results/run.json does not say which commit was measured; run the benchmark again, built from a git checkout\n")


if __name__ == "__main__":
    unittest.main()
