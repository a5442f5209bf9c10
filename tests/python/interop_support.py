# SPDX-License-Identifier: Apache-2.0
"""What interop_test.py and bench/python_peer.py share: the right Python, peers of both kinds, and an eye on /dev/shm.

Import it first. `into_the_environment` replaces this process by one that runs in the virtual environment of setup.sh; a wheel
that is missing ends it with an error, so that a suite fails instead of skipping.
"""
import hashlib
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
import unittest

from peer_client import Peer, PeerError

HERE = pathlib.Path(__file__).resolve().parent
SHM = pathlib.Path("/dev/shm")
PREFIX = f"oc_{os.getpid()}_{random.SystemRandom().getrandbits(32):08x}_"  # short: segments may have names of their own of up to 39 bytes


def into_the_environment(name):
    """`name`: for messages."""
    environment = pathlib.Path(os.environ.get("OMNICONN_PYTHON_ENV", HERE.parents[1] / "build" / "python")).absolute()
    if pathlib.Path(sys.prefix) == environment.resolve() or os.environ.get("OMNICONN_IN_PYTHON_ENV"):
        return
    if subprocess.run([str(HERE / "setup.sh")]).returncode != 0:
        sys.exit(f"{name}: tests/python/setup.sh failed; the real Python connector is needed here")
    os.environ["OMNICONN_IN_PYTHON_ENV"] = "1"
    python = str(environment / "bin" / "python")
    os.execv(python, [python, "-B", *sys.argv])


class SegmentPeer(Peer):
    """tests/shm_segment/programs/segment_peer.cpp, a stage of ours."""

    def __init__(self, program, stderr=None):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0)
        self.unread = b""

    def waits(self, within=10):
        """Returns when a get of it sleeps in inotify: then nothing but an event wakes it."""
        folder = pathlib.Path(f"/proc/{self.process.pid}/fdinfo")
        end = time.monotonic() + within
        while time.monotonic() < end:
            for entry in folder.iterdir():
                try:
                    if "inotify wd:" in entry.read_text():
                        return
                except OSError:  # closed meanwhile
                    pass
            time.sleep(0.002)
        raise TimeoutError("the stage does not wait")


def left_in_shm():
    return sorted(path.name for path in SHM.iterdir() if PREFIX in path.name)


def lock_of(key):
    return SHM / f"shm_{key}_lockfile.lock"


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def comes(condition, within=10):
    """Whether it becomes true; for what another process does by itself."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


class Meanwhile:
    """Calls in a thread; `result` waits for it and raises what it raised."""

    def __init__(self, call, *arguments, **fields):
        self.value = self.error = None
        self.thread = threading.Thread(target=self.run, args=(call, arguments, fields), daemon=True)
        self.thread.start()

    def run(self, call, arguments, fields):
        try:
            self.value = call(*arguments, **fields)
        except BaseException as error:
            self.error = error

    def result(self):
        self.thread.join(60)
        if self.thread.is_alive():
            raise TimeoutError("a peer does not answer")
        if self.error is not None:
            raise self.error
        return self.value


class InteropTest(unittest.TestCase):
    """Two Python stages and two of ours for all tests; keys and files of each test's own, nothing of which may stay."""

    program = None
    folder = None
    errors = None
    shared = {}

    @classmethod
    def start(cls, program, folder, errors):
        InteropTest.program, InteropTest.folder, InteropTest.errors = program, pathlib.Path(folder), errors
        InteropTest.shared = {}
        for name in ("python", "python2"):
            cls.shared[name] = Peer(stderr=errors)
        for name in ("ours", "ours2"):
            cls.shared[name] = SegmentPeer(program, stderr=errors)
        for name, peer in cls.shared.items():
            peer("open", **({"connector": "SharedMemoryConnector"} if name.startswith("python") else {}))

    @classmethod
    def stop(cls):
        return {name: peer.stop() for name, peer in cls.shared.items()}

    def setUp(self):
        self.own = []
        self.count = 0
        self.python, self.python2, self.ours, self.ours2 = (self.shared[name] for name in ("python", "python2", "ours", "ours2"))
        self.addCleanup(self.look_for_leftovers)

    def look_for_leftovers(self):
        for peer in self.own:
            if peer.process.poll() is None:
                peer.process.kill()
            peer.process.wait()
            peer.process.stdin.close()
            peer.process.stdout.close()
        left = left_in_shm()
        for name in left:
            path = SHM / name
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        self.assertEqual(left, [], "left in /dev/shm")

    def new_python(self, *arguments):
        self.own.append(Peer(*arguments, stderr=self.errors))
        self.own[-1]("open", connector="SharedMemoryConnector")
        return self.own[-1]

    def new_ours(self, **options):
        self.own.append(SegmentPeer(self.program, stderr=self.errors))
        self.own[-1]("open", **options)
        return self.own[-1]

    def kill(self, peer):
        peer.process.kill()
        peer.process.wait()

    def key(self, name="key"):
        self.count += 1
        return f"{PREFIX}{self.id().rsplit('.', 1)[-1][:60]}_{name}{self.count}"

    def file(self, name="payload"):
        self.count += 1
        return str(self.folder / f"{self.id().rsplit('.', 1)[-1]}_{name}{self.count}")

    def serialized(self, payload):
        """{file, size, sha256} of what Python makes of it."""
        path = self.file()
        return {"file": path, **self.python("serialize", payload=payload, out=path)}

    def assertGone(self, key, lock=True):
        self.assertFalse((SHM / key).exists(), f"{key} is still there")
        self.assertFalse(lock and lock_of(key).exists(), f"the lock file of {key} is still there")

    def assertRefuses(self, kind, peer, command, **fields):
        with self.assertRaises(PeerError) as caught:
            peer(command, **fields)
        self.assertEqual(caught.exception.reply["kind"], kind, caught.exception.reply)
        return caught.exception.reply["error"]

    # --- one object from one side to the other --------------------------------------------------------------------------

    def python_to_ours(self, payload, key=None, form=lambda key, metadata: metadata, relay=False):
        """What our stage received are Python's bytes; with relay, what it sends on is the object that Python sent."""
        key = key or self.key()
        put = self.python("put", key=key, payload=payload)
        self.assertTrue(put["ok"], put)
        out = self.file("received")
        got = self.ours("get", key=key, metadata=form(key, put["metadata"]), timeout=20, out=out)
        self.assertTrue(got["found"], got)
        self.assertEqual((got["size"], digest(out)), (put["size"], put["sha256"]), payload)
        self.assertGone(key)
        if relay:
            self.ours("put", key=key, file=out)
            back = self.python2("get", key=key, timeout=20, compare=payload)
            self.assertTrue(back["found"] and back["equal"] and back["sha256"] == put["sha256"], back)
            self.assertGone(key)

    def ours_to_python(self, payload, key=None, form=lambda key, metadata: metadata):
        key = key or self.key()
        source = self.serialized(payload)
        put = self.ours("put", key=key, file=source["file"])
        self.assertEqual(put["size"], source["size"])
        got = self.python("get", key=key, metadata=form(key, put["metadata"]), timeout=20, compare=payload)
        self.assertTrue(got["found"] and got["equal"], got)
        self.assertEqual((got["size"], got["sha256"]), (source["size"], source["sha256"]))
        self.assertGone(key)
