# SPDX-License-Identifier: Apache-2.0
"""Mooncake's own Python client, driven line by line: one command in, one line out.

    open MASTER METADATA [SEGMENT]      put KEY FILE      get KEY FILE      exist KEY      remove KEY      close
"""
import sys

from mooncake.store import MooncakeDistributedStore

store = None


def obey(words):
    global store
    command, arguments = words[0], words[1:]
    if command == "open":
        store = MooncakeDistributedStore()
        segment = int(arguments[2]) if len(arguments) > 2 else 0
        return f"code {store.setup('127.0.0.1', arguments[1], segment, 128 << 20, 'tcp', '', arguments[0])}"
    if command == "put":
        with open(arguments[1], "rb") as file:
            return f"code {store.put(arguments[0], file.read())}"
    if command == "get":
        data = store.get(arguments[0])
        with open(arguments[1], "wb") as file:
            file.write(data)
        return f"bytes {len(data)}"
    if command == "exist":
        return f"code {store.is_exist(arguments[0])}"
    if command == "remove":
        return f"code {store.remove(arguments[0], True)}"
    if command == "close":
        store.close()
        return "code 0"
    return "what?"


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        print(obey(line.split()), flush=True)


if __name__ == "__main__":
    main()
