# SPDX-License-Identifier: Apache-2.0
"""Starts a peer.py and talks to it; for tests that are written in Python."""
import json
import pathlib
import select
import subprocess
import sys

PROGRAM = pathlib.Path(__file__).resolve().parent / "peer.py"


class PeerError(Exception):
    """The peer answered with an error; `reply` is all of it."""

    def __init__(self, reply):
        super().__init__(f"{reply['kind']}: {reply['error']}")
        self.reply = reply


class Peer:
    def __init__(self, *arguments, stderr=None):
        command = [sys.executable, str(PROGRAM), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0)
        self.unread = b""

    def send_line(self, line):
        rest = memoryview(line + b"\n")
        try:
            while rest:
                rest = rest[self.process.stdin.write(rest) :]
        except BrokenPipeError:
            raise EOFError(f"peer {self.process.pid} ended with status {self.process.wait()}") from None

    def receive(self, timeout=60):
        """The next reply as it is. The peer has died: EOFError; it says nothing: TimeoutError."""
        while b"\n" not in self.unread:
            if not select.select([self.process.stdout], [], [], timeout)[0]:
                raise TimeoutError(f"peer {self.process.pid} did not answer in {timeout} s")
            piece = self.process.stdout.read(1 << 20)
            if not piece:
                raise EOFError(f"peer {self.process.pid} ended with status {self.process.wait(timeout)}")
            self.unread += piece
        line, self.unread = self.unread.split(b"\n", 1)
        return json.loads(line)

    def __call__(self, cmd, reply_within=60, **fields):
        """peer("get", key="k", from_="0") is {"cmd": "get", "key": "k", "from": "0"}; an error reply is raised."""
        message = {"cmd": cmd, **{name.rstrip("_"): value for name, value in fields.items()}}
        self.send_line(json.dumps(message).encode())
        reply = self.receive(reply_within)
        if "error" in reply:
            raise PeerError(reply)
        return reply

    def stop(self):
        """Ends it, politely at first. Its exit status."""
        try:
            self.process.stdin.close()
            return self.process.wait(10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            return self.process.wait()
        finally:
            self.process.stdout.close()
