# SPDX-License-Identifier: Apache-2.0
"""What peers in Python share: a producer that obeys lines on stdin, a consumer of its own on the other CPU, and how one way is measured.

A peer is a class, made from an End on both sides, with the text `about`; the producer's `put(key, payload)`; the consumer's `get(key, size)`, which
waits and returns a buffer, and `clean()`. It may have `close()` and what is called before each job: the producer's `prepare(payload, in_flight)`, which may
return a note, and the consumer's `expect(size, in_flight, note)`; the producer's `progress()` is called while it waits. The lines and the answers are those of pair.hpp.
The consumer always sleeps (`block`): acknowledgements are an eventfd's, and peers without a bell of their own have a pipe.
"""
import contextlib
import ctypes
import json
import mmap
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time

import numpy

MOST_OBJECTS = 4096  # of one job, warm-up included
LARGEST = 256 << 20
RING = 64  # bytes of a message that rings: small enough to be written and read whole
PATIENCE = 180  # seconds after which a peer that hangs ends, and its consumer with it
PR_SET_PDEATHSIG = 1

SUM = ctypes.CDLL(str(pathlib.Path(__file__).resolve().parents[2] / "build" / "peers" / "sum_for_python")).sum_of_bytes
SUM.argtypes, SUM.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_uint64


class CannotDoThat(ValueError):
    """What was asked for is refused; the peer goes on."""


