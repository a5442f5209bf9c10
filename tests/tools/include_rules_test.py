#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/checks/include_rules.py sees each kind of breach, and nothing in a tree that keeps the rules."""
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "checks"))
import include_rules  # noqa: E402

HEAD = "// SPDX-License-Identifier: Apache-2.0\n#pragma once\n"
GOOD = {
    "config.hpp": "", "core/a.hpp": "#include <omniconn/config.hpp>\n", "allocator/heap.hpp": "#include <omniconn/core/a.hpp>\n",
    "detail/ring.hpp": "#include <omniconn/core/a.hpp>\n#include <sys/mman.h>\n",
    "transport/shm.hpp": "#include <omniconn/detail/ring.hpp>\n#include <omniconn/allocator/heap.hpp>\n#include <linux/futex.h>\n",
    "connector.hpp": "#include <omniconn/transport/shm.hpp>\n", "runtime/factory.hpp": "#include <omniconn/connector.hpp>\n#include <filesystem>\n",
    "testing/suite.hpp": "#include <gtest/gtest.h>\n#include <omniconn/runtime/factory.hpp>\n",
}


class IncludeRulesTest(unittest.TestCase):
    def tree(self, **changes):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        include = pathlib.Path(folder.name)
        for name, text in {**GOOD, **{name.replace("__", "/") + ".hpp": text for name, text in changes.items()}}.items():
            path = include / "omniconn" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text if text.startswith("//!") else HEAD + text)
        return include_rules.Tree(include)

    def finds(self, check, needle, **changes):
        problems = check(self.tree(**changes))
        self.assertTrue(any(needle in problem for problem in problems), problems)

    def test_good_tree(self):
        self.assertEqual(include_rules.direction(self.tree()), [])
        self.assertEqual(include_rules.hygiene(self.tree()), [])

    def test_direction(self):
        finds = lambda needle, **changes: self.finds(include_rules.direction, needle, **changes)  # noqa: E731
        finds("which is above it", core__a="#include <omniconn/transport/shm.hpp>\n")
        finds("which is above it", transport__shm="#include <omniconn/connector.hpp>\n")
        finds("which is above it", core__b="#include <omniconn/detail/up.hpp>\n", detail__up="#include <omniconn/connector.hpp>\n")
        finds("does not know another (transport)", serializer__s="#include <omniconn/transport/shm.hpp>\n")
        finds("does not know another (keying)", transport__t="#include <omniconn/detail/k.hpp>\n",
              detail__k="#include <omniconn/keying/k.hpp>\n", keying__k="")
        finds("only testing/", runtime__r="#include <omniconn/testing/suite.hpp>\n")
        finds("no rank", surprise__s="")
        finds("a circle", core__x="#include <omniconn/core/y.hpp>\n", core__y="#include <omniconn/core/x.hpp>\n")

    def test_hygiene(self):
        finds = lambda needle, **changes: self.finds(include_rules.hygiene, needle, **changes)  # noqa: E731
        finds("SPDX", core__a="//! nothing\n#pragma once\n")
        finds("#pragma once", core__a="//! nothing\n")
        finds("write <omniconn/...>", core__a='#include "b.hpp"\n')
        finds("costs too much", core__a="#include <functional>\n")
        finds("another library's", runtime__y="#include <yaml-cpp/yaml.h>\n")
        finds("another library's", runtime__y="#include <gtest/gtest.h>\n")
        finds("not marked so itself", runtime__y="#include <omniconn/runtime/z.hpp>\n", runtime__z="// omniconn-part: yaml\n")
        self.assertEqual(include_rules.hygiene(self.tree(runtime__y="// omniconn-part: yaml\n#include <yaml-cpp/yaml.h>\n")), [])
        self.assertEqual(include_rules.hygiene(self.tree(core__a="// #include <functional>\n/*\n#include <regex>\n*/\n")), [])


if __name__ == "__main__":
    unittest.main()
