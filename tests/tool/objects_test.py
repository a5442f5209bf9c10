#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""put, get, cleanup: round trips, options, several processes at once, and that nothing is lost where something fails."""
import json
import os
import random
import signal
import subprocess
import unittest

from support import ToolCase


class RoundTrips(ToolCase):
    def test_bytes_come_back_as_they_were(self):
        noise = random.Random(1).randbytes
        for size in (0, 1, 4096, 1 << 20, (8 << 20) + 7):
            payload = noise(size)
            self.assertEqual(self.put(f"k{size}", payload)["size"], size)
            self.assertEqual(self.get(f"k{size}"), payload)

    def test_files_in_and_out(self):
        payload = os.urandom(100_000)
        source = self.file("in.bin", payload)
        self.ok("put", *self.edge, "--key", "k", "--in", source)
        self.assertEqual(self.get("k", "--out", self.folder / "out.bin"), b"")
        self.assertEqual((self.folder / "out.bin").read_bytes(), payload)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["in.bin", "out.bin"])

    def test_keys_are_any_text(self):
        for key in ("", "-", "a/b", "ä ö", "k" * 4000, "=", "x\ny"):
            self.put(key, b"1")
            self.assertEqual(self.get(key), b"1")

    def test_the_receipt_is_one_line_and_finds_the_object(self):
        line = self.ok("put", *self.edge, "--key", "k", stdin=b"abc")
        self.assertEqual(line.count(b"\n"), 1)
        receipt = json.loads(line)
        self.assertEqual((receipt["size"], receipt["transport"]), (3, "shm"))
        self.assertEqual(self.get("k", "--metadata", line.decode()), b"abc")

    def test_a_wrapped_receipt_is_a_receipt(self):
        receipt = self.put("k", b"abc")
        self.assertEqual(self.get("k", "--metadata", json.dumps({"k": receipt})), b"abc")

    def test_named_readers_each_have_their_share(self):
        self.put("k", b"abc", "--readers", "x,y")
        self.fails("not_found", "", "get", *self.edge, "--key", "k", "--reader", "z", "--timeout", 0)
        self.assertEqual(self.get("k", "--reader", "x"), b"abc")
        self.fails("consumed", "has had its share", "get", *self.edge, "--key", "k", "--reader", "x", "--timeout", 0)
        self.assertEqual(self.get("k", "--reader", "y"), b"abc")
        self.fails("not_found", "", "get", *self.edge, "--key", "k", "--reader", "y", "--timeout", 0)

    def test_objects_are_checked_on_both_sides(self):
        payload = b"\x81\xa1a\x93\x01\x02\x03"
        self.put("k", payload, "--object")
        self.assertEqual(self.get("k", "--object"), payload)
        self.fails("malformed", "ends in the middle", "put", *self.edge, "--key", "k", "--object", stdin=payload[:-1])
        self.fails("malformed", "is empty", "put", *self.edge, "--key", "k", "--object")
        self.fails("not_found", "", "get", *self.edge, "--key", "k", "--timeout", 0)

    def test_a_configuration_names_the_connector(self):
        config = self.file("p.yaml", "connectors: {shm: {name: ShmConnector, extra: {memory_pool_size: 16 MiB}}}\n"
                           "stages:\n  - {stage_id: 0, output_connectors: {to_stage_1: shm}}\n  - {stage_id: 1}\n")
        edge = ["--config", config, "--from", 0, "--to", 1, "--key", "k"]
        self.ok("put", *edge, stdin=b"abc")
        self.assertEqual(self.ok("get", *edge), b"abc")
        self.fails("misconfigured", "1->2", "get", "--config", config, "--from", 1, "--to", 2, "--key", "k")

    def test_settings_are_yaml(self):
        self.fails("misconfigured", "checksum is the text 'maybe'", "put", *self.edge, "--set", "checksum=maybe", "--key", "k")
        self.ok("put", *self.edge, "--set", "checksum=false", "--set", "readers=[x, y]", "--key", "k", stdin=b"1")
        self.assertEqual(self.get("k", "--set", "reader=x"), b"1")
        self.fails("malformed", "--set readers", "put", *self.edge, "--set", "readers=[x", "--key", "k")

    def test_cleanup(self):
        for key in ("r_0", "r_1", "r", "s_0"):
            self.put(key, b"1")
        clean = ["cleanup", *self.edge, "--key"]
        self.assertEqual(self.json(*clean, "s_0"), {"dropped": 1})
        self.assertEqual(self.json(*clean, "s_0"), {"dropped": 0})
        self.assertEqual(self.json(*clean, "r", "--request"), {"dropped": 3})


