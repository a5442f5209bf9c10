#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The include direction of the library, and the small rules each header keeps.

    include_rules.py direction [INCLUDE_DIR]
    include_rules.py hygiene [INCLUDE_DIR]

direction: core -> policies (transport, serializer, keying, allocator) -> connector -> any_connector ->
(stream, kv, coordinator) -> runtime -> umbrella. Nothing points back and nothing goes round. A header in detail/ ranks as
high as the highest header it includes. testing/ may include anything; only testing/ may include testing/.

hygiene: the licence line first, #pragma once, own headers in angle brackets, no costly standard header below runtime/,
another library's header only in a header that is marked as a part (or in testing/: GoogleTest).
"""
import pathlib
import re
import sys

import compiler

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)

RANKS = {  # by folder, or by name for the headers at the top
    "version.hpp": 0, "config.hpp": 0, "user_config.hpp": 0, "fwd.hpp": 0, "core": 1,
    "transport": 2, "serializer": 2, "keying": 2, "allocator": 2,
    "connector_concept.hpp": 3, "connector_defaults.hpp": 3, "shared_view.hpp": 3, "connector.hpp": 3, "growing.hpp": 3, "any_growing.hpp": 3, "any_connector.hpp": 4, "stream": 5, "kv": 5, "coordinator": 5, "runtime": 6, "omniconn.hpp": 7,
    "detail": None, "testing": None,
}
NAMES = {0: "configuration", 1: "core", 2: "policies", 3: "connector", 4: "any_connector", 5: "stream, kv, coordinator", 6: "runtime",
         7: "the umbrella"}
SIBLINGS = {("transport", "allocator")}  # a transport owns regions, so it may name an allocator; no other policy knows another
COSTLY = {"iostream", "regex", "filesystem", "future", "functional", "ranges"}
SYSTEM = re.compile(r"^(sys|linux|arpa|netinet|net|asm|bits)/|^[a-z0-9_]+$|^(cerrno|c[a-z]+)$|"
                    r"^(dirent|endian|errno|fcntl|immintrin|limits|netdb|poll|pthread|sched|semaphore|signal|stdint|stdlib|string|"
                    r"time|unistd|x86intrin|cpuid|arm_neon|arm_acle)\.h$")


class Tree:
    def __init__(self, include):
        self.include = include
        self.texts = {path.relative_to(include).as_posix(): path.read_text(encoding="utf-8")
                      for path in sorted((include / "omniconn").rglob("*.hpp"))}
        self.includes = {name: [target for _, target in INCLUDE.findall(COMMENT.sub("", text))] for name, text in self.texts.items()}

    def own(self, name):
        return [target for target in self.includes.get(name, []) if target.startswith("omniconn/")]


def place(name):
    """The row of RANKS for a header: its folder below omniconn/, or its name at the top."""
    return name.split("/")[1]


def rank(tree, name, seen=()):
    own = RANKS.get(place(name))
    if own is not None or name in seen or place(name) == "testing":
        return own if own is not None else 0
    return max([rank(tree, target, seen + (name,)) for target in tree.own(name)] + [0])  # detail/


def policies_below(tree, name, seen):
    """The policy folders that a header reaches through detail/ headers."""
    if place(name) != "detail":
        return {place(name)}
    if name in seen:
        return set()
    seen.add(name)
    return set().union(*[policies_below(tree, target, seen) for target in tree.own(name)])


def direction(tree):
    problems = []
    for name in tree.texts:
        if place(name) not in RANKS:
            problems.append(f"{name}: its folder has no rank; add it to RANKS in {pathlib.Path(__file__).name}")
    if problems:
        return problems
    for name in tree.texts:
        for target in tree.own(name):
            if place(target) not in RANKS:
                problems.append(f"{name}: includes <{target}>, which has no rank")
            elif place(target) == "testing":
                if place(name) != "testing":
                    problems.append(f"{name}: includes <{target}>; only testing/ may include testing/")
            elif place(name) not in ("testing", "detail"):
                mine, theirs = rank(tree, name), rank(tree, target)
                if theirs > mine:
                    problems.append(f"{name} ({NAMES[mine]}): includes <{target}> ({NAMES[theirs]}), which is above it")
                elif mine == 2:
                    for other in sorted(policies_below(tree, target, set())):
                        if RANKS[other] == 2 and other != place(name) and (place(name), other) not in SIBLINGS:
                            problems.append(f"{name}: includes <{target}>; one policy does not know another ({other})")
    state = {}

    def visit(name, path):
        if state.get(name) == "done":
            return
        if name in path:
            problems.append("a circle: " + " -> ".join(path[path.index(name):] + [name]))
            return
        for target in tree.own(name):
            visit(target, path + [name])
        state[name] = "done"

    for name in tree.texts:
        visit(name, [])
    return problems


def hygiene(tree):
    problems = []
    for name, text in tree.texts.items():
        if not text.startswith("// SPDX-License-Identifier: Apache-2.0\n"):
            problems.append(f"{name}: the first line is not the SPDX line")
        if not re.search(r"^#pragma once$", text, re.M):
            problems.append(f"{name}: no #pragma once")
        if not text.endswith("\n"):
            problems.append(f"{name}: no newline at the end")
        parts = compiler.parts_of(tree.include / name)
        for quote, target in INCLUDE.findall(COMMENT.sub("", text)):
            if quote == '"':
                problems.append(f'{name}: #include "{target}"; write <omniconn/...>')
            elif target in COSTLY and place(name) not in ("runtime", "testing"):
                problems.append(f"{name}: <{target}> costs too much in a header that everybody includes")
            elif not target.startswith("omniconn/") and not SYSTEM.match(target) and not parts:
                if not (place(name) == "testing" and target.startswith("gtest/")):
                    problems.append(f"{name}: <{target}> is another library's; mark the header with '// omniconn-part: NAME' below the "
                                    "SPDX line (and give that library a branch in cmake/omniconn-deps.cmake)")
        for target in tree.own(name):
            needs = set(compiler.parts_of(tree.include / target)) if (tree.include / target).exists() else set()
            if not needs <= set(parts) and name != "omniconn/omniconn.hpp":
                problems.append(f"{name}: includes <{target}>, which needs {' '.join(sorted(needs))}, but is not marked so itself")
    return problems


def main():
    tree = Tree(pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else compiler.INCLUDE)
    problems = {"direction": direction, "hygiene": hygiene}[sys.argv[1]](tree)
    print("\n".join(problems + [f"{len(tree.texts)} headers, {len(problems)} problems"]))
    return 1 if problems or not tree.texts else 0


if __name__ == "__main__":
    sys.exit(main())
