# SPDX-License-Identifier: Apache-2.0
"""The pairs of processes that are measured, and that nothing is left of them."""
import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import subprocess
import time

from building import BUILD, Absent, command_of
from rows import STATIONS

PREFIX = f"ocpeers-{os.getpid()}-"  # of every name that the pairs give to something outside of them
FILES = f"/dev/shm/{PREFIX}files"  # where ours puts its own


class Peer:
    """A pair of processes that answers each line with a line of JSON."""

    def __init__(self, name, command, number):
        self.log = BUILD / f"{name.replace(', ', '-').replace(' ', '-')}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        line = [*command, "--space", f"{PREFIX}{number}"]
        environment = {**os.environ, "OMNICONN_SHM_DIRECTORY": FILES}
        with open(self.log, "wb") as log:  # a session of its own: an interrupt is ours to handle
            self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0, start_new_session=True, env=environment)
        self.unread = b""
        try:
            self.about = self.receive(60)["ready"]
        except BaseException:
            self.stop()
            raise

    def receive(self, patience):
        end = time.monotonic() + patience
        while b"\n" not in self.unread:
            if not select.select([self.process.stdout], [], [], max(end - time.monotonic(), 0))[0]:
                raise Absent(f"it did not answer in {patience} s")
            piece = self.process.stdout.read(1 << 16)
            if not piece:
                raise Absent(f"it ended with status {self.process.wait()}: {self.last_words()}")
            self.unread += piece
        line, self.unread = self.unread.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise Absent(answer["error"])
        return answer

    def last_words(self):
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def ask(self, line):
        with contextlib.suppress(BrokenPipeError):  # what it said before it ended can still be read
            self.process.stdin.write(line.encode() + b"\n")
        return self.receive(300)

    def stop(self):
        try:
            self.process.stdin.close()
            self.process.wait(20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()  # its consumer dies with it
            self.process.wait()
        finally:
            self.process.stdout.close()


def sweep(everything=False):
    """Removes what runs that ended otherwise than planned left in /dev/shm and /tmp; `everything`: this run's, too."""
    for folder in ("/dev/shm", "/tmp"):
        for path in pathlib.Path(folder).iterdir():
            of = re.search(r"ocpeers-(\d+)-", path.name)
            if of and (int(of[1]) == os.getpid() and everything or not os.path.exists(f"/proc/{of[1]}")):
                with contextlib.suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def start(wanted, compiler):
    """({station: peer}, {station: why it is absent})"""
    peers, absent = {}, {}
    try:
        for number, (name, station) in enumerate(STATIONS.items()):
            if station.peer not in wanted:
                continue
            try:
                peers[name] = Peer(name, [*command_of(station, compiler), *station.arguments], number)
            except Absent as why:
                absent[name] = str(why)
    except BaseException:
        for peer in peers.values():
            peer.stop()
        raise
    return peers, absent
