#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every block of docs/tool.md that is marked `sh` runs, and prints what the block after it says."""
import os
import pathlib
import re
import subprocess
import unittest

from support import ROOT, TOOL, ToolCase

BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.M | re.S)


class Page(ToolCase):
    def test_examples(self):
        page = (ROOT / "docs/tool.md").read_text(encoding="utf-8")
        (self.folder / "bin").mkdir()
        (self.folder / "bin/omniconn").symlink_to(TOOL)
        self.environment["PATH"] = f"{self.folder / 'bin'}{os.pathsep}{self.environment['PATH']}"
        work = self.folder / "work"
        work.mkdir()
        blocks = list(BLOCK.finditer(page))
        self.assertGreaterEqual(len(blocks), 9)
        for block in blocks:
            script, expected = block.groups()
            line = page[: block.start()].count("\n") + 2
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=work, env=self.environment, capture_output=True, text=True, timeout=120, check=False)
            shown = f"docs/tool.md:{line}\n{done.stdout}{done.stderr}"
            self.assertEqual(done.returncode, 0, shown)
            if expected is not None:
                self.assertEqual([text.rstrip() for text in done.stdout.splitlines()], [text.rstrip() for text in expected.splitlines()], shown)
        self.assertEqual(list(pathlib.Path(self.shm).iterdir()), [], "the examples leave something in shared memory")


if __name__ == "__main__":
    unittest.main()
