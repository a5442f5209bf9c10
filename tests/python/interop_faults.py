# SPDX-License-Identifier: Apache-2.0
"""Part of interop_test.py: one side dies, or what lies in /dev/shm is not what it should be."""
import fcntl
import os
import signal
import subprocess
import sys
import unittest

from interop_support import PREFIX, SHM, InteropTest, Meanwhile, comes, digest, lock_of

__all__ = ["Deaths", "Hostile", "Keys"]


class Deaths(InteropTest):
    def test_ours_is_killed_while_it_reads(self):
        key, ours = self.key(), self.new_ours()
        put = self.python("put", key=key, payload={"seed": 1})
        ours("hold", key=key, as_="view")
        self.assertFalse(self.python2("get", key=key)["found"])
        self.kill(ours)
        got = self.python2("get", key=key, metadata=put["metadata"], compare={"seed": 1})
        self.assertTrue(got["found"] and got["equal"])
        self.assertGone(key)

    def test_ours_is_killed_while_another_of_ours_waits_for_it(self):
        key, ours = self.key(), self.new_ours()
        put = self.python("put", key=key, payload={"seed": 2})
        ours("hold", key=key, as_="view")
        out = self.file()
        got = Meanwhile(self.ours, "get", key=key, timeout=30, out=out)
        self.ours.waits()
        self.kill(ours)
        self.assertTrue(got.result()["found"])
        self.assertEqual(digest(out), put["sha256"])

    def test_ours_is_killed_between_puts(self):
        """What it has put stays for its readers; what it has begun is as if it had never been."""
        ours, source = self.new_ours(), self.serialized({"seed": 3})
        first, second, begun = self.key(), self.key(), self.key("begun")
        for key in (first, second):
            ours("put", key=key, file=source["file"])
        ours("begin", key=begun, as_="put")
        self.assertRefuses("already_exists", self.ours, "put", key=begun, blob=10)
        self.kill(ours)
        for key in (first, second):
            self.assertEqual(self.python("get", key=key)["sha256"], source["sha256"])
            self.assertGone(key)
        self.assertFalse(self.python("get", key=begun)["found"])
        self.ours("put", key=begun, file=source["file"])
        self.assertEqual(self.python("get", key=begun)["sha256"], source["sha256"])
        self.assertGone(begun)

    def test_python_replaces_what_one_of_ours_died_over(self):
        ours, begun = self.new_ours(), self.key()
        ours("begin", key=begun, as_="put")
        self.kill(ours)
        put = self.python("put", key=begun, payload={"seed": 4})
        out = self.file()
        self.assertTrue(self.ours("get", key=begun, metadata=put["metadata"], out=out)["found"])
        self.assertEqual(digest(out), put["sha256"])

    def test_python_dies_and_leaves_its_objects(self):
        for how in ("_exit", "kill"):
            with self.subTest(how=how):
                python, keys = self.new_python("--untracked"), [self.key() for _ in range(3)]
                puts = [python("put", key=key, payload={"seed": 5}) for key in keys]
                python("_exit") if how == "_exit" else self.kill(python)
                python.process.wait()
                for key, put in zip(keys, puts):
                    out = self.file()
                    self.assertTrue(self.ours("get", key=key, metadata=put["metadata"], out=out)["found"])
                    self.assertEqual(digest(out), put["sha256"])
                    self.assertGone(key)

    def test_python_is_killed_and_leaves_a_lock_file(self):
        """Its resource tracker unlinks the segment and not the lock file: no object, and the key can be used again."""
        python, key, other = self.new_python(), self.key(), self.key("other")
        for each in (key, other):
            python("put", key=each, payload={"seed": 6})
        self.kill(python)
        self.assertTrue(comes(lambda: not (SHM / key).exists() and not (SHM / other).exists()))
        self.assertTrue(lock_of(key).exists())
        self.assertFalse(self.ours("get", key=key)["found"])
        source = self.serialized({"seed": 7})
        self.ours("put", key=key, file=source["file"])
        self.assertEqual(self.python2("get", key=key)["sha256"], source["sha256"])
        self.assertGone(key)
        self.assertGreaterEqual(self.ours("collect")["count"], 1)
        self.assertGone(other)

    def test_whoever_has_the_lock_is_killed(self):
        """A Python reader between taking the lock and removing the segment."""
        key = self.key()
        put = self.python("put", key=key, payload={"seed": 8})
        text = "import fcntl, sys, time\nf = open(sys.argv[1], 'rb+')\nfcntl.flock(f, fcntl.LOCK_EX)\nprint('locked', flush=True)\ntime.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", text, str(lock_of(key))], stdout=subprocess.PIPE) as reader:
            self.assertEqual(reader.stdout.readline(), b"locked\n")
            self.assertFalse(self.ours("get", key=key)["found"])
            got = Meanwhile(self.ours, "get", key=key, timeout=30)
            self.ours.waits()
            reader.kill()
        self.assertEqual(got.result()["size"], put["size"])
        self.assertGone(key)

    def test_a_put_beside_somebody_who_has_the_lock_and_no_segment(self):
        """A Python stage that polls with metadata takes a stale lock file again and again: no reason to refuse a put."""
        key = self.key()
        lock_of(key).touch(0o600)
        with open(lock_of(key), "rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            put = Meanwhile(self.ours, "put", key=key, blob=400, timeout=30)
            self.ours.waits()
        self.assertEqual(put.result()["size"], 400)
        self.assertEqual(self.ours2("get", key=key)["size"], 400)
        self.assertGone(key)

    def test_a_python_put_that_waits_for_our_reader(self):
        """It writes under a lock file that our reader has removed: what it writes must not be seen before it is whole."""
        key, payload = self.key(), {"blob": 32 << 20}
        self.python("put", key=key, payload={"seed": 10})
        self.ours("hold", key=key, as_="view")
        put = Meanwhile(self.python, "put", key=key, payload=payload)

        def waits():
            return any("->" in line and f" {self.python.process.pid} " in line for line in open("/proc/locks"))

        self.assertTrue(comes(waits))
        self.ours("release", as_="view")
        got, out, looks = {"found": False}, self.file(), 0
        while not got["found"] and looks < 100000:  # thousands of looks into the 20 ms or so that Python writes
            got, looks = self.ours2("get", key=key, out=out), looks + 1
        self.assertEqual((got.get("size"), digest(out)), (put.result()["size"], put.result()["sha256"]))
        self.assertGone(key)

    def test_our_waiting_get_and_a_python_put_that_waits_for_our_reader(self):
        key, out = self.key(), self.file()
        self.python("put", key=key, payload={"seed": 11})
        self.ours("hold", key=key, as_="view")
        put = Meanwhile(self.python, "put", key=key, payload={"blob": 8 << 20})
        got = Meanwhile(self.ours2, "get", key=key, timeout=30, out=out)
        self.ours2.waits()
        self.ours("release", as_="view")
        self.assertTrue(got.result()["found"])
        self.assertEqual(digest(out), put.result()["sha256"])
        self.assertGone(key)

    def test_ours_ends_and_its_view_is_python_s(self):
        """A process that ends in order with a view gives its consumption: nobody gets the object twice."""
        ours, key = self.new_ours(), self.key()
        self.python("put", key=key, payload={"seed": 9})
        ours("hold", key=key, as_="view")
        ours("exit")
        self.assertEqual(ours.process.wait(10), 0)
        self.assertFalse(self.python2("get", key=key)["found"])
        self.assertGone(key)


class Hostile(InteropTest):
    def test_truncated(self):
        key = self.key()
        put = self.python("put", key=key, payload={"blob": 5000})
        os.truncate(SHM / key, 2000)
        self.assertIn("size", self.assertRefuses("corrupt", self.ours, "get", key=key, metadata=put["metadata"]))
        self.assertEqual((SHM / key).stat().st_size, 2000)  # nothing is lost
        self.assertEqual(self.ours("get", key=key)["size"], 2000)

    def test_grows_while_it_is_read(self):
        key, before, after = self.key(), self.file(), self.file()
        put = self.python("put", key=key, payload={"blob": 5000})
        self.ours("hold", key=key, as_="view", out=before)
        with open(SHM / key, "ab") as segment:
            segment.write(b"more" * 5000)
        self.assertEqual(self.ours("bytes", as_="view", out=after)["size"], put["size"])
        self.assertEqual((digest(before), digest(after)), (put["sha256"], put["sha256"]))
        self.ours("give_back", as_="view")
        self.assertRefuses("corrupt", self.ours, "get", key=key, metadata=put["metadata"])
        self.assertEqual(self.ours("get", key=key)["size"], put["size"] + 20000)

    @unittest.skipUnless(os.geteuid() == 0, "needs root to give files away")
    def test_another_owner(self):
        for which in (lambda key: SHM / key, lock_of):
            key = self.key()
            put = self.python("put", key=key, payload={"seed": 1})
            os.chown(which(key), 65534, 65534)
            self.assertIn("user", self.assertRefuses("unauthorized", self.ours, "get", key=key, metadata=put["metadata"]))
            self.assertRefuses("already_exists" if which is lock_of else "unauthorized", self.ours, "put", key=key, blob=10)
            self.assertRefuses("unauthorized", self.ours, "put", key=key, blob=10, existing="replace")
            self.assertTrue((SHM / key).exists() and lock_of(key).exists())
            os.chown(which(key), 0, 0)
            self.assertEqual(self.ours("get", key=key)["size"], put["size"])
            self.assertGone(key)

    def test_something_else_has_the_name(self):
        target = self.folder / "target"
        target.write_bytes(b"precious")
        for make in (lambda path: path.symlink_to(target), lambda path: path.mkdir()):
            for which in (lambda key: SHM / key, lock_of):
                key = self.key()
                make(which(key))
                if which is lock_of:
                    (SHM / key).write_bytes(b"\xc0")
                self.assertRefuses("unauthorized", self.ours, "get", key=key)
                self.assertRefuses("unauthorized", self.ours, "put", key=key, blob=10, existing="replace")
                path = which(key)
                path.unlink() if path.is_symlink() else path.rmdir()
                (SHM / key).unlink(missing_ok=True)
                lock_of(key).unlink(missing_ok=True)
        self.assertEqual(target.read_bytes(), b"precious")

    def test_lock_file_without_segment_and_the_reverse(self):
        alone, bare = self.key("alone"), self.key("bare")
        lock_of(alone).touch(0o600)
        self.assertFalse(self.ours("get", key=alone)["found"])
        self.ours("put", key=alone, blob=10)
        self.assertTrue(self.ours2("get", key=alone)["found"])
        self.assertGone(alone)
        (SHM / bare).write_bytes(b"\xc0")  # whose lock file a reader of an older object has removed
        self.assertTrue(self.ours("get", key=bare)["found"])
        self.assertGone(bare)

    def test_dicts_that_look_like_something_else(self):
        """Upstream's decoder rewrites them or fails; a stage of ours passes them on as they are."""
        for payload in ({"__tensor__": True}, {"__tensor__": True, "dtype": "float7", "shape": [1], "data": "x"}, {"__ndarray__": 1}, {"finished": 1, "images": []}):
            with self.subTest(payload=payload):
                key, out = self.key(), self.file()
                put = self.python("put", key=key, payload={"json": payload})
                self.assertTrue(put["ok"])
                self.assertTrue(self.ours("get", key=key, metadata=put["metadata"], out=out)["found"])
                self.assertEqual(digest(out), put["sha256"])
                self.ours("put", key=key, file=out)
                again = self.file()
                self.assertTrue(self.ours2("get", key=key, out=again)["found"])
                self.assertEqual(digest(again), put["sha256"])

    def test_bad_metadata(self):
        key = self.key()
        for metadata in ({"shm": {}}, {"shm": {"name": "../../etc/passwd", "size": 3}, "size": 3}, {"shm": {"name": key}}, {"shm": 7, "size": 7}, {"inline_bytes": "text", "size": 4}):
            self.assertRefuses("malformed", self.ours, "get", key=key, metadata=metadata, strict=True)


class Keys(InteropTest):
    def test_longest_key(self):
        key = (PREFIX + "k" * 237)[:237]
        self.python_to_ours({"seed": 1}, key=key)
        self.ours_to_python({"seed": 1}, key=key)

    def test_a_key_too_long(self):
        key = (PREFIX + "k" * 238)[:238]
        self.assertFalse(self.python("put", key=key, payload={"seed": 1})["ok"])
        self.assertIn("shorter key", self.assertRefuses("too_large", self.ours, "put", key=key, blob=10))
        self.assertRefuses("too_large", self.ours, "get", key=key)
        self.assertGone(key, lock=False)  # its lock file's name would be too long

    def test_keys_that_are_no_file_names(self):
        for key in (PREFIX + "a/b", PREFIX + "größe", PREFIX + "\0", ""):
            with self.subTest(key=key):
                self.assertRefuses("misconfigured", self.ours, "put", key=key, blob=10)
                self.assertRefuses("misconfigured", self.ours, "get", key=key)
        self.assertFalse(self.python("put", key=PREFIX + "a/b", payload={"seed": 1})["ok"])

    def test_an_empty_object(self):
        """In this layout a segment of no bytes is one that is not written yet."""
        key = self.key()
        self.assertIn("at least one byte", self.assertRefuses("unsupported", self.ours, "put", key=key, base64=""))
        self.assertGone(key)

    def test_keys_with_odd_characters(self):
        for name in ("with space", "a:b", "-n", "%s", "omni_0_to_1_kv_cache_r-1", "#*?[x]", "ü".encode().hex(), ".hidden"):
            with self.subTest(name=name):
                self.python_to_ours({"json": name}, key=PREFIX + name)
                self.ours_to_python({"json": name}, key=PREFIX + name)
