# SPDX-License-Identifier: Apache-2.0
"""vLLM-Omni's real connectors in a process of their own, driven by a test over stdin and stdout.

One JSON object a line in, one JSON object a line out, in the same order; nothing else ever comes on stdout, logs go to stderr.
A command is {"cmd": NAME, ...fields}; the fields of each are documented with its function in peer_commands.py. A reply has
either "ok" or "error": a command that failed is answered {"error": text, "kind": "usage" or the exception's type}, and the
process goes on. If the command had an "id", the reply repeats it. If upstream's code logged warnings or errors meanwhile, the
reply has them as "log": [text, ...]; a refused put or get says why only there.

The end of stdin ends the process as `exit` does. Python's resource tracker, a process beside this one, is as upstream has it:
when this process ends, however it ends, the tracker unlinks every segment that this one created or opened and did not unlink
itself; only keys with a colon escape it. With --untracked it knows of none, for tests that want objects to outlive their producer.
"""
import json
import logging
import os
import sys

import peer_env  # noqa: F401  first
import peer_commands
from peer_commands import UsageError

LOG_LIMIT = 20  # a get that polls may log the same line thousands of times


class Collected(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        line = record.getMessage()
        if line not in self.lines and len(self.lines) < LOG_LIMIT:
            self.lines.append(line)


def take_stdio():
    """Private copies, which children do not inherit: the tracker's child must neither hold our pipes open nor write into them."""
    commands = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, replies


def parse(line):
    try:
        command = json.loads(line)
    except ValueError as error:
        raise UsageError(f"not a line of JSON: {error}") from error
    if not isinstance(command, dict):
        raise UsageError(f"a command is a JSON object, not {type(command).__name__}")
    return command


def answer(session, line, collected):
    """The reply, whatever happened."""
    reply, command = {}, {}
    collected.lines = []
    try:
        command = parse(line)
        reply = {"ok": True, **session.run({k: v for k, v in command.items() if k != "id"})}
    except Exception as error:
        usage = isinstance(error, UsageError)
        reply = {"error": str(error) or type(error).__name__, "kind": "usage" if usage else type(error).__name__}
    if collected.lines:
        reply["log"] = collected.lines
    if "id" in command:
        reply["id"] = command["id"]
    return reply


def main(arguments):
    unknown = set(arguments) - {"--untracked"}
    if unknown:
        sys.exit(f"usage: peer.py [--untracked], not {' '.join(sorted(unknown))}")
    commands, replies = take_stdio()
    collected = Collected()
    level = os.environ.get("OMNICONN_PEER_LOG", "WARNING").upper()
    logging.basicConfig(stream=sys.stderr, level=level, format=f"peer {os.getpid()}: %(message)s")
    logging.getLogger().addHandler(collected)
    if "--untracked" in arguments:
        peer_commands.forget_the_tracker()
    session = peer_commands.Session()
    for line in commands:
        reply = answer(session, line, collected)
        try:
            text = json.dumps(reply)
        except (TypeError, ValueError) as error:
            text = json.dumps({"error": f"the reply is not JSON: {error}", "kind": type(error).__name__})
        try:
            replies.write(text.encode() + b"\n")
            replies.flush()
        except BrokenPipeError:
            return 0  # nobody listens any more
        if session.abandon:
            os._exit(session.status)
        if session.ended:
            return session.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
