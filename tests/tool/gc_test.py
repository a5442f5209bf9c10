#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gc: what processes that were killed leave, what ls and stat say of it, and what is left alone because somebody uses it."""
import fcntl
import json
import os
import signal
import struct
import subprocess
import unittest

from support import TOOL, ToolCase


class Tidying(ToolCase):
    def setUp(self):
        super().setUp()
        self.stem = self.stem_of_default()

    def stem_of_default(self):
        self.put("first", b"1", "--keep", 100)
        stem = next(self.shm.glob("*.dir")).stem
        self.ok("cleanup", *self.edge, "--key", "first")
        self.assertEqual(self.left(), [])
        return stem

    def left(self):
        return sorted(path.name for path in self.shm.iterdir())

    def gc(self, *arguments):
        return self.json(*self.here("gc"), "--json", *arguments)

    def space(self, *arguments):
        return self.json(*self.here("stat"), "--json", *arguments)["namespaces"][0]

    def holder(self, key="held", payload=4 << 20):
        """A process that holds an object: it writes to a pipe that nobody empties."""
        self.put(key, os.urandom(payload), "--keep", 100)
        process = self.start("get", *self.edge, "--key", key, bufsize=0)
        process.stdout.read(1)
        return process

    def kill(self, process):
        process.send_signal(signal.SIGKILL)
        process.wait()