class Keeping(ToolCase):
    def test_objects_outlive_put_for_the_time_of_keep(self):
        self.put("k", b"1", "--keep", 3600)
        row = self.json(*self.here("stat"), "k", "--json")["namespaces"][0]["objects"][0]
        self.assertGreater(row["lease_left_s"], 3000)
        self.assertLessEqual(row["lease_left_s"], 3600)
        self.assertEqual(self.get("k"), b"1")

    def test_without_keep_the_lease_is_the_connectors(self):
        self.put("k", b"1", "--set", "lease_seconds=1000")
        row = self.json(*self.here("stat"), "k", "--json")["namespaces"][0]["objects"][0]
        self.assertGreater(row["lease_left_s"], 900)

    def test_where_objects_die_with_their_process_put_stays(self):
        inside = ["put", "--connector", "InprocConnector", "--from", "a", "--to", "b", "--key", "k"]
        done = self.run_tool(*inside, "--keep", "0.05", stdin=b"1")
        self.assertEqual((done.returncode, json.loads(done.stdout)["size"]), (0, 1))
        self.assertIn(b"nobody took the object", done.stderr)

    def test_the_receipt_is_out_before_put_stays_and_a_signal_ends_it(self):
        process = self.start("put", "--connector", "InprocConnector", "--from", "a", "--to", "b", "--key", "k", "--keep", 600)
        self.assertEqual(json.loads(process.stdout.readline())["size"], 0)
        self.until("signals are taken", lambda: self.blocked(process.pid, signal.SIGTERM))
        process.send_signal(signal.SIGTERM)
        self.assertEqual((process.wait(30), process.stderr.read().startswith(b"error: cancelled: ")), (5, True))

    @staticmethod
    def blocked(pid, number):
        """Whether that signal is taken by another thread: blocked, while others are not, as they all are for the moment in which a thread is started."""
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            words = dict(line.split(":\t", 1) for line in status if ":\t" in line)
        mask = int(words["SigBlk"], 16)
        return mask >> (number - 1) & 1 == 1 and mask >> (signal.SIGUSR2 - 1) & 1 == 0


class Waiting(ToolCase):
    def test_get_waits_for_a_put_of_another_process(self):
        reader = self.start("get", *self.edge, "--key", "k", "--timeout", 60)
        self.wait_for_readers(1)
        self.put("k", b"later")
        out, err = reader.communicate(timeout=30)
        self.assertEqual((reader.returncode, out, err), (0, b"later", b""))

    def test_many_at_once(self):
        readers = [self.start("get", *self.edge, "--key", f"k{i}", "--timeout", 60) for i in range(8)]
        writers = [self.start("put", *self.edge, "--key", f"k{i}", "--in", self.file(f"{i}", os.urandom(10_000 + i))) for i in range(8)]
        for writer in writers:
            self.assertEqual((writer.wait(60), writer.stderr.read()), (0, b""))
        for i, reader in enumerate(readers):
            out, err = reader.communicate(timeout=60)
            self.assertEqual((reader.returncode, err, out == (self.folder / f"{i}").read_bytes()), (0, b"", True))

    def test_of_two_puts_of_one_key_one_wins(self):
        writers = [self.start("put", *self.edge, "--key", "k", "--in", self.file(str(i), str(i))) for i in range(4)]
        codes = sorted(writer.wait(60) for writer in writers)
        self.assertEqual(codes, [0, 6, 6, 6])
        self.assertIn(self.get("k"), (b"0", b"1", b"2", b"3"))

    def test_of_two_gets_of_one_object_one_has_it(self):
        readers = [self.start("get", *self.edge, "--key", "k", "--timeout", 1.5) for _ in range(3)]
        self.wait_for_readers(3)
        self.put("k", b"once")
        outs = sorted((reader.communicate(timeout=30)[0], reader.returncode) for reader in readers)
        self.assertEqual(outs, [(b"", 4), (b"", 4), (b"once", 0)])

    def test_a_signal_ends_the_wait_and_leaves_nothing(self):
        reader = self.start("get", *self.edge, "--key", "k", "--timeout", 600)
        self.wait_for_readers(1)
        self.until("signals are taken", lambda: Keeping.blocked(reader.pid, signal.SIGINT))
        reader.send_signal(signal.SIGINT)
        self.assertEqual((reader.wait(30), reader.stderr.read().startswith(b"error: cancelled: ")), (5, True))
        self.assertEqual(list(self.shm.iterdir()), [])

    def test_times(self):
        self.fails("timed_out", "", "get", *self.edge, "--key", "k", "--timeout", 0.05)
        self.fails("not_found", "", "get", *self.edge, "--key", "k", "--timeout", 0)


