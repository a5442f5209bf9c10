#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ls and stat: what they know of both layouts, that they change nothing, and files that are not what they should be."""
import hashlib
import os
import pathlib
import random
import struct
import unittest

from support import ToolCase


class Looking(ToolCase):
    def objects(self, *arguments):
        return {row["key"]: row for space in self.json(*(["ls"] if "--directory" in arguments else self.here("ls")), "--json", *arguments)["namespaces"] for row in space.get("objects", [])}

    def contents(self, folder=None):
        return {path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in (folder or self.shm).iterdir() if path.is_file() and not path.is_symlink()}


class OurLayout(Looking):
    def test_objects_of_producers_that_are_gone(self):
        self.put("k", b"x" * 3000, "--keep", 100)
        row = self.objects()["default/a/b/k"]
        self.assertEqual((row["size"], row["state"], row["readers"]), (3000, "unread", ["one unread"]))
        self.assertTrue(90 < row["lease_left_s"] <= 100 and 0 <= row["age_at_most_s"] < 60, row)
        self.assertRegex(row["producer"], r"^.* \(pid \d+, gone\)$")
        table = self.ok(*self.here("ls")).decode().splitlines()
        self.assertEqual(table[0].split(), ["LAYOUT", "NAMESPACE", "KEY", "STATE", "SIZE", "AGE", "PRODUCER", "READERS"])
        self.assertRegex(table[1], r"^omniconn +default +default/a/b/k +unread +2\.9 KiB +<= [0-9.]+ s +\S+ \(pid \d+, gone\) +one unread$")

    def test_readers_and_long_keys(self):
        long_key = "k" * 1000
        self.put(long_key, b"1", "--readers", "x,y")
        self.get(long_key, "--reader", "y")
        self.assertEqual(self.objects()["default/a/b/" + long_key]["readers"], ["x unread", "y done"])
        self.assertEqual((self.objects()["default/a/b/" + long_key]["unread_by"], self.objects()["default/a/b/" + long_key]["holders"]), (["x"], []))

    def test_who_takes_part(self):
        waiting = self.start("get", *self.edge, "--key", "k", "--timeout", 600)
        self.wait_for_readers(1)
        space = self.json(*self.here("stat"), "--json")["namespaces"][0]
        self.assertEqual((space["name"], space["slots"], space["objects"]), ("default", 4096, []))
        process = space["processes"][0]
        self.assertEqual((process["pid"], process["state"], process["name"]), (waiting.pid, "alive", "b"))
        self.assertIn(f"b, pid {waiting.pid}, alive", self.ok(*self.here("stat")).decode())
        waiting.kill()
        waiting.wait()
        self.assertEqual(self.json(*self.here("stat"), "--json")["namespaces"][0]["processes"][0]["state"], "dead")

    def test_a_reader_at_work(self):
        self.put("k", os.urandom(4 << 20))
        process = self.start("get", *self.edge, "--key", "k")
        process.stdout.read(1)
        row = self.objects()["default/a/b/k"]
        self.assertEqual(row["state"], "held")
        self.assertRegex(row["readers"][0], rf"^b reads: b \(pid {process.pid}\) for [0-9.]+ s$")
        self.assertIn(f"b (pid {process.pid}) for the reader b, held for ", self.ok(*self.here("stat"), "k").decode())

    def test_one_object(self):
        self.put("some/key", b"123")
        self.put("other", b"1")
        for key in ("some/key", "default/a/b/some/key"):
            text = self.ok(*self.here("stat"), key).decode()
            self.assertIn("3 bytes", text)
            self.assertNotIn("other", text)
        self.fails("not_found", "no object with the key", *self.here("stat"), "key")

    def test_namespaces_have_names_where_they_can_be_known(self):
        put = ["put", "--connector", "ShmConnector", "--set", "memory_pool_size=1MiB", "--set", "namespace=secret", "--from", "a", "--to", "b", "--key", "k"]
        self.ok(*put, stdin=b"1")
        space = self.json(*self.here("ls"), "--json")["namespaces"][0]
        self.assertEqual((space["name"], len(space["objects"])), (None, 1))
        stem = pathlib.Path(space["path"]).stem
        self.assertIn(f"#{stem}", self.ok(*self.here("ls")).decode())
        self.assertEqual(self.json(*self.here("ls"), "--json", "--namespace", "secret")["namespaces"][0]["name"], "secret")
        self.environment["OMNICONN_NAMESPACE"] = "secret"
        self.assertEqual(self.json(*self.here("ls"), "--json")["namespaces"][0]["name"], "secret")
        self.fails("not_found", "nobody uses the namespace 'other'", "ls", "--namespace", "other")

    def test_looking_changes_nothing_and_takes_no_part(self):
        self.put("k", b"1")
        before = self.contents()
        self.ok(*self.here("ls"))
        self.ok(*self.here("stat"))
        self.ok(*self.here("stat"), "k")
        self.assertEqual(self.contents(), before)
        for path in self.shm.iterdir():
            path.chmod(0o400)
        self.assertEqual(len(self.objects()), 1)

    def test_an_empty_folder(self):
        self.assertEqual(self.json("ls", "--json", "--directory", self.folder), {"namespaces": []})
        self.fails("not_found", "/nowhere", "ls", "--directory", "/nowhere")
        self.fails("io", "Not a directory", "ls", "--directory", self.file("f", ""))