class Payload:
    """The producer's private memory of one size."""

    def __init__(self, size):
        self.raw = bytearray(size)
        self.array = numpy.frombuffer(self.raw, numpy.uint8)
        self.array[:] = numpy.resize(numpy.random.default_rng(1).integers(0, 256, min(size, 1 << 20), numpy.uint8), size)
        self.address = self.array.ctypes.data

    def rewrite(self):
        """Changes every byte: each gets one more, or two with the carry of the one below."""
        words = self.array[: len(self.raw) // 8 * 8].view(numpy.uint64)
        words += numpy.uint64(0x0101010101010101)
        self.array[len(self.raw) // 8 * 8 :] += 1


def total(buffer):
    """The 64-bit sum that reads every byte once, made by the code that the peers in C++ use."""
    array = numpy.frombuffer(buffer, numpy.uint8)
    return SUM(array.ctypes.data, array.size)


class End:
    """One end of a pair: a socket for jobs and notes, an eventfd for acknowledgements, a pipe as a bell, memory for sums and times."""

    def __init__(self, producing, space, inherited):
        self.producing, self.space = producing, space
        memory_fd, self.acks, self.pipe, talk = inherited
        self.talk = socket.socket(fileno=talk)
        self.lines = self.talk.makefile("rw", encoding="utf-8", buffering=1)
        memory = mmap.mmap(memory_fd, 3 * 8 * MOST_OBJECTS)
        self.expected, self.ends, self.wrong = numpy.frombuffer(memory, numpy.uint64).reshape(3, MOST_OBJECTS)

    def say(self, **note):
        self.lines.write(json.dumps(note) + "\n")
        self.lines.flush()

    def hear(self):
        line = self.lines.readline()
        if not line:
            raise EOFError("the other process ended")
        note = json.loads(line)
        if "complaint" in note:
            raise RuntimeError(f"the consumer ended: {note['complaint']}")
        return note

    def ring(self, message=b""):
        os.write(self.pipe, message.ljust(RING))

    def wait_for_ring(self):
        return os.read(self.pipe, RING)


def key_of(number):
    """A fresh key of 30 bytes."""
    return f"request-{number:010}_layer-00_kv"


def call(peer, name, *arguments):
    return getattr(peer, name)(*arguments) if hasattr(peer, name) else None


class Producer:
    def __init__(self, kind, end):
        self.end, self.payloads, self.next_key = end, {}, 0
        self.peer = kind(end)
        self.poll = select.poll()
        self.poll.register(end.acks, select.POLLIN)

    def serve(self, line):
        words = line.split()
        if len(words) not in (5, 6) or words[0] != "run" or words[3] not in ("clean", "rewritten"):
            raise CannotDoThat("expected: run SIZE COUNT clean|rewritten WAIT [IN_FLIGHT]")
        size, count, in_flight = int(words[1]), int(words[2]), int((words + ["1"])[5])
        warm = max(in_flight, min(max(count // 10, 1), 50))
        if words[4] != "block":
            raise CannotDoThat(f"it cannot wait by {words[4]}")
        if not 0 < size <= LARGEST or size % 8 or count < 1 or in_flight < 1 or warm + count > MOST_OBJECTS:
            raise CannotDoThat(f"too large, nothing, or no whole words: {line}")
        return self.measure(size, warm, count, words[3] == "rewritten", in_flight)

    def wait_for_acks(self, wanted):
        while self.done < wanted:
            if hasattr(self.peer, "progress"):
                while not self.poll.poll(0):
                    self.peer.progress()
            self.done += os.eventfd_read(self.end.acks)

    def measure(self, size, warm, count, rewritten, in_flight):
        end, peer = self.end, self.peer
        if size not in self.payloads:
            self.payloads[size] = Payload(size)
        payload = self.payloads[size]
        note = call(peer, "prepare", payload, in_flight)
        end.wrong[0] = 0
        end.expected[:] = total(payload.array)
        end.say(size=size, count=warm + count, first=self.next_key, in_flight=in_flight, note=note)
        end.hear()
        time.sleep(0.002)  # it waits by now
        starts, begin, self.done = [], 0, 0
        for i in range(warm + count):
            self.wait_for_acks(i if rewritten else i - in_flight + 1)
            if rewritten:
                payload.rewrite()
                end.expected[i] = total(payload.array)
            if i == warm:
                begin = time.monotonic_ns()
            key = key_of(self.next_key)
            self.next_key += 1
            start = time.monotonic_ns()
            if in_flight == 1:  # the consumer comes from its acknowledgement: it shall wait, as one that waits for a slow producer does
                until = start + 30_000
                while start < until:
                    start = time.monotonic_ns()
            peer.put(key, payload)
            starts.append(start)
        self.wait_for_acks(warm + count)
        seconds = (time.monotonic_ns() - begin) / 1e9
        if end.wrong[0]:
            raise RuntimeError(f"wrong sums: {end.wrong[0]}")
        us = numpy.sort((end.ends[warm : warm + count].astype(numpy.int64) - numpy.array(starts[warm:])) / 1e3)
        at = lambda q: round(float(us[int(q * (count - 1) + 0.5)]), 4)
        return {"p50_us": at(0.5), "p99_us": at(0.99), "least_us": at(0), "objects": count, "gb_per_s": size * count / seconds / 1e9}


def consume(peer, end):
    end.say()
    while (job := end.hear()).get("count"):
        call(peer, "expect", job["size"], job["in_flight"], job["note"])
        end.say()
        for i in range(job["count"]):
            got = peer.get(key_of(job["first"] + i), job["size"])
            found = total(got)
            end.ends[i] = time.monotonic_ns()
            if len(got) != job["size"] or found != end.expected[i]:
                end.wrong[0] += 1
            del got
            peer.clean()
            os.eventfd_write(end.acks, 1)


def be_consumer(kind, space, inherited, parent):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.sched_setaffinity(0, {1})
    end = End(False, space, inherited)
    try:
        peer = kind(end)
        consume(peer, end)
        call(peer, "close")
    except BaseException as error:
        end.say(complaint=f"{type(error).__name__}: {error}")
        os._exit(1)
    os._exit(0)  # exit handlers of some wheels crash


def start_consumer(space):
    theirs, ours = socket.socketpair()
    memory = os.memfd_create("peer-control", 0)
    os.ftruncate(memory, 3 * 8 * MOST_OBJECTS)
    acks = os.eventfd(0, 0)
    heard, rung = os.pipe()
    fds = [memory, acks, heard, theirs.fileno()]
    line = [sys.executable, "-B", *sys.argv, "--consumer", ",".join(map(str, fds)), "--parent", str(os.getpid())]
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=sys.stderr, pass_fds=fds)
    theirs.close()
    os.close(heard)
    return process, End(True, space, [memory, acks, rung, ours.detach()])


def option(name, fallback=""):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else fallback


def run(kind):
    """The life of both processes."""
    space = option("--space")
    if option("--consumer"):
        be_consumer(kind, space, [int(fd) for fd in option("--consumer").split(",")], int(option("--parent")))
    out = os.fdopen(os.dup(1), "w", buffering=1)  # libraries that print do not disturb
    os.dup2(2, 1)
    if not space:
        sys.exit("--space NAME is missing")

    def ended(*_):
        if process.poll() is not None:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            with contextlib.suppress(EOFError):
                end.hear()  # its complaint, if it had time for one, which this raises
            raise RuntimeError(f"the consumer ended with status {process.returncode}")

    status = 0
    signal.alarm(PATIENCE)
    process, end = start_consumer(space)
    signal.signal(signal.SIGCHLD, ended)
    try:
        os.sched_setaffinity(0, {0})
        producer = Producer(kind, end)
        end.hear()
        signal.alarm(0)
        print(json.dumps({"ready": producer.peer.about}), file=out)
        for line in sys.stdin:
            if line.strip() == "quit":
                break
            signal.alarm(PATIENCE)
            try:
                print(json.dumps(producer.serve(line)), file=out)
            except CannotDoThat as error:
                print(json.dumps({"error": str(error)}), file=out)
            signal.alarm(0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        end.say(count=0)
        process.wait(10)
        call(producer.peer, "close")
    except BaseException as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=out)
        status = 1
    if process.poll() is None:
        process.kill()
        process.wait()
    os._exit(status)
