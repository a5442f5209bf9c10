#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/amalgamate.py on small trees: what it makes compiles and is stable, and what it must refuse it refuses."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "amalgamate.py"
LICENCE = "// SPDX-License-Identifier: Apache-2.0\n"

TREE = {
    "version.hpp": "#pragma once\n#define OMNICONN_VERSION_MAJOR 1\n#define OMNICONN_VERSION_MINOR 2\n#define OMNICONN_VERSION_PATCH 3\n",
    "config.hpp": "#pragma once\n#if __has_include(<omniconn/user_config.hpp>)\n#include <omniconn/user_config.hpp>\n#endif\n"
                  "#include <omniconn/version.hpp>\n#define OMNICONN_BEGIN namespace omniconn {\n#define OMNICONN_END }\n",
    "fwd.hpp": "#pragma once\n#include <omniconn/config.hpp>\nOMNICONN_BEGIN\nstruct a;\ntemplate <class T = int> struct t;\nOMNICONN_END\n",
    "core/a.hpp": "#pragma once\n#include <omniconn/config.hpp>\n#include <string>\n/* a comment with\n#include <omniconn/none.hpp>\n*/\n"
                  "#define OMNICONN_PRIVATE 4\nOMNICONN_BEGIN\nstruct a { int v = OMNICONN_PRIVATE; };\nOMNICONN_END\n",
    "core/b.hpp": "#pragma once\n#include <omniconn/core/a.hpp>\nOMNICONN_BEGIN\nstruct b : a {};\nOMNICONN_END\n",
    "part/m.hpp": "// omniconn-part: msgpack\n#pragma once\n#include <omniconn/core/b.hpp>\n#include <omniconn/part/helper.hpp>\n"
                  "OMNICONN_BEGIN\nstruct m : helper {};\nOMNICONN_END\n",
    "part/helper.hpp": "// omniconn-part: msgpack\n#pragma once\n#include <cstdio>\nOMNICONN_BEGIN\nstruct helper {};\nOMNICONN_END\n",
    "omniconn.hpp": "#pragma once\n#include <omniconn/core/b.hpp>\n#include <omniconn/fwd.hpp>\n#include <omniconn/core/a.hpp>\n"
                    "#if defined(OMNICONN_WITH_MSGPACK)\n#include <omniconn/part/m.hpp>\n#endif\n",
}


class AmalgamateTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        for name, text in TREE.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.root / "include/omniconn" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(LICENCE + text)

    def append(self, name, text):
        self.write(name, TREE[name] + text)

    def run_script(self, *arguments):
        return subprocess.run([sys.executable, SCRIPT, "--root", self.root, *arguments], capture_output=True, text=True)

    def single(self, name="omniconn.hpp"):
        return (self.root / "single_include/omniconn" / name).read_text()

    def make(self):
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.single()

    def refuses(self, *needles):
        done = self.run_script()
        self.assertEqual(done.returncode, 1)
        for needle in needles:
            self.assertIn(needle, done.stderr)
        self.assertFalse((self.root / "single_include").exists(), "wrote something all the same")

    def test_expands_each_header_once_in_order(self):
        text = self.make()
        begins = [line.split("<")[1].rstrip(">") for line in text.splitlines() if line.startswith("// ==== begin")]
        self.assertEqual(begins, ["omniconn/" + name for name in ("omniconn.hpp", "core/b.hpp", "core/a.hpp", "config.hpp",
                                                                    "version.hpp", "fwd.hpp", "part/m.hpp", "part/helper.hpp")])
        self.assertEqual(text.count("SPDX-License-Identifier"), 1)
        self.assertEqual(text.count("#pragma once"), 1)
        self.assertIn("omniconn 1.2.3", text)
        self.assertIn("do not edit", text)
        self.assertIn("#include <string>", text)
        self.assertIn("#include <omniconn/none.hpp>", text, "a comment is text, not an include")
        self.assertIn("#include <omniconn/user_config.hpp>", text)

    def test_undefines_private_macros_only(self):
        undefined = [line for line in self.make().splitlines() if line.startswith("#undef")]
        self.assertEqual(undefined, ["#undef OMNICONN_PRIVATE"])

    def test_forward_header(self):
        self.make()
        text = self.single("omniconn_fwd.hpp")
        self.assertIn("struct a;", text)
        self.assertNotIn("struct b", text)

    def test_output_compiles_with_and_without_the_part(self):
        self.make()
        compiler = os.environ.get("CXX", "c++")
        for flags, body in (([], "int main() { return omniconn::b{}.v - 4; }"),
                            (["-DOMNICONN_WITH_MSGPACK"], "int main() { return omniconn::b{}.v - 4 + int(sizeof(omniconn::m)) - 1; }")):
            for order in (("omniconn", "omniconn_fwd"), ("omniconn_fwd", "omniconn")):
                source = self.root / "main.cpp"
                source.write_text("".join(f"#include <omniconn/{name}.hpp>\n" for name in order) + body + "\n")
                done = subprocess.run([compiler, "-std=c++20", "-Wall", "-Werror", *flags, f"-I{self.root}/single_include", source,
                                       "-o", self.root / "main"], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(subprocess.run([self.root / "main"]).returncode, 0)

    def test_is_deterministic_and_check_notices_a_change(self):
        first = self.make()
        self.assertEqual(self.run_script("--check").returncode, 0)
        self.assertEqual(self.make(), first)
        self.append("core/b.hpp", "// changed\n")
        done = self.run_script("--check")
        self.assertEqual(done.returncode, 1)
        self.assertIn("run tools/amalgamate.py", done.stderr)
        self.assertEqual(self.single(), first, "--check writes nothing")

    def test_refuses_project_include_inside_a_condition(self):
        self.write("core/b.hpp", "#pragma once\n#if 1\n#include <omniconn/core/a.hpp>\n#endif\n")
        self.refuses("include/omniconn/core/b.hpp:4", "unconditionally")

    def test_refuses_condition_inside_an_opt_in_block(self):
        self.write("omniconn.hpp", TREE["omniconn.hpp"].replace("#include <omniconn/part/m.hpp>", "#if 1\n#include <omniconn/part/m.hpp>\n#endif"))
        self.refuses("include/omniconn/omniconn.hpp:8", "#if 1")

    def test_refuses_part_outside_its_block(self):
        self.write("omniconn.hpp", "#pragma once\n#include <omniconn/core/b.hpp>\n#include <omniconn/part/m.hpp>\n")
        self.refuses("part/m.hpp", "defined(OMNICONN_WITH_MSGPACK)")

    def test_refuses_part_in_the_block_of_another(self):
        self.write("omniconn.hpp", TREE["omniconn.hpp"].replace("WITH_MSGPACK", "WITH_YAML"))
        self.refuses("needs msgpack, but this is the block of yaml")

    def test_expands_what_parts_share_with_the_core_before_the_first_block(self):
        self.write("omniconn.hpp", TREE["omniconn.hpp"].replace("#include <omniconn/core/b.hpp>\n", ""))
        text = self.make()
        self.assertLess(text.index("begin <omniconn/core/b.hpp>"), text.index("defined(OMNICONN_WITH_MSGPACK)"))

    def test_refuses_unmarked_header_in_a_block(self):
        self.write("core/c.hpp", "#pragma once\n")
        self.write("omniconn.hpp", TREE["omniconn.hpp"].replace("part/m.hpp>\n", "part/m.hpp>\n#include <omniconn/core/c.hpp>\n"))
        self.refuses("include/omniconn/omniconn.hpp:8", "mark it // omniconn-part: msgpack")

    def test_refuses_unconditional_include_after_a_block(self):
        self.write("core/late.hpp", "#pragma once\n")
        self.append("omniconn.hpp", "#include <omniconn/core/late.hpp>\n")
        self.refuses("late.hpp", "before the first one")

    def test_refuses_forgotten_part(self):
        self.write("part/y.hpp", "// omniconn-part: yaml\n#pragma once\n")
        self.refuses("forgets", "#if defined(OMNICONN_WITH_YAML)\n  #include <omniconn/part/y.hpp>\n  #endif")

    def test_accepts_header_of_two_parts_in_a_block_of_both(self):
        self.write("part/both.hpp", "// omniconn-part: yaml msgpack\n#pragma once\n#include <omniconn/part/m.hpp>\n")
        self.append("omniconn.hpp", "#if defined(OMNICONN_WITH_YAML) && defined(OMNICONN_WITH_MSGPACK)\n#include <omniconn/part/both.hpp>\n#endif\n")
        self.assertIn("begin <omniconn/part/both.hpp>", self.make())

    def test_refuses_header_of_one_part_that_first_appears_in_a_block_of_two(self):
        self.write("part/y.hpp", "// omniconn-part: yaml\n#pragma once\n")
        self.write("part/both.hpp", "// omniconn-part: msgpack yaml\n#pragma once\n#include <omniconn/part/y.hpp>\n")
        block = "#if defined(OMNICONN_WITH_MSGPACK) && defined(OMNICONN_WITH_YAML)\n#include <omniconn/part/both.hpp>\n#endif\n"
        self.append("omniconn.hpp", block)
        self.refuses("<omniconn/part/y.hpp> needs yaml, but this is the block of msgpack and yaml")
        self.append("omniconn.hpp", "#if defined(OMNICONN_WITH_YAML)\n#include <omniconn/part/y.hpp>\n#endif\n" + block)
        self.make()

    def test_refuses_quoted_missing_and_testing_includes(self):
        for line, needle in (('#include "a.hpp"', "quoted"), ("#include <omniconn/core/none.hpp>", "does not exist"),
                             ("#include <omniconn/testing/t.hpp>", "test kit")):
            self.write("testing/t.hpp", "#pragma once\n")
            self.append("core/b.hpp", line + "\n")
            self.refuses(needle)


if __name__ == "__main__":
    unittest.main()
