#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stages of ours beside the real Python connector of vllm-omni 0.30.0, both ways through /dev/shm.

    tests/python/interop_test.py PEER [-v] [TEST ...]        PEER: the program made of tests/shm_segment/programs/segment_peer.cpp

Equality is judged by Python: by the bytes that its serializer makes of an object. What upstream's own tests of this connector
check, and the tests here that ask the same with one end of ours:

    test_shm_connector
      round trip by metadata, by key               test_metadata_forms_python_to_ours, test_metadata_forms_ours_to_python
      metadata wrapped as {key: metadata}          the same
      RDMA, empty and no metadata: by key          the same
      second get finds nothing                     test_second_get_finds_nothing
      missing key                                  test_missing_key
      zero-size segment is not ready               test_zero_size_is_not_ready
      busy lock is not ready                       test_busy_lock_is_not_ready
      cleanup unlinks segment and lock, this key   test_cleanup_is_of_the_exact_key
      cleanup of an unknown key                    test_cleanup_of_unknown_keys
      close unlinks what is pending                test_close_unlinks_pending
      pending shrinks as objects are read          test_pending_shrinks
      key used again                               test_key_reuse
      metrics, health                              test_health_counts
    test_basic_connectors
      nested objects through shared memory         test_random_payloads_python_to_ours, test_random_payloads_ours_to_python
      serializer: dtypes, arrays, images, outputs  test_every_dtype and the random payloads, which have all of these
      inline below a threshold (before 0.30)       test_inline_metadata_from_python, test_inline_metadata_from_ours
      factory: create, unknown, duplicate          tests/runtime/factory_test.cpp, which needs no Python
      Mooncake store with a mock                   another transport