class NothingIsLost(ToolCase):
    def still_there(self, key, payload):
        self.assertEqual(self.get(key), payload)

    def test_a_full_disk(self):
        self.put("k", b"abc")
        self.fails("no_space", "/dev/full", "get", *self.edge, "--key", "k", "--out", "/dev/full")
        with open("/dev/full", "wb") as full:
            self.fails("no_space", "stdout", "get", *self.edge, "--key", "k", stdout=full)
        self.still_there("k", b"abc")

    def test_a_broken_pipe(self):
        payload = os.urandom(1 << 20)
        self.put("k", payload)
        read, write = os.pipe()
        os.close(read)
        self.fails("io", "stdout", "get", *self.edge, "--key", "k", stdout=write)
        os.close(write)
        self.still_there("k", payload)

    def test_a_reader_that_stops_in_the_middle(self):
        payload = os.urandom(4 << 20)
        self.put("k", payload)
        process = self.start("get", *self.edge, "--key", "k")
        self.assertEqual(process.stdout.read(10), payload[:10])
        process.stdout.close()
        self.assertEqual(process.wait(30), 25)
        self.still_there("k", payload)

    def test_a_get_that_is_killed_while_it_writes(self):
        payload = os.urandom(4 << 20)
        self.put("k", payload)
        process = self.start("get", *self.edge, "--key", "k")
        self.assertEqual(process.stdout.read(10), payload[:10])
        process.kill()
        process.wait()
        self.still_there("k", payload)

    def test_outputs_that_cannot_be(self):
        self.put("k", b"abc")
        get = ["get", *self.edge, "--key", "k", "--out"]
        self.fails("not_found", "/nowhere/x", *get, "/nowhere/x")
        self.fails("io", "Is a directory", *get, self.folder)
        self.fails("not_found", "Not a directory", *get, self.file("f", "x") / "y")
        self.still_there("k", b"abc")

    def test_a_closed_stdout(self):
        self.put("k", b"abc")
        self.fails("io", "stdout", "get", *self.edge, "--key", "k", stdout=None, preexec_fn=lambda: os.close(1))
        self.still_there("k", b"abc")

    def test_an_object_that_is_none(self):
        self.put("k", b"\xc1")
        old = self.file("out", "old")
        self.fails("malformed", "0xc1", "get", *self.edge, "--key", "k", "--object", "--out", old)
        self.assertEqual((old.read_text(), [path.name for path in self.folder.iterdir()]), ("old", ["out"]))
        self.still_there("k", b"\xc1")

    def test_a_put_without_a_receipt_is_none(self):
        with open("/dev/full", "wb") as full:
            self.fails("no_space", "stdout", "put", *self.edge, "--key", "k", stdin=b"abc", stdout=full)
        self.fails("not_found", "", "get", *self.edge, "--key", "k", "--timeout", 0)

    def test_flipped_bits(self):
        payload = os.urandom(10_000)
        self.put("k", payload)
        for path in self.shm.iterdir():
            if path.suffix != ".dir":
                arena, at = path, path.read_bytes().index(payload)
        with open(arena, "r+b") as file:
            file.seek(at + 5000)
            file.write(bytes([payload[5000] ^ 1]))
        self.fails("corrupt", "", "get", *self.edge, "--key", "k")
        with open(arena, "r+b") as file:
            file.seek(at + 5000)
            file.write(bytes([payload[5000]]))
        self.still_there("k", payload)

    def test_output_replaces_what_a_link_leads_to(self):
        old = self.file("old", "old")
        old.chmod(0o640)
        link = self.folder / "link"
        link.symlink_to(old)
        self.put("k", b"new")
        self.get("k", "--out", link)
        self.assertEqual((old.read_bytes(), link.is_symlink(), old.stat().st_mode & 0o777), (b"new", True, 0o640))