class WhatTheDeadLeave(Tidying):
    def test_nothing_to_do(self):
        self.assertEqual(self.ok(*self.here("gc")), b"nothing to do\n")
        self.assertEqual(self.gc("--all"), {"namespaces": [], "bytes": 0, "dry_run": False})
        self.assertEqual(self.ok("gc", "--namespace", "nobody's"), b"nothing to do\n")
        self.fails("not_found", "/nowhere", "gc", "--directory", "/nowhere")
        self.fails("usage", "--namespace", "gc", "--all", "--namespace", "x")

    def test_a_reader_that_was_killed(self):
        process = self.holder()
        row = next(row for row in self.space()["objects"] if row["size"] == 4 << 20)
        self.assertEqual([(h["reader"], h["name"], h["pid"], h["state"]) for h in row["holders"]], [("b", "b", process.pid, "alive")])
        self.assertEqual((row["state"], row["unread_by"], row["unread_by_anyone"]), ("held", [], 0))
        self.assertEqual(self.space()["leaks"], [])
        self.kill(process)

        space = self.space()
        self.assertEqual(space["objects"][0]["holders"][0]["state"], "dead")
        self.assertEqual(sorted(leak["what"] for leak in space["leaks"]), ["claim", "participant"])
        self.assertIn(f"the hold of b (pid {process.pid}, dead) on the object default/a/b/held for the reader b", [leak["text"] for leak in space["leaks"]])
        self.assertEqual(space["mend"], "omniconn gc")
        self.assertIn("2 leaks, see omniconn stat; omniconn gc mends that", self.ok(*self.here("ls")).decode())
        self.assertIn("dead)", self.ok(*self.here("stat"), "held").decode())

        before = {path.name: path.stat().st_mtime_ns for path in self.shm.iterdir()}
        foreseen = self.gc("--dry-run")
        self.assertEqual({path.name: path.stat().st_mtime_ns for path in self.shm.iterdir()}, before)
        done = self.gc()
        self.assertEqual(done["namespaces"][0]["removed"], foreseen["namespaces"][0]["removed"])
        self.assertEqual(len(done["namespaces"][0]["removed"]), 2)
        space = self.space()
        self.assertEqual((space["leaks"], [row["state"] for row in space["objects"]], [p["state"] for p in space["processes"]]), ([], ["unread"], ["orphan"]))
        self.assertEqual(len(self.get("held")), 4 << 20)
        self.assertEqual(self.left(), [])

    def test_a_waiting_reader_that_was_killed(self):
        process = self.start("get", *self.edge, "--key", "never", "--timeout", 600)
        self.until("it waits", lambda: self.processes() and self.space()["waiters_at_most"] == 1)
        self.assertIn("at most 1", self.ok(*self.here("stat")).decode())
        self.kill(process)
        self.assertEqual([leak["what"] for leak in self.space()["leaks"]], ["participant"])
        text = self.ok(*self.here("gc")).decode()
        self.assertIn(f"what b (pid {process.pid}, dead) left", text)
        self.assertEqual(self.left(), [])
        self.assertEqual(self.ok(*self.here("gc")), b"nothing to do\n")

    def test_producer_and_reader_are_killed_at_work(self):
        bench = self.start("bench", *self.edge, "--sizes", "1MiB", "--count", 10000000, start_new_session=True)
        self.until("objects move", lambda: len([p for p in self.processes() if p["memory"] != 0 and p["state"] == "alive"]) != 0 and len(self.processes()) == 2 and self.space()["objects"])
        os.killpg(bench.pid, signal.SIGKILL)
        bench.wait()
        self.until("both are dead", lambda: [p["state"] for p in self.space()["processes"]] == ["dead", "dead"])
        leaks = self.space()["leaks"]
        self.assertEqual(sum(leak["what"] == "participant" for leak in leaks), 2, leaks)
        self.assertEqual(len(self.gc()["namespaces"][0]["removed"]), len(leaks))
        # What was acknowledged is leased; nothing else is left.
        spaces = self.json(*self.here("stat"), "--json")["namespaces"]
        self.assertTrue(all(space["leaks"] == [] and {row["state"] for row in space["objects"]} == {"unread"} for space in spaces), spaces)
        self.assertEqual(self.left() == [], spaces == [])

    def test_a_full_disk(self):
        if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("this machine lets nobody mount in a namespace of his own")
        edge = " ".join(self.edge)
        script = f"""mount -t tmpfs -o size=16m,nr_inodes=64 tmpfs "$1"
          head -c 2000000 /dev/zero | "$0" put {edge} --key k --keep 100 > /dev/null
          name=$(basename "$1"/*.dir .dir)
          rm "$1/$name.dir"
          mkfifo -m 600 "$1/$name.p3"
          cat /dev/zero > "$1/full" 2> /dev/null || true
          for i in $(seq 100); do touch "$1/$i" 2> /dev/null || break; done
          "$0" gc --json --directory "$1"
          ls -A "$1" | grep omniconn || true"""
        done = subprocess.run(["unshare", "-Urm", "sh", "-ec", script, TOOL, str(self.shm)], env=self.environment, capture_output=True, timeout=60, check=True)
        found = json.loads(done.stdout)
        self.assertEqual([leak.rsplit(", ")[-1] for leak in found["namespaces"][0]["removed"]], ["an arena of nobody", "a FIFO of nobody"])
        self.assertGreaterEqual(found["bytes"], 2000000)

    def test_a_lease_that_has_ended(self):
        self.put("long", b"1", "--keep", 100)
        self.put("short", os.urandom(1 << 20), "--keep", 0.3)  # last: any other that joined would tidy it
        self.until("its lease ends", lambda: any(row["state"] == "expired" for row in self.space()["objects"]))
        self.assertIn("the object default/a/b/short, whose lease has ended", [leak["text"] for leak in self.space()["leaks"]])
        done = self.gc()
        self.assertGreaterEqual(done["bytes"], 1 << 20)
        self.assertIn("the object default/a/b/short, whose lease has ended", done["namespaces"][0]["removed"])
        self.assertEqual([row["key"] for row in self.space()["objects"]], ["default/a/b/long"])
        self.assertEqual(self.get("long"), b"1")

    def test_an_unfinished_put(self):
        process = self.start("get", *self.edge, "--key", "never", "--timeout", 600)
        self.wait_for_readers(1)
        self.kill(process)
        # As participant 0 leaves it that dies in a put: a slot in state taken, with the participant in its upper bits. Slots and claims are the last parts.
        path = next(self.shm.glob("*.dir"))
        slots = struct.unpack_from("<I", path.read_bytes(), 12)[0]
        with open(path, "r+b") as file:
            file.seek(-slots * (256 + 128), os.SEEK_END)
            file.write(struct.pack("<Q", 7 << 8 | 1))
        space = self.space()
        self.assertEqual([leak["what"] for leak in space["leaks"]], ["slot", "participant"])
        self.assertEqual(space["leaks"][0]["text"], f"the unfinished put of b (pid {process.pid}, dead) in slot 0")
        self.assertEqual(len(self.gc()["namespaces"][0]["removed"]), 2)
        self.assertEqual(self.left(), [])

    def test_files_that_no_directory_names(self):
        self.put("k", b"1", "--keep", 100)
        arena, fifo = self.shm / f"{self.stem}.00000000deadbeef", self.shm / f"{self.stem}.p77"
        used = self.left()
        arena.write_bytes(bytes(1 << 20))
        os.mkfifo(fifo, 0o600)
        self.assertEqual(sorted(leak["what"] for leak in self.space()["leaks"]), ["arena", "fifo"])
        done = self.gc()
        self.assertEqual((done["bytes"], sorted(done["namespaces"][0]["files"])), (1 << 20, [str(arena), str(fifo)]))
        self.assertEqual(self.left(), used)
        self.assertEqual(self.get("k"), b"1")

    def test_files_without_a_directory(self):
        arena, fifo = self.shm / f"{self.stem}.00000000deadbeef", self.shm / f"{self.stem}.p0"
        arena.write_bytes(bytes(1 << 20))
        os.mkfifo(fifo, 0o600)
        self.assertIn("without " + str(self.shm / self.stem), self.ok(*self.here("stat")).decode())
        # As a process that uses them would: its directory was removed under it.
        with open(arena, "r+b"), open(os.open(fifo, os.O_RDWR | os.O_NONBLOCK), "r+b", buffering=0):
            self.assertEqual(self.json(*self.here("stat"), "--json")["namespaces"], [])
            self.assertEqual(self.gc()["bytes"], 0)
            self.assertEqual(self.left(), sorted([arena.name, fifo.name]))
        self.assertEqual(self.gc()["bytes"], 1 << 20)
        self.assertEqual(self.left(), [])

    def test_what_is_not_ours_is_left_alone(self):
        names = ["omniconn-4294967294-0000000000000000.dir", "omniconn-4294967294-0000000000000000.p0", "omniconn-x-0000000000000000.p0", f"{self.stem}.p999", f"{self.stem}.0", f"{self.stem}.dir.old", "other"]
        for name in names:
            (self.shm / name).write_bytes(b"x")
        self.assertEqual(self.gc("--all")["namespaces"], [])
        self.assertEqual(self.left(), sorted(names))

    def test_a_live_process_goes_on(self):
        held = self.holder()
        dead = self.start("get", *self.edge, "--key", "never", "--timeout", 600)
        self.wait_for_readers(2)
        waiting = self.start("get", *self.edge, "--key", "later", "--timeout", 600)
        self.wait_for_readers(3)
        self.kill(dead)
        self.gc("--all")
        self.put("later", b"here")
        self.assertEqual(waiting.communicate(timeout=30)[0], b"here")
        self.assertEqual(len(held.communicate(timeout=30)[0]), (4 << 20) - 1)
        self.assertEqual(self.left(), [])

    def test_all_namespaces(self):
        for name in ("one", "two"):
            process = self.start("get", "--connector", "ShmConnector", "--set", f"namespace={name}", "--from", "a", "--to", "b", "--key", "k", "--timeout", 600)
            self.until("it takes part", lambda: any(p["state"] == "alive" for space in self.json(*self.here("stat"), "--json")["namespaces"] for p in space["processes"] if p["pid"] == process.pid))
            self.kill(process)
        self.assertEqual(len({space["mend"] for space in self.json(*self.here("stat"), "--json")["namespaces"]} & {"omniconn gc --all"}), 1)
        self.assertEqual(self.gc()["namespaces"], [])
        self.assertEqual([space["name"] for space in self.gc("--namespace", "one")["namespaces"]], ["one"])
        self.assertEqual(len(self.gc("--all")["namespaces"]), 1)
        self.assertEqual(self.left(), [])

    def test_upstreams_layout(self):
        for key in ("gone", "locked", "there"):
            self.file(f"shm_{key}_lockfile.lock", "")
        self.file("there", b"x")
        self.file(".omniconn-0123456789abcdef", bytes(8192))
        with open(self.folder / "shm_locked_lockfile.lock", "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = self.json("gc", "--all", "--json", "--directory", self.folder)
        self.assertEqual(done["namespaces"][0]["layout"], "upstream")
        self.assertEqual(len(done["namespaces"][0]["files"]), 2)
        self.assertGreaterEqual(done["bytes"], 8192)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["shm_locked_lockfile.lock", "shm_there_lockfile.lock", "there"])