"""
import base64
import fcntl
import os
import pathlib
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import interop_support

if __name__ == "__main__":
    interop_support.into_the_environment("interop_test")

from interop_faults import *  # noqa: F401,F403  their tests are run here
from interop_support import PREFIX, SHM, InteropTest, Meanwhile, left_in_shm, lock_of

# The names that payloads.py knows; importing it here would import upstream's code into the test.
TENSOR_DTYPES = (
    "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128 "
    "float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz"
).split()
MIB = 1 << 20
FORMS = {
    "as given": lambda key, metadata: metadata,
    "0.30's fields": lambda key, metadata: {"shm": {name: metadata["shm"][name] for name in ("name", "size")}, "size": metadata["size"]},
    "wrapped": lambda key, metadata: {key: metadata},
    "none": lambda key, metadata: None,
    "empty": lambda key, metadata: {},
    "RDMA": lambda key, metadata: {"source_host": "10.0.0.1", "source_port": 50051, "data_size": 7, "is_fast_path": True},
    "wrapped RDMA": lambda key, metadata: {key: {"source_host": "10.0.0.1", "source_port": 50051}},
    "of something else": lambda key, metadata: {"colour": "red"},
}


class Payloads(InteropTest):
    def test_random_payloads_python_to_ours(self):
        for seed in range(20):  # 20 in a row have every dtype, kind of array, image and output
            with self.subTest(seed=seed):
                self.python_to_ours({"seed": seed, "bytes": [4096, 65536, 1024][seed % 3]}, relay=True)

    def test_random_payloads_ours_to_python(self):
        for seed in range(100, 120):
            with self.subTest(seed=seed):
                self.ours_to_python({"seed": seed, "bytes": [4096, 65536, 1024][seed % 3]})

    def test_every_dtype(self):
        for number, dtype in enumerate(TENSOR_DTYPES):
            for shape in ([3, 5], [0, 4], []):
                with self.subTest(dtype=dtype, shape=shape):
                    self.python_to_ours({"tensor": shape, "dtype": dtype, "seed": number}, relay=True)

    def test_sizes(self):
        smallest = {"json": None}  # one byte
        for payload in (smallest, {"blob": 1}, {"blob": 4093}, {"blob": 65536}, {"blob": MIB + 1}, {"tensor": [64 * MIB], "dtype": "uint8"}):
            with self.subTest(payload=payload):
                self.python_to_ours(payload, relay=True)
                self.ours_to_python(payload)
        self.assertEqual(self.serialized(smallest)["size"], 1)

    def test_many_keys_both_ways_at_once(self):
        """200 objects each way, four processes; consumers start with the last key, so that most are waited for or found in heaps."""
        count = 200
        there, back = self.key("there"), self.key("back")
        sources = [self.serialized({"seed": number, "bytes": 512}) for number in range(10)]

        def python_puts():
            return [self.python("put", key=f"{there}_{n}", payload={"seed": n % 10, "bytes": 512})["ok"] for n in range(count)]

        def ours_gets():
            found = []
            for n in reversed(range(count)):
                out = self.folder / f"many{n}"
                got = self.ours("get", key=f"{there}_{n}", timeout=30, out=str(out))
                found.append(got["found"] and interop_support.digest(out) == sources[n % 10]["sha256"])
            return found

        def ours_puts():
            return [self.ours2("put", key=f"{back}_{n}", file=sources[n % 10]["file"])["size"] == sources[n % 10]["size"] for n in range(count)]

        def python_gets():
            found = []
            for n in reversed(range(count)):
                got = self.python2("get", key=f"{back}_{n}", timeout=30)
                found.append(got["found"] and got["sha256"] == sources[n % 10]["sha256"])
            return found

        work = [Meanwhile(call) for call in (ours_gets, python_gets, python_puts, ours_puts)]
        for each in work:
            self.assertEqual(each.result(), [True] * count)


class Metadata(InteropTest):
    def test_metadata_forms_python_to_ours(self):
        for name, form in FORMS.items():
            with self.subTest(form=name):
                self.python_to_ours({"seed": 5, "bytes": 2000}, form=form)

    def test_metadata_forms_ours_to_python(self):
        for name, form in FORMS.items():
            with self.subTest(form=name):
                self.ours_to_python({"seed": 6, "bytes": 2000}, form=form)

    def test_metadata_names_another_segment(self):
        """Before 0.30 segments had random names; the key of the get says nothing then."""
        segment, request, out = PREFIX + "psm", self.key("request"), self.file()
        put = self.python("put", key=segment, payload={"seed": 9})
        self.assertEqual(self.ours("get", key=request, metadata={request: put["metadata"]}, timeout=10, out=out)["size"], put["size"])
        self.assertEqual(interop_support.digest(out), put["sha256"])
        self.assertGone(segment)

    def test_metadata_names_another_segment_at_length(self):
        """Such a name does not fit where we keep it; then nothing else is taken for it."""
        segment, request = self.key("long" + "x" * 40), self.key("request")
        put = self.python("put", key=segment, payload={"seed": 9})
        self.python("put", key=request, payload={"seed": 9})
        self.assertIn("39 bytes", self.assertRefuses("malformed", self.ours, "get", key=request, metadata=put["metadata"]))
        for key in (segment, request):
            self.assertTrue(self.ours("get", key=key, metadata=put["metadata"] if key == segment else None)["found"])

    def test_inline_metadata_from_python(self):
        source = self.serialized({"seed": 11, "bytes": 900})
        content = base64.b64encode(pathlib.Path(source["file"]).read_bytes()).decode()
        key = self.key()
        metadata = {"inline_bytes": {"$base64": content}, "size": source["size"]}
        for form in (metadata, {key: metadata}):
            out = self.file()
            self.assertEqual(self.ours("get", key=key, metadata=form, out=out)["size"], source["size"])
            self.assertEqual(interop_support.digest(out), source["sha256"])

    def test_inline_metadata_from_ours(self):
        """Small ones travel in the metadata as Python wrote them before 0.30; larger ones still get a segment."""
        ours = self.new_ours(inline_below=4096)
        source, key = self.serialized({"seed": 12, "bytes": 900}), self.key()
        put = ours("put", key=key, file=source["file"])
        self.assertEqual(put["metadata"]["size"], source["size"])
        self.assertEqual(base64.b64decode(put["metadata"]["inline_bytes"]["$base64"]), pathlib.Path(source["file"]).read_bytes())
        self.assertGone(key)
        read = self.python("deserialize", file=source["file"], compare={"seed": 12, "bytes": 900})
        self.assertTrue(read["identical"] and read["equal"])
        large = self.key("large")
        self.assertIn("shm", ours("put", key=large, blob=4097)["metadata"])
        self.assertEqual(self.ours("get", key=large)["size"], 4097)

    def test_our_metadata_tells_generations_apart(self):
        """With it, a get never takes the next object of that name for the one that was meant."""
        key = self.key()
        old = self.ours("put", key=key, blob=100)["metadata"]
        self.ours("put", key=key, blob=100, existing="replace")
        self.assertRefuses("stale_handle", self.ours2, "get", key=key, metadata=old)
        self.assertEqual(self.ours2("get", key=key)["size"], 100)


class Waiting(InteropTest):
    def test_our_get_is_woken_by_a_python_put(self):
        for metadata in (False, True):
            key = self.key()
            source = self.serialized({"seed": 20})
            where = {"shm": {"name": key, "size": source["size"]}, "size": source["size"]} if metadata else None
            out = self.file()
            got = Meanwhile(self.ours, "get", key=key, metadata=where, timeout=30, out=out)
            self.ours.waits()
            self.assertTrue(self.python("put", key=key, payload={"seed": 20})["ok"])
            self.assertTrue(got.result()["found"])
            self.assertEqual(interop_support.digest(out), source["sha256"])
            self.assertGone(key)

    def test_python_polls_until_we_put(self):
        key = self.key()
        source = self.serialized({"seed": 21})
        got = Meanwhile(self.python, "get", key=key, timeout=30, compare={"seed": 21})
        self.ours("put", key=key, file=source["file"])
        self.assertTrue(got.result()["equal"])
        self.assertGone(key)

    def test_our_get_times_out(self):
        self.assertEqual(self.ours("get", key=self.key(), timeout=0.05)["why"], "timed_out")

    def test_zero_size_is_not_ready(self):
        """As a Python writer leaves it between creating a segment and giving it a size."""
        key = self.key()
        (SHM / key).touch(0o600)
        lock_of(key).touch(0o600)
        self.assertFalse(self.ours("get", key=key)["found"])
        self.assertFalse(self.python("get", key=key)["found"])
        got = Meanwhile(self.ours, "get", key=key, timeout=30)
        self.ours.waits()
        with open(SHM / key, "r+b") as segment:
            segment.write(b"\xc0")
        self.assertEqual(got.result()["size"], 1)
        self.assertGone(key)

    def test_busy_lock_is_not_ready(self):
        key = self.key()
        self.ours2("put", key=key, blob=1000)
        with open(lock_of(key), "rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assertFalse(self.ours("get", key=key)["found"])
            self.assertFalse(self.python("get", key=key)["found"])
            got = Meanwhile(self.ours, "get", key=key, timeout=30)
            self.ours.waits()
        self.assertEqual(got.result()["size"], 1000)

    def test_python_sees_our_view_as_a_busy_lock(self):
        key = self.key()
        put = self.python("put", key=key, payload={"seed": 22})
        self.assertEqual(self.ours("hold", key=key, as_="view")["size"], put["size"])
        for metadata in (None, put["metadata"]):
            self.assertFalse(self.python2("get", key=key, metadata=metadata)["found"])
        self.ours("give_back", as_="view")
        self.assertEqual(self.python2("get", key=key)["sha256"], put["sha256"])
        self.assertGone(key)


class Lifecycle(InteropTest):
    def test_second_get_finds_nothing(self):
        for producer, source in ((self.python, {"payload": {"seed": 1}}), (self.ours, {"blob": 500})):
            key = self.key()
            metadata = producer("put", key=key, **source)["metadata"]
            self.assertTrue(self.ours2("get", key=key, metadata=metadata)["found"])
            self.assertFalse(self.ours2("get", key=key)["found"])
            self.assertFalse(self.python2("get", key=key)["found"])
            # Metadata of ours knows which object it meant; Python's does not, and its segment may yet come.
            if producer is self.ours:
                self.assertRefuses("stale_handle", self.ours2, "get", key=key, metadata=metadata)
            else:
                self.assertFalse(self.ours2("get", key=key, metadata=metadata)["found"])

    def test_missing_key(self):
        self.assertEqual(self.ours("get", key=self.key())["why"], "not_found")
        self.assertFalse(self.ours("exists", key=self.key())["exists"])
        self.assertFalse(self.python("get", key=self.key())["found"])

    def test_cleanup_is_of_the_exact_key(self):
        for producer, source in ((self.python, {"payload": {"seed": 1}}), (self.ours, {"blob": 500})):
            for cleaner in (self.ours2, self.python2):
                key = self.key()
                longer = key + "_0_1"
                for each in (key, longer):
                    producer("put", key=each, **source)
                cleaner("cleanup", key=key)
                self.assertGone(key)
                self.assertTrue(self.ours("exists", key=longer)["exists"])
                self.assertEqual(self.ours2("cleanup", key=longer)["count"], 1)
                self.assertGone(longer)

    def test_cleanup_of_unknown_keys(self):
        key = self.key()
        self.assertEqual(self.ours("cleanup", key=key)["count"], 0)
        self.python("cleanup", key=key)
        self.assertGone(key)

    def test_close_unlinks_pending(self):
        python, ours, kept = self.new_python(), self.new_ours(), self.new_ours(remove_on_close=False)
        for producer, source, stays in ((python, {"payload": {"seed": 1}}, False), (ours, {"blob": 500}, False), (kept, {"blob": 500}, True)):
            keys = [self.key() for _ in range(3)]
            for key in keys:
                producer("put", key=key, **source)
            self.assertTrue(self.ours("get", key=keys[0])["found"])
            producer("close")
            self.assertGone(keys[0])
            for key in keys[1:]:
                self.assertEqual((SHM / key).exists(), stays)
                self.assertEqual(lock_of(key).exists(), stays)
                self.ours("cleanup", key=key)

    def test_close_leaves_what_is_being_read(self):
        """Python's close unlinks under a reader; ours lets it finish."""
        ours, key = self.new_ours(), self.key()
        ours("put", key=key, blob=300)
        self.ours2("hold", key=key, as_="view")
        ours("close")
        self.assertTrue((SHM / key).exists())
        self.ours2("release", as_="view")
        self.assertGone(key)

    def test_pending_shrinks(self):
        ours, keys = self.new_ours(), [self.key() for _ in range(5)]
        for key in keys:
            ours("put", key=key, file=self.serialized({"json": 1})["file"])
        self.assertEqual(ours("health")["pending"], 5)
        for key in keys[1:4]:
            self.assertTrue(self.python("get", key=key)["found"])
        self.assertEqual(ours("health")["pending"], 2)
        ours("close")

    def test_key_reuse(self):
        key = self.key()
        for number in range(30):
            self.python_to_ours({"seed": number, "bytes": 300}, key=key)
            self.ours_to_python({"seed": number, "bytes": 300}, key=key)

    def test_a_key_that_is_taken(self):
        """Python replaces in silence; ours says so, unless asked to replace."""
        key, source = self.key(), self.serialized({"seed": 31})
        self.python("put", key=key, payload={"seed": 30})
        self.assertRefuses("already_exists", self.ours, "put", key=key, file=source["file"])
        self.ours("put", key=key, file=source["file"], existing="replace")
        self.assertEqual(self.python2("get", key=key)["sha256"], source["sha256"])
        self.ours("put", key=key, file=source["file"])
        second = self.python("put", key=key, payload={"seed": 30})
        out = self.file()
        self.assertTrue(self.ours("get", key=key, out=out)["found"])
        self.assertEqual(interop_support.digest(out), second["sha256"])

    def test_health_counts(self):
        python, ours = self.new_python(), self.new_ours()
        for _ in range(3):
            key = self.key()
            ours("put", key=key, file=self.serialized({"json": 7})["file"])
            self.assertTrue(python("get", key=key)["found"])
            self.assertTrue(python("put", key=key, payload={"blob": 98})["ok"])
            self.assertEqual(ours("get", key=key)["size"], 100)
        health = ours("health")
        self.assertEqual({name: health[name] for name in ("puts", "put_bytes", "gets", "get_bytes")}, {"puts": 3, "put_bytes": 3, "gets": 3, "get_bytes": 300})
        there = python("health")["health"]
        self.assertEqual((there["puts"], there["gets"], there["bytes_transferred"]), (3, 3, 300))


def main():
    if len(sys.argv) < 2 or not os.access(sys.argv[1], os.X_OK):
        sys.exit(__doc__)
    program = os.path.abspath(sys.argv.pop(1))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interop_test: stopped by SIGTERM"))  # so that finally runs
    status = 1
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, tempfile.TemporaryFile() as errors:
        try:
            InteropTest.start(program, folder, errors)
            result = unittest.main(exit=False).result
            status = 0 if result.wasSuccessful() and result.testsRun else 1
        finally:
            ended = InteropTest.stop()
            if any(ended.values()):
                print(f"peers ended with {ended}", file=sys.stderr)
                status = 1
            for name in left_in_shm():
                print(f"{name} was left in /dev/shm", file=sys.stderr)
                (SHM / name).unlink(missing_ok=True)
                status = 1
            if status != 0:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").splitlines()
                # Upstream's tracker complains about every object that somebody else has consumed.
                print("\n".join(line for line in lines if "resource_tracker" not in line and "warnings.warn" not in line)[-8000:], file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
