#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Do the tools of this folder work? Two peers send each other 20 seeds through upstream's SharedMemoryConnector.

Also: both make the same objects of the same seed, the seeds cover every dtype, a malformed command gets an answer that says
why, and nothing stays in /dev/shm, here and after a failure.
"""
import json
import os
import pathlib
import signal
import sys
import tempfile

from interop_support import into_the_environment
from peer_client import Peer, PeerError

SEEDS = 20
PREFIX = f"omniconn_self_test_{os.getpid()}_"
SHM = pathlib.Path("/dev/shm")
MALFORMED = [  # line, what the answer has to name
    (b"{", "JSON"),
    (b"[1]", "JSON object"),
    (b"{}", "'cmd'"),
    (b'{"cmd": "dance"}', "'dance'"),
    (b'{"cmd": "put", "payload": {"seed": 1}}', "'key'"),
    (b'{"cmd": "put", "key": 5, "payload": {"seed": 1}}', "'key' has to be a string"),
    (b'{"cmd": "put", "key": "k", "payload": {"seed": 1}, "colour": 1}', "'colour'"),
    (b'{"cmd": "put", "key": "k", "payload": {"seed": -1}}', "'seed'"),
    (b'{"cmd": "put", "key": "k", "payload": {}}', "payload needs one of"),
    (b'{"cmd": "put", "key": "k", "payload": {"tensor": [2], "dtype": "float7"}}', "'float7'"),
    (b'{"cmd": "put", "key": "k", "payload": {"seed": 1}, "on": "nobody"}', "'nobody'"),
    (b'{"cmd": "open", "connector": "Pigeon", "on": "p"}', "Unknown connector: Pigeon"),
    (b'{"cmd": "deserialize", "file": "/nowhere/at/all"}', "/nowhere/at/all"),
    (b"\xff\xfe", "JSON"),
]


class Failure(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Failure(text)


def left_in_shm():
    return [path for path in SHM.iterdir() if PREFIX in path.name]


def round_trip(seed, producer, consumer, folder):
    key = f"{PREFIX}{seed}"
    size = [1024, 0, 16384, 100, 3 << 20][seed % 5]
    payload = {"seed": seed, "bytes": size}
    peers = (("a", producer), ("b", consumer))
    same = [peer("serialize", payload=payload, out=os.path.join(folder, f"{name}{seed}")) for name, peer in peers]
    expect(same[0] == same[1], f"seed {seed}: the two peers make different objects of it: {same}")
    read = consumer("deserialize", file=os.path.join(folder, f"a{seed}"), compare=payload)
    expect(read["identical"] and read["equal"], f"seed {seed}: {read}")
    put = producer("put", key=key, payload=payload)
    expect(put["ok"] and put["size"] == same[0]["size"] and put["sha256"] == same[0]["sha256"], f"seed {seed}: put says {put}")
    metadata = [None, put["metadata"], {key: put["metadata"]}][seed % 3]
    got = consumer("get", key=key, metadata=metadata, timeout=10, compare=payload)
    expect(got["found"] and got["equal"] and got["size"] == put["size"] and got["sha256"] == put["sha256"], f"seed {seed}: get says {got}")
    expect(not consumer("get", key=key)["found"], f"seed {seed}: the object is there a second time")


def dtypes(folder):
    found = set()
    for path in pathlib.Path(folder).iterdir():
        data = path.read_bytes()
        for name in DTYPES:
            if b"\xa5dtype" + bytes([0xA0 + len(name)]) + name.encode() + b"\xa5shape" in data:
                found.add(name)
    return found


DTYPES = (
    "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128 "
    "float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz"
).split()


def test(producer, consumer, folder):
    for peer in (producer, consumer):
        peer("open", connector="SharedMemoryConnector")
    for line, named in MALFORMED:
        producer.send_line(line)
        reply = producer.receive()
        expect(named in reply.get("error", ""), f"{line!r} is answered {json.dumps(reply)}, which does not name {named}")
    for seed in range(SEEDS):
        peers = (producer, consumer) if seed % 2 == 0 else (consumer, producer)
        round_trip(seed, *peers, folder)
    missing = set(DTYPES) - dtypes(folder)
    expect(not missing, f"no seed has a tensor of {', '.join(sorted(missing))}")

    producer("bench_put", prefix=f"{PREFIX}b", count=5, payload={"blob": 4096})
    timed = consumer("bench_get", prefix=f"{PREFIX}b", count=5, compare={"blob": 4096})
    expect(len(timed["ns"]) == 5 and min(timed["ns"]) > 0, f"bench_get says {timed}")
    expect(producer("put", key=f"{PREFIX}unread", payload={"json": [1, None]})["ok"], "put of JSON")
    producer("cleanup", key=f"{PREFIX}unread")
    expect(not left_in_shm(), f"these are left in /dev/shm: {[path.name for path in left_in_shm()]}")
    wrong = producer("put", key=f"{PREFIX}no/slashes", payload={"json": 1})
    expect(not wrong["ok"] and wrong["log"], f"a put that fails says why: {wrong}")
    try:
        consumer("bench_get", prefix=f"{PREFIX}never", count=1, timeout=0)
        raise Failure("bench_get found what nobody put")
    except PeerError as error:
        expect("did not come" in str(error), str(error))
    health = consumer("health")["health"]
    expect(health["status"] == "healthy" and health["gets"] == SEEDS // 2 + 5, f"health says {health}")
    for peer in (producer, consumer):
        peer("close")
        peer("exit")
        expect(peer.process.wait(10) == 0, f"a peer ended with status {peer.process.returncode}")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("self_test: stopped by SIGTERM"))  # so that finally runs
    peers, failed = [], True
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        try:
            peers = [Peer(stderr=errors), Peer(stderr=errors)]
            test(*peers, folder)
            failed = False
        except (Failure, PeerError, EOFError, OSError) as error:
            print(f"self_test: {error}", file=sys.stderr)
        finally:
            for peer in peers:
                peer.stop()
            for path in left_in_shm():
                if not failed:
                    print(f"self_test: {path} was left behind", file=sys.stderr)
                    failed = True
                path.unlink(missing_ok=True)
            if failed:
                errors.seek(0)
                sys.stderr.write(errors.read().decode(errors="replace"))
    return 1 if failed else 0


if __name__ == "__main__":
    into_the_environment("self_test")
    sys.exit(main())
