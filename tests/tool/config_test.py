#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""config, connectors, completion, and what is wrong with a command line."""
import json
import re
import subprocess
import unittest

from support import CODES, KINDS, ROOT, TOOL, ToolCase

YAML = """
connectors:
  shm: {name: ShmConnector, extra: {memory_pool_size: 1 MiB, b: 0x10, on: yes, t: 1.0e+6, l: [1, "2", null]}}
edges: [{from: 10, to: 9}, {from: a, to: 9}]
stages:
  - {stage_id: 10, output_connectors: {to_stage_9: shm}}
  - {stage_id: 9}
  - {stage_id: a}
"""
EXTRA = {"memory_pool_size": "1 MiB", "b": 16, "l": [1, "2", None], "t": 1e6}


class Config(ToolCase):
    def shown(self, *arguments):
        done = self.run_tool("config", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout), done.stderr.decode()

    def test_the_connectors_of_a_file(self):
        shown, notes = self.shown(self.file("p.yaml", YAML.replace("on: yes, ", "")))
        self.assertEqual(shown, {"connectors": [{"from": "10", "to": "9", "name": "ShmConnector", "extra": EXTRA}, {"from": "a", "to": "9", "name": "SharedMemoryConnector", "extra": {}}], "default": None})
        self.assertTrue(notes.startswith("note: "), notes)

    def test_json_and_a_default(self):
        document = {"stages": [{"stage_id": 0}], "connectors": {}, "default_connector": {"name": "ShmConnector", "extra": {"x": 1}}}
        self.assertEqual(self.shown(self.file("p.json", json.dumps(document)))[0], {"connectors": [], "default": {"name": "ShmConnector", "extra": {"x": 1}}})

    def test_one_stage(self):
        file = self.file("p.yaml", YAML.replace("on: yes, ", ""))
        shown = self.shown(file, "--stage", "9")[0]["connectors"]
        self.assertEqual([(one["from"], one["to"], one["role"]) for one in shown], [("10", "9", "receiver"), ("a", "9", "receiver")])
        self.assertEqual(shown[0]["extra"], {**EXTRA, "role": "receiver", "from_stage": 10, "to_stage": 9})
        self.assertEqual(self.shown(file, "--stage", "10")[0]["connectors"][0]["role"], "sender")
        self.fails("not_found", "its stages are: 10, 9, a", "config", file, "--stage", "7")

    def test_a_part_of_a_configuration(self):
        for content in ("x: 1", "base_config: whole.yaml"):
            shown, notes = self.shown(self.file("p.yaml", content))
            self.assertEqual(shown, {"connectors": [], "default": None})
            self.assertIn("describes no pipeline", notes)

    def test_files_that_are_wrong(self):
        for name, content, kind, words in (("p.yaml", "", "malformed", "is empty"), ("p.yaml", "a: [", "malformed", "p.yaml"),
                                           ("p.yaml", "a: 1\na: 2", "malformed", "stands twice"), ("p.json", "{", "malformed", "line 1"), ("p.txt", "", "misconfigured", "Unsupported config file format"),
                                           ("p.yaml", "x" * 70000, "too_large", "65536")):
            self.fails(kind, words, "config", self.file(name, content))
        self.fails("not_found", "Config file not found", "config", "/nowhere.yaml")
        self.fails("io", "is a directory", "config", self.shm.rename(self.shm.with_suffix(".yaml")))
        self.addCleanup(self.shm.with_suffix(".yaml").rmdir)


class Connectors(ToolCase):
    def test_names_and_reasons(self):
        rows = {row["name"]: row for row in self.json("connectors", "--json")}
        self.assertTrue(rows["ShmConnector"]["available"] and rows["InprocConnector"]["available"])
        self.assertTrue(rows["MooncakeStoreConnector"]["available"])
        self.assertFalse(rows["MooncakeTransferEngineConnector"]["available"])
        self.assertIn("not built", rows["MooncakeTransferEngineConnector"]["why"])
        lines = self.ok("connectors").decode().splitlines()
        self.assertEqual([(line.split()[0], line.split()[1]) for line in lines], [(name, "yes" if row["available"] else "no") for name, row in rows.items()])