class Refusals(ToolCase):
    def test_keys_and_limits(self):
        self.fails("too_large", "4096", "put", *self.edge, "--key", "k" * 4097)
        self.put("k", b"x" * 2000)
        self.fails("too_large", "", "get", *self.edge, "--key", "k", "--set", "max_get_size=1000")
        self.assertEqual(len(self.get("k")), 2000)
        self.fails("no_space", "memory_pool_size", "put", "--connector", "ShmConnector", "--set", "memory_pool_size=1MiB", "--from", "a", "--to", "b", "--key", "big", stdin=bytes(4 << 20))
        self.fails("misconfigured", "", "put", *self.edge, "--key", "r", "--readers", "x,x")
        self.fails("too_large", "", "put", *self.edge, "--key", "r", "--readers", ",".join(f"r{i}" for i in range(65)))

    def test_inputs_that_cannot_be(self):
        put = ["put", *self.edge, "--key", "k", "--in"]
        self.fails("not_found", "/nowhere", *put, "/nowhere")
        self.fails("io", "Is a directory", *put, self.folder)
        self.fails("not_found", "Not a directory", *put, self.file("f", "x") / "y")
        self.fails("io", "stdin", "put", *self.edge, "--key", "k", preexec_fn=lambda: os.close(0))

    def test_receipts_that_are_none(self):
        get = ["get", *self.edge, "--key", "k", "--metadata"]
        for text, words in (("{", "line 1"), ("[]", "size"), ("{}", "size"), ('{"size": -1}', "negative"), ('{"size": 3, "transport": "carrier pigeon"}', "not of a shared-memory object"),
                            ('{"size": 3, "transport": "shm", "directory": 1, "generation": 0, "hash": 1, "slot": 99999999}', "impossible slot")):
            self.fails("malformed", words, *get, text)

    def test_a_stale_receipt(self):
        receipt = self.put("k", b"1")
        self.get("k")
        self.put("other", b"1")  # keeps the namespace
        self.fails("stale_handle", "", "get", *self.edge, "--key", "k", "--timeout", 1, "--metadata", json.dumps(receipt))

    def test_connectors_that_cannot_be(self):
        rest = ["--from", "a", "--to", "b", "--key", "k"]
        self.fails("misconfigured", "Unknown connector: Pigeon", "get", "--connector", "Pigeon", *rest)
        self.fails("unsupported", "YuanrongConnector", "get", "--connector", "YuanrongConnector", *rest)
        self.fails("not_found", "Config file not found", "get", "--config", "/nowhere.yaml", *rest)
        self.fails("misconfigured", "Unsupported config file format", "get", "--config", self.file("p.toml", ""), *rest)

    def test_files_of_others(self):
        self.put("k", b"1")
        directory = next(self.shm.glob("*.dir"))
        get = ["get", *self.edge, "--key", "k", "--timeout", 0]
        directory.chmod(0o644)
        self.fails("unauthorized", "open to other users", *get)
        directory.chmod(0o600)
        with open(directory, "r+b") as file:
            file.seek(8)
            file.write(b"\xff")
        self.fails("version_mismatch", "", *get)
        with open(directory, "r+b") as file:
            file.write(b"\xff")
        self.fails("corrupt", "", *get)

    def test_a_process_that_is_stopped_at_the_gate(self):
        self.put("k", b"1")
        directory = next(self.shm.glob("*.dir"))
        holder = subprocess.Popen(["/usr/bin/env", "python3", "-c", "import fcntl, struct, sys, time\n"
                                   "f = open(sys.argv[1], 'r+b')\n"
                                   "fcntl.fcntl(f, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 1, 0))\n"  # F_OFD_SETLK
                                   "print(flush=True)\nsys.stdin.read()", str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            holder.stdout.readline()
            self.fails("peer_stalled", "stopped", "get", *self.edge, "--key", "k", "--timeout", 0)
            self.assertEqual(len(self.json(*self.here("ls"), "--json")["namespaces"][0]["objects"]), 1)  # looking takes no lock
        finally:
            holder.communicate()
        self.assertEqual(self.get("k"), b"1")


if __name__ == "__main__":
    unittest.main()