class HostileFiles(Looking):
    def name(self, digit="0", uid=None):
        return self.shm / f"omniconn-{os.geteuid() if uid is None else uid}-{digit * 16}.dir"

    def problem(self):
        spaces = self.json(*self.here("ls"), "--json")["namespaces"]
        self.assertEqual(len(spaces), 1)
        return spaces[0].get("problem")

    def test_files_that_are_none(self):
        self.name().mkdir()
        self.assertIn("unauthorized", self.problem())
        self.name().rmdir()
        self.name().symlink_to("/etc/passwd")
        self.assertIn("unauthorized", self.problem())
        self.name().unlink()
        os.mkfifo(self.name(), 0o600)
        self.assertIn("unauthorized", self.problem())  # and no waiting for a writer
        self.name().unlink()
        for content, words in ((b"", "truncated"), (b"x" * 127, "truncated"), (b"x" * 128, "no omniconn directory"), (bytes(1 << 20), "no omniconn directory")):
            self.name().write_bytes(content)
            self.name().chmod(0o600)
            self.assertIn(words, self.problem())
        self.name().chmod(0o622)
        self.assertIn("open to other users", self.problem())

    def test_names_that_only_look_like_ours_are_left_alone(self):
        for name in ("omniconn-0-123.dir", "omniconn--0000000000000000.dir", "omniconn-x-0000000000000000.dir", "omniconn-0-000000000000000G.dir", "omniconn.dir"):
            (self.shm / name).write_bytes(b"x")
        self.assertEqual(self.json(*self.here("ls"), "--json"), {"namespaces": []})

    def test_heads_that_lie(self):
        self.put("k", b"1")
        path = next(self.shm.glob("*.dir"))
        good = path.read_bytes()
        for offset, form, number, words in ((0, "<Q", 1, "no omniconn directory"), (8, "<I", 99, "of version 99"), (12, "<I", 0, "slots"), (12, "<I", 4095, "slots"), (12, "<I", 16384, "size"), (12, "<I", 1 << 31, "slots"),
                                            (32, "<Q", 1, "size")):
            bad = bytearray(good)
            struct.pack_into(form, bad, offset, number)
            path.write_bytes(bad)
            self.assertIn(words, self.problem())
            self.assertIn(words, self.ok(*self.here("ls")).decode())
        self.fails("corrupt", "wrong size", "ls", "--namespace", "default")
        path.write_bytes(good[:-1])
        self.assertIn("wrong size", self.problem())

    def test_random_damage(self):
        for i in range(6):
            self.put(f"k{i}" * (1 + i * 20), os.urandom(100 * i), "--readers", "x,y")
        path = next(self.shm.glob("*.dir"))
        good = path.read_bytes()
        used = [at for at in range(0, len(good), 8) if good[at:at + 8] != bytes(8)]
        rng = random.Random(11)
        for _ in range(150):
            bad = bytearray(good)
            for _ in range(rng.randrange(1, 12)):
                at = rng.choice(used) + rng.randrange(8)
                bad[at] = rng.randrange(256)
            path.write_bytes(bad)
            done = self.run_tool(*self.here(rng.choice(("ls", "stat"))), *rng.choice(([], ["--json"])))
            self.assertEqual((done.returncode, done.stderr), (0, b""), bad)
            self.assertEqual(path.read_bytes(), bytes(bad))

    def test_names_inside_cannot_move_the_cursor(self):
        self.put("\x1b[2J\nfake", b"1", "--readers", "\x1b[31m")
        out = self.ok(*self.here("ls")).decode()
        self.assertNotIn("\x1b", out)
        self.assertEqual(len(out.splitlines()), 2)


class UpstreamLayout(Looking):
    def test_segments_and_locks(self):
        def lock(key):
            self.file(f"shm_{key}_lockfile.lock", "")
        self.file("req_1", b"x" * 500)
        lock("req_1")
        self.file("req_2", "")
        lock("req_2")
        lock("gone")
        self.file("psm_of_somebody_else", "1")
        (self.folder / "folder").mkdir()
        lock("folder")
        self.file("shm__lockfile.lock", "")
        before = self.contents(self.folder)
        objects = self.objects("--directory", self.folder)
        self.assertEqual({key: (row["state"], row.get("size")) for key, row in objects.items()},
                         {"req_1": ("unread", 500), "req_2": ("being written", 0), "gone": ("lock only", None), "folder": ("lock only", None)})
        self.assertTrue(all(0 <= row["age_s"] < 60 for row in objects.values()))
        self.assertRegex(self.ok("ls", "--directory", self.folder).decode(), r"upstream +- +req_1 +unread +500 B +[0-9.]+ s +\? +one, unread")
        self.assertIn("500 bytes", self.ok("stat", "req_1", "--directory", self.folder).decode())
        self.assertEqual(self.contents(self.folder), before)


if __name__ == "__main__":
    unittest.main()
