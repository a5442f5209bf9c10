#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""doctor: every check on a host that has that trouble, and the exit code that goes with the worst of them."""
import json
import os
import resource
import signal
import subprocess
import unittest

from support import CODES, TOOL, ToolCase

ORDER = ["misconfigured", "unauthorized", "unsupported", "no_space", "corrupt", "version_mismatch", "peer_stalled", "peer_lost"]
FEATURES = ["O_TMPFILE", "linkat", "fallocate", "punch_hole", "mmap", "ofd_locks", "leases", "fifo", "memfd"]


class Doctor(ToolCase):
    def judge(self, done):
        """The findings by name, of a run that has to end as the worst of them says."""
        found = json.loads(done.stdout)
        wrong = [f for f in found["findings"] if f["level"] == "wrong"]
        self.assertEqual(found["wrong"], len(wrong))
        worst = min((ORDER.index(f["kind"]) for f in wrong), default=None)
        self.assertEqual(done.returncode, 0 if worst is None else CODES[ORDER[worst]], found)
        self.assertEqual(done.stderr.decode().startswith("error: "), worst is not None)
        self.assertTrue(all(f.get("mend") for f in wrong), wrong)
        return {f["name"]: f for f in found["findings"]}

    def doctor(self, folder=None, **options):
        return self.judge(self.run_tool("doctor", "--json", "--directory", folder or self.shm, **options))

    def in_own_world(self, script):
        """As root of a user and mount namespace of its own; $0 is the tool, $1 this case's folder."""
        if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("this machine lets nobody mount in a namespace of his own")
        return subprocess.run(["unshare", "-Urm", "sh", "-ec", script, TOOL, str(self.shm)], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)

    def test_what_this_host_can_do(self):
        found = self.doctor()
        for name in FEATURES + ["tmpfs", "mount", "rights", "namespaces"]:  # without these nothing here works
            self.assertEqual(found[name]["level"], "ok", found[name])
        for name in ("descriptors", "threads", "inotify", "inodes", "huge_pages", "numa_node"):  # as this host has them
            self.assertIn(name, found)
        self.assertEqual(list(self.shm.iterdir()), [])
        about = os.stat(self.shm)
        raw = json.loads(self.run_tool("doctor", "--json", "--directory", self.shm).stdout)
        self.assertEqual((raw["device"], raw["inode"]), (f"{os.major(about.st_dev)}:{os.minor(about.st_dev)}", about.st_ino))
        self.assertIn(f"inode {about.st_ino}", self.run_tool("doctor", "--directory", self.shm).stdout.decode())

    def test_folders_that_are_none(self):
        for folder in ("/nowhere", self.file("f", "")):
            found = self.doctor(folder)
            self.assertEqual((found["directory"]["kind"], "O_TMPFILE" in found), ("misconfigured", False))
            self.assertIn("mount -t tmpfs", found["directory"]["mend"])

    def test_a_folder_on_a_disk(self):
        done = self.in_own_world('mkdir "$1/a" && mount --bind /proc "$1/a" && exec "$0" doctor --json --directory "$1/a"')
        self.assertEqual(self.judge(done)["tmpfs"]["kind"], "misconfigured")
        self.assertIn("is proc", self.judge(done)["tmpfs"]["text"])

    def test_rights(self):
        self.shm.chmod(0o777)
        self.assertEqual(self.doctor()["rights"]["kind"], "unauthorized")
        self.shm.chmod(0o1777)
        self.assertEqual(self.doctor()["rights"]["level"], "ok")
        done = self.in_own_world('mount -t tmpfs -o ro tmpfs "$1" && exec "$0" doctor --json --directory "$1"')
        self.assertEqual(self.judge(done)["rights"]["kind"], "misconfigured")

    def test_too_small(self):
        found = self.judge(self.in_own_world('mount -t tmpfs -o size=64m,nr_inodes=40,noexec tmpfs "$1" && exec "$0" doctor --json --directory "$1"'))
        self.assertEqual((found["room"]["kind"], found["inodes"]["kind"]), ("no_space", "no_space"))
        self.assertIn("64 MiB of 64 MiB are free", found["room"]["text"])
        self.assertIn("--shm-size", found["room"]["mend"])
        self.assertEqual([found[name]["level"] for name in FEATURES], ["ok"] * len(FEATURES))

    def test_huge_pages(self):
        script = 'mount -t tmpfs -o size=2g,huge=%s tmpfs "$1" && exec "$0" doctor --json --directory "$1"'
        done = self.in_own_world(script % "within_size")
        if done.returncode == 32:  # mount's
            self.skipTest("this kernel has no huge pages")
        found = self.judge(done)["huge_pages"]
        self.assertEqual((found["level"], found["text"].split("; ")[0]), ("ok", "2 MiB each where a configuration says huge_pages: true"))
        found = self.judge(self.in_own_world('mount -t tmpfs -o size=64k tmpfs "$1" && exec "$0" doctor --json --directory "$1"'))["huge_pages"]
        self.assertEqual((found["level"], found["text"].split(":")[0]), ("note", "not tried, it takes 2 MiB"))

    def test_full(self):
        found = self.judge(self.in_own_world('mount -t tmpfs -o size=2g tmpfs "$1" && fallocate -l 2g "$1/full" && exec "$0" doctor --json --directory "$1"'))
        self.assertIn("omniconn gc", found["room"]["mend"])
        self.assertEqual((found["room"]["kind"], found["fallocate"]["kind"]), ("no_space", "no_space"))

    def test_limits(self):
        found = self.doctor(preexec_fn=lambda: (resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)), os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])))
        self.assertEqual((found["descriptors"]["kind"], found["cpus"]["level"]), ("no_space", "note"))
        self.assertIn("64 for each process", found["descriptors"]["text"])
        done = self.in_own_world('echo 0 > /proc/sys/user/max_inotify_instances && exec "$0" doctor --json --directory "$1"')
        self.assertIn("max_user_instances", self.judge(done)["inotify"]["mend"])

    def test_what_the_dead_left(self):
        process = self.start("get", *self.edge, "--key", "never", "--timeout", 600)
        self.wait_for_readers(1)
        self.assertEqual(self.doctor()["namespaces"]["level"], "ok")
        process.kill()
        process.wait()
        found = self.doctor()["namespace"]
        self.assertEqual((found["kind"], found["mend"]), ("peer_lost", "omniconn gc"))
        self.assertIn(f"what b (pid {process.pid}, dead) left", found["text"])
        self.ok("gc")
        self.assertEqual(self.doctor()["namespaces"]["level"], "ok")

    def test_a_process_that_is_stopped(self):
        process = self.start("get", *self.edge, "--key", "k", "--timeout", 600)
        self.wait_for_readers(1)
        self.assertNotIn("stopped", self.doctor())
        process.send_signal(signal.SIGSTOP)
        self.until("it is stopped", lambda: self.processes()[0].get("stopped"))
        found = self.doctor()["stopped"]
        self.assertEqual(found["kind"], "peer_stalled")
        self.assertIn(f"kill -CONT {process.pid}", found["mend"])
        self.assertIn(f"pid {process.pid}, alive, stopped", self.ok(*self.here("stat")).decode())
        process.send_signal(signal.SIGCONT)
        self.until("it goes on", lambda: not self.processes()[0].get("stopped"))
        self.put("k", b"1")
        self.assertEqual(process.communicate(timeout=30)[0], b"1")

    def test_a_damaged_directory(self):
        path = self.shm / f"omniconn-{os.geteuid()}-0123456789abcdef.dir"
        path.write_bytes(b"x")
        path.chmod(0o600)
        found = self.doctor()["namespace"]
        self.assertEqual((found["kind"], found["mend"].split(" removes")[0]), ("corrupt", "omniconn gc --all --rebuild"))
        self.ok("gc", "--all", "--rebuild", "--directory", self.shm)
        self.assertEqual(self.doctor()["namespaces"]["level"], "ok")

    def test_upstreams_lock_files(self):
        (self.shm / "shm_gone_lockfile.lock").write_bytes(b"")
        self.assertEqual(self.doctor()["upstream"]["level"], "note")


if __name__ == "__main__":
    unittest.main()
