#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench: figures of both forms, the bar, and its second process. Nothing is said about how fast anything is."""
import os
import pathlib
import signal
import unittest

from support import ToolCase


class Bench(ToolCase):
    def setUp(self):
        super().setUp()
        self.command = ["bench", *self.edge, "--sizes", "0,1KiB,1 MiB", "--count", "20"]

    def child_of(self, process):
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")

        def started():  # what was forked has yet to become the tool's second process
            found = children.read_text().split()
            return found and b"bench-reader" in pathlib.Path(f"/proc/{found[0]}/cmdline").read_bytes()

        self.until("the second process runs", started)
        return int(children.read_text().split()[0])

    def test_a_table(self):
        lines = self.ok(*self.command).decode().splitlines()
        self.assertTrue(lines[0].startswith("transport shm, us from the call of put "), lines[0])
        self.assertTrue(lines[1].startswith("limit: half a round trip between the two processes"), lines[1])
        self.assertEqual(lines[2].split()[:2], ["size", "objects"])
        self.assertEqual([line.split()[:3] for line in lines[3:]], [["0", "B", "20"], ["1", "KiB", "20"], ["1", "MiB", "20"]])
        self.assertEqual({len(line) for line in lines[2:]}, {len(lines[2])})
        self.assertEqual(list(self.shm.iterdir()), [])

    def test_json(self):
        out = self.json(*self.command, "--json")
        self.assertEqual((out["transport"], [row["size"] for row in out["rows"]]), ("shm", [0, 1024, 1 << 20]))
        limits = out["limits"]
        self.assertEqual([limit["size"] for limit in limits["sizes"]], [0, 1024, 1 << 20])
        self.assertGreater(limits["wake_up_us"], 0)
        told = limits["wake_up_us"] if limits["line_us"] is None else limits["line_us"]
        for row, limit in zip(out["rows"], limits["sizes"]):
            view, read = row["latency_us"], row["read_us"]
            for times in (view, read):
                self.assertTrue(0 < times["p50"] <= times["p90"] <= times["p99"] <= times["max"], row)
            for quantile, us in view.items():
                self.assertLessEqual(us, read[quantile], row)
            self.assertTrue(row["objects_per_second"] > 0 and row["objects"] == 20)
            self.assertGreater(limit["memcpy_and_sum_us"], 0)
            self.assertAlmostEqual(limit["limit_us"], told + limit["memcpy_and_sum_us"])
            self.assertAlmostEqual(row["times_limit"], read["p50"] / limit["limit_us"])
            self.assertAlmostEqual(row["bytes_per_second"], row["objects_per_second"] * row["size"], delta=1 + row["bytes_per_second"] * 1e-9)

    def test_where_the_two_run(self):
        command = ["bench", *self.edge, "--sizes", "10", "--count", "3"]
        allowed = sorted(os.sched_getaffinity(0))
        alone = {"preexec_fn": lambda: os.sched_setaffinity(0, allowed[-1:])}
        limits = self.json(*command, "--json", **alone)["limits"]
        self.assertEqual((limits["cpus"], limits["line_us"]), ([allowed[-1]] * 2, None))
        self.assertIn(f"they take turns on CPU {allowed[-1]}, so that none spins".encode(), self.ok(*command, **alone))
        if len(allowed) == 1:
            return
        limits = self.json(*command, "--json")["limits"]
        self.assertEqual(limits["cpus"], allowed[:2])
        self.assertGreater(limits["line_us"], 0)
        self.assertIn(f" on CPUs {allowed[0]} and {allowed[1]}, ".encode(), self.ok(*command))

    def test_a_single_object(self):
        for size in (0, 1, 63, 65):  # the sum has a rest
            self.assertEqual(self.json("bench", *self.edge, "--sizes", size, "--count", 1, "--json")["rows"][0]["objects"], 1)

    def test_more_objects_than_room(self):
        self.assertEqual(self.json("bench", *self.edge, "--sizes", "1MiB,10MiB", "--count", 100, "--json")["rows"][1]["objects"], 100)

    def test_a_configuration_with_several_readers(self):
        config = self.file("p.yaml", "connectors: {shm: {name: ShmConnector, extra: {memory_pool_size: 16 MiB, readers: [x, y]}}}\n"
                           "stages:\n  - {stage_id: 0, output_connectors: {to_stage_1: shm}}\n  - {stage_id: 1}\n")
        self.assertEqual(self.json("bench", "--config", config, "--from", 0, "--to", 1, "--sizes", "10", "--count", 3, "--json")["rows"][0]["objects"], 3)

    def test_the_bar_is_for_terminals(self):
        master, slave = os.openpty()
        done = self.run_tool(*self.command, stderr=slave)
        os.close(slave)
        seen = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the end, once the other side is closed
                break
            if not piece:
                break
            seen += piece
        os.close(master)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"\r[", seen)
        self.assertIn(b"1 MiB throughput", seen)
        self.assertTrue(seen.endswith(b"\r\x1b[K"), seen[-20:])

    def test_edges_that_cannot_be_measured(self):
        rest = ["--from", "a", "--to", "b", "--sizes", "1"]
        self.fails("unsupported", "does not leave the process", "bench", "--connector", "InprocConnector", *rest)
        self.fails("misconfigured", "Unknown connector", "bench", "--connector", "Pigeon", *rest)
        self.fails("no_space", "memory_pool_size", "bench", *self.edge, "--sizes", "64MiB")

    def test_a_second_process_that_is_killed(self):
        process = self.start("bench", *self.edge, "--sizes", "1", "--count", "10000000", "--timeout", "60")
        os.kill(self.child_of(process), signal.SIGKILL)
        self.assertEqual(process.wait(60), 13)
        self.assertEqual(process.stderr.read(), b"error: peer_lost: the second process was killed by signal 9\n")
        self.assertEqual(list(self.shm.iterdir()), [])

    def test_a_second_process_that_is_stopped(self):
        process = self.start("bench", *self.edge, "--sizes", "1", "--count", "10000000", "--timeout", "0.5")
        os.kill(self.child_of(process), signal.SIGSTOP)
        self.assertEqual(process.wait(60), 4)
        self.assertIn(b"did not answer", process.stderr.read())

    def test_the_second_process_ends_with_the_first(self):
        process = self.start("bench", *self.edge, "--sizes", "1", "--count", "10000000")
        child = self.child_of(process)
        self.addCleanup(lambda: pathlib.Path(f"/proc/{child}").exists() and os.kill(child, signal.SIGKILL))
        self.wait_for_readers(2)
        os.kill(child, signal.SIGSTOP)  # so that it cannot see its orders end
        process.kill()
        process.wait()
        self.until("the second process is gone", lambda: not pathlib.Path(f"/proc/{child}").exists() or pathlib.Path(f"/proc/{child}/stat").read_text().split()[2] == "Z")

    def test_an_error_of_the_second_process_is_told(self):
        # The reader finds payloads too large; the writer does not look.
        self.fails("too_large", "the second process: ", "bench", *self.edge, "--set", "max_get_size=10", "--sizes", "100", "--count", "1")

    def test_the_second_process_alone(self):
        done = self.run_tool("bench-reader", *self.edge, "--run", "x")
        self.assertIn(b"only bench starts this command", done.stdout)


if __name__ == "__main__":
    unittest.main()