class BrokenDirectories(Tidying):
    def broken(self):
        """Ways to break a directory, and the kind and words that name them."""
        self.put("k", b"1", "--keep", 100)
        path = next(self.shm.glob("*.dir"))
        good = path.read_bytes()

        def changed(offset, form, number):
            bad = bytearray(good)
            struct.pack_into(form, bad, offset, number)
            return bytes(bad)

        return path, ((good[:40], "corrupt", "truncated"), (b"", "corrupt", "truncated"), (os.urandom(len(good)), "corrupt", "no omniconn directory"), (changed(8, "<I", 2), "version_mismatch", "version 2"),
                      (changed(12, "<I", 5), "corrupt", "slots"), (good[:-64], "corrupt", "wrong size"))

    def test_named_and_rebuilt(self):
        path, ways = self.broken()
        for content, kind, words in ways:
            path.write_bytes(content)
            path.chmod(0o600)
            before = self.left()
            done = self.fails(kind, words, *self.here("gc"))
            self.assertIn("omniconn gc --rebuild", done.stderr.decode())
            self.fails(kind, words, *self.here("gc"), "--all")
            self.ok(*self.here("gc"), "--rebuild", "--dry-run")
            self.assertEqual(self.left(), before)
            self.assertIn(kind, self.gc("--rebuild")["namespaces"][0]["removed"][0])
            self.assertEqual(self.left(), [])
            self.put("k", b"again", "--keep", 100)
            self.assertEqual(self.get("k"), b"again")

    def test_values_that_cannot_be(self):
        self.put("k", b"1", "--keep", 100)
        path = next(self.shm.glob("*.dir"))
        slots = struct.unpack_from("<I", path.read_bytes(), 12)[0]
        with open(path, "r+b") as file:
            file.seek(-slots * (256 + 128) + 100 * 256, os.SEEK_END)  # 256 bytes a slot, and behind them all 128 each for the claims
            file.write(struct.pack("<Q", 7 << 8 | 77))
        self.assertEqual([leak["text"] for leak in self.space()["leaks"]], ["the impossible state 77 of slot 100"])
        self.assertEqual(len(self.space()["objects"]), 1)
        self.fails("corrupt", "the impossible state 77 of slot 100; omniconn gc --rebuild", *self.here("gc"))
        self.assertEqual(self.get("k"), b"1")
        self.put("k", b"2", "--keep", 100)
        self.assertIn("impossible", self.gc("--rebuild")["namespaces"][0]["removed"][0])
        self.assertEqual(self.left(), [])

    def test_somebody_uses_it(self):
        waiting = self.start("get", *self.edge, "--key", "k", "--timeout", 600)
        self.wait_for_readers(1)
        path = next(self.shm.glob("*.dir"))
        good = path.read_bytes()[:8]

        def begin_with(word):
            with open(path, "r+b") as file:
                file.write(word)

        begin_with(b"x" * 8)
        before = self.left()
        for more in ([], ["--dry-run"]):
            self.fails("corrupt", f"in use by pid {waiting.pid}; end that first", *self.here("gc"), "--rebuild", *more)
        self.assertEqual(self.left(), before)
        begin_with(good)
        self.put("k", b"1")
        self.assertEqual(waiting.communicate(timeout=30)[0], b"1")

    def test_names_that_are_taken(self):
        path = self.shm / f"{self.stem}.dir"
        path.mkdir()
        self.fails("unauthorized", "by hand", *self.here("gc"), "--rebuild")
        path.rmdir()
        path.symlink_to("/etc/passwd")
        self.fails("unauthorized", "--rebuild", *self.here("gc"))
        self.ok(*self.here("gc"), "--rebuild")
        os.mkfifo(path, 0o600)
        self.ok(*self.here("gc"), "--rebuild")
        path.write_bytes(b"x" * 64)
        path.chmod(0o644)
        self.fails("unauthorized", "0600", *self.here("gc"))
        self.ok(*self.here("gc"), "--rebuild")
        self.assertEqual(self.left(), [])

    @unittest.skipUnless(os.geteuid() == 0, "needs root to give a file away")
    def test_another_users_file(self):
        path = self.shm / f"{self.stem}.dir"
        path.write_bytes(b"x" * 64)
        os.chown(path, 12345, 12345)
        self.fails("unauthorized", "belongs to the user 12345", *self.here("gc"), "--rebuild")
        self.assertEqual(self.left(), [path.name])
        path.unlink()
        arena = self.shm / f"{self.stem}.00000000deadbeef"
        arena.write_bytes(b"x")
        os.chown(arena, 12345, 12345)
        self.assertEqual(self.gc("--all")["bytes"], 0)
        self.assertEqual(self.left(), [arena.name])


if __name__ == "__main__":
    unittest.main()