class Usage(ToolCase):
    def test_command_lines_that_are_wrong(self):
        edge = ["--connector", "ShmConnector", "--from", "a", "--to", "b"]
        for arguments, words in (([], "subcommand is required"), (["dance"], "dance"), (["put"], "is required"), (["put", *edge[2:], "--key", "k"], "--connector"), (["put", *edge], "--key is required"), (["put", *edge, "--key"], "--key"),
                                 (["put", *edge, "--key", "k", "--colour", "red"], "--colour"), (["put", *edge, "--key", "k", "--config", "x.yaml"], "--config"),
                                 (["put", "--config", "x", "--set", "a=1", "--from", "a", "--to", "b", "--key", "k"], "--set excludes --config"),
                                 (["put", *edge, "--set", "a", "--key", "k"], "key=value"), (["put", *edge, "--set", "=1", "--key", "k"], "key=value"), (["put", *edge, "--set", "a=1", "--set", "a=2", "--key", "k"], "a is set twice"),
                                 (["put", *edge, "--key", "k", "--readers", "a,,b"], "empty place"), (["put", *edge, "--key", "k", "--keep", "long"], "number of seconds"), (["put", *edge, "--key", "k", "--keep", "-1"], "number of seconds"),
                                 (["get", *edge, "--key", "k", "--timeout", "nan"], "number of seconds"), (["get", *edge, "--key", "k", "--timeout", "inf"], "number of seconds"),
                                 (["get", *edge, "--key", "a", "--key", "b"], "--key"), (["config"], "file is required"), (["config", "a", "b"], "b"),
                                 (["bench", *edge, "--sizes", "1,x"], "size is the text 'x'"), (["bench", *edge, "--sizes", ""], "empty place"), (["bench", *edge, "--count", "0"], "0"), (["ls", "--namespace"], "--namespace")):
            done = self.fails("usage", words, *arguments)
            self.assertEqual(done.stdout, b"")

    def test_help_and_version(self):
        version = re.findall(r"#define OMNICONN_VERSION_\w+ (\d+)", (ROOT / "include/omniconn/version.hpp").read_text(encoding="utf-8"))
        self.assertEqual(self.ok("--version").decode(), f"omniconn {'.'.join(version[:3])}\n")
        help_text = self.ok("--help").decode()
        for command in ("put", "get", "cleanup", "config", "connectors", "decode", "encode", "ls", "stat", "gc", "doctor", "bench", "completion"):
            self.assertIn(f"\n  {command} ", help_text)
            self.assertIn("Usage: omniconn " + command, self.ok(command, "--help").decode())
        self.assertNotIn("bench-reader", help_text)

    def test_output_that_cannot_be_written(self):
        for command in (["--help"], ["--version"], ["connectors"], self.here("ls"), self.here("stat"), self.here("gc"), self.here("doctor"), ["completion"]):
            with open("/dev/full", "wb") as full:  # stat has nothing to say of an empty folder
                self.assertEqual(self.run_tool(*command, stdout=full).returncode, 0 if command[0] == "stat" else CODES["no_space"], command)

    def test_exit_codes_are_those_of_the_page(self):
        page = (ROOT / "docs/tool.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| (\d+) \| `?(\w+)`? \|", page, re.M)
        self.assertEqual(rows, [("0", "success"), ("2", "usage")] + [(str(CODES[kind]), kind) for kind in KINDS])


class Completion(ToolCase):
    def complete(self, *words):
        script = ('source <("$0" completion); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _omniconn; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, TOOL, "omniconn", *words], env=self.environment, capture_output=True, text=True, timeout=30, check=True, cwd=self.folder)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_bash(self):
        self.assertEqual(self.complete("co"), ["config", "connectors", "completion"])
        self.assertEqual(sorted(self.complete("put", "--k")), ["--keep", "--key"])
        self.assertEqual(sorted(self.complete("get", "--co")), ["--config", "--connector"])
        self.assertEqual(sorted(self.complete("gc", "--d")), ["--directory", "--dry-run"])
        self.assertEqual(self.complete("doc"), ["doctor"])
        self.assertEqual(self.complete("get", "--connector", "Shm"), ["ShmConnector"])
        self.file("some.yaml", "")
        self.assertEqual(self.complete("config", "so"), ["some.yaml"])


if __name__ == "__main__":
    unittest.main()
