# SPDX-License-Identifier: Apache-2.0
"""For the tests of the command line tool: NAME_test.py TOOL [unittest's arguments].

Shared memory of a test program lies in a folder of its own, which is removed however the tests end.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = str(pathlib.Path(sys.argv.pop(1)).resolve()) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "omniconn"
_text = (ROOT / "include/omniconn/core/error.hpp").read_text(encoding="utf-8")
_text = _text[_text.index("enum class error_kind"):]
KINDS = re.findall(r"^  (\w+)(?: = 1)?,", _text[: _text.index("};")], re.M)
CODES = {kind: 3 + place for place, kind in enumerate(KINDS)}


def shm_folder():
    """A tmpfs folder below the one of the test run, if there is one."""
    above = os.environ.get("OMNICONN_SHM_DIRECTORY") or "/dev/shm"
    return pathlib.Path(tempfile.mkdtemp(prefix="omniconn-tool-test-", dir=above))


class ToolCase(unittest.TestCase):
    """Each case has its own folder of shared memory, a folder for files, and looks after the processes that it started."""

    def setUp(self):
        self.shm = shm_folder()
        self.addCleanup(shutil.rmtree, self.shm, ignore_errors=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="omniconn-tool-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.environment = {name: text for name, text in os.environ.items() if not name.startswith("OMNICONN_")}
        self.environment["OMNICONN_SHM_DIRECTORY"] = str(self.shm)
        self.edge = ["--connector", "ShmConnector", "--set", "memory_pool_size=32MiB", "--from", "a", "--to", "b"]

    def run_tool(self, *arguments, stdin=b"", timeout=60, **options):
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        given = {} if "stdin_file" not in options else {"stdin": options.pop("stdin_file")}
        if not given:
            given = {"input": stdin}
        return subprocess.run([TOOL, *map(str, arguments)], env=self.environment, timeout=timeout, check=False, **given, **options)

    def ok(self, *arguments, stdin=b"", **options):
        """Standard output of a command that works and says nothing else."""
        done = self.run_tool(*arguments, stdin=stdin, **options)
        self.assertEqual((done.returncode, done.stderr), (0, b""), f"{arguments}")
        return done.stdout

    def json(self, *arguments, **options):
        return json.loads(self.ok(*arguments, **options))

    def fails(self, kind, words, *arguments, stdin=b"", **options):
        """A command that ends with that kind, and with those words in one line on stderr."""
        done = self.run_tool(*arguments, stdin=stdin, **options)
        text = done.stderr.decode()
        self.assertEqual(done.returncode, 2 if kind == "usage" else CODES[kind], f"{arguments}: {text}")
        self.assertTrue(text.startswith(f"error: {kind}: "), text)
        self.assertIn(words, text)
        if kind != "usage":
            self.assertEqual(text.count("\n"), 1, text)
        return done

    def start(self, *arguments, **options):
        process = subprocess.Popen([TOOL, *map(str, arguments)], env=self.environment, stdin=options.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

        def end():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()

        self.addCleanup(end)
        return process

    def put(self, key, payload, *more):
        return json.loads(self.ok("put", *self.edge, "--key", key, *more, stdin=payload))

    def get(self, key, *more):
        return self.ok("get", *self.edge, "--key", key, "--timeout", 5, *more)

    def until(self, what, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, f"still not so: {what}")
            time.sleep(0.005)

    def processes(self):
        """Those who take part in the default namespace."""
        done = self.run_tool("stat", "--json", "--namespace", "default")
        return json.loads(done.stdout)["namespaces"][0]["processes"] if done.returncode == 0 else []

    def wait_for_readers(self, count):
        self.until(f"{count} processes take part", lambda: sum(p["state"] == "alive" for p in self.processes()) >= count)

    def here(self, command, *arguments):
        """ls or stat of this case's folder alone: in /dev/shm may lie what other programs left."""
        return [command, "--directory", str(self.shm), *arguments]

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path
