# SPDX-License-Identifier: Apache-2.0
"""The commands of peer.py: one method of Session each, whose decorator lists its fields with their types and defaults.

Objects to send are given as a payload description (payloads.py). "sha256" in a reply is that of the bytes which OmniSerializer
makes of the object: equal digests are equal objects in Python's eyes, types and dtypes included. bytes inside of metadata
travel as {"$base64": "..."}. Times ending in "ns" are CLOCK_MONOTONIC, which every process of the machine shares.
"""
import base64
import hashlib
import os
import time
from multiprocessing import resource_tracker

import peer_env
import payloads
from vllm_omni.distributed.omni_connectors import ConnectorSpec, OmniConnectorFactory
from vllm_omni.distributed.omni_connectors.utils.serialization import OmniSerializer

REQUIRED = object()
NAMES = {str: "a string", dict: "an object", int: "an integer", float: "a number", bool: "true or false", list: "a list"}
COMMANDS = {}


class UsageError(ValueError):
    pass


def command(**fields):
    """Registers a method. A field is (type,) if it has to be given, else (type, default); its name may end in _ to be no keyword."""

    known = {name.rstrip("_"): (name, *(field if len(field) == 2 else (*field, REQUIRED))) for name, field in fields.items()}

    def register(method):
        COMMANDS[method.__name__] = method, known
        return method

    return register


def fits(value, kind):
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, (int, float) if kind is float else kind)


def forget_the_tracker():
    resource_tracker.register = resource_tracker.unregister = _untracked


def _untracked(name, kind):
    pass


def to_json(value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(value):
    if isinstance(value, dict):
        if set(value) == {"$base64"}:
            return base64.b64decode(value["$base64"], validate=True)
        return {key: from_json(item) for key, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value


def difference(expected, got):
    """Where two serialized objects differ first, in words."""
    count = next((i for i, (a, b) in enumerate(zip(expected, got)) if a != b), min(len(expected), len(got)))
    around = slice(max(count - 8, 0), count + 24)
    return f"from byte {count} on: expected {expected[around].hex()} ({len(expected)} bytes), got {got[around].hex()} ({len(got)} bytes)"


class Session:
    def __init__(self):
        self.connectors = {}
        self.ended = self.abandon = False
        self.status = 0

    def run(self, message):
        name = message.pop("cmd", None)
        if not isinstance(name, str) or name not in COMMANDS:
            raise UsageError(f"'cmd' has to be one of {', '.join(sorted(COMMANDS))}, not {name!r}")
        method, fields = COMMANDS[name]
        for field in message:
            if field not in fields:
                raise UsageError(f"{name}: unknown field {field!r}; it has {', '.join(fields) or 'none'}")
        values = {}
        for field, (parameter, kind, default) in fields.items():
            if field not in message and default is REQUIRED:
                raise UsageError(f"{name}: field {field!r} is missing")
            value = message.get(field, default)
            if kind is not None and value is not default and not fits(value, kind):
                raise UsageError(f"{name}: field {field!r} has to be {NAMES[kind]}, not {value!r}")
            values[parameter] = value
        try:
            return method(self, **values) or {}
        except payloads.DescriptionError as error:
            raise UsageError(f"{name}: {error}") from error

    def connector(self, handle):
        if handle not in self.connectors:
            raise UsageError(f"no connector is open as {handle!r}; open: {', '.join(self.connectors) or 'none'}")
        return self.connectors[handle]

    @staticmethod
    def judge(data, compare):
        """The digest of an object's bytes, and whether they are those of another."""
        found = {"sha256": hashlib.sha256(data).hexdigest()}
        if compare is not None:
            expected = OmniSerializer.serialize(payloads.make(compare))
            found["equal"] = data == expected
            if not found["equal"]:
                found["difference"] = difference(expected, data)
        return found

    @command()
    def info(self):
        """{pid, versions, connectors: names known to the factory, open: handles, untracked: whether --untracked was given}"""
        return {
            "pid": os.getpid(),
            "versions": peer_env.VERSIONS,
            "connectors": OmniConnectorFactory.list_registered_connectors(),
            "open": list(self.connectors),
            "untracked": resource_tracker.register is _untracked,
        }

    @command(connector=(str,), extra=(dict, {}), on=(str, "default"))
    def open(self, connector, extra, on):
        """Makes a connector through upstream's factory. Every other command names it with "on"; several may be open."""
        if on in self.connectors:
            raise UsageError(f"open: {on!r} is open already")
        if connector == "MooncakeStoreConnector":
            peer_env.add_soft_pin()
        self.connectors[on] = OmniConnectorFactory.create_connector(ConnectorSpec(name=connector, extra=from_json(extra)))
        return {"type": type(self.connectors[on]).__name__}

    @command(key=(str,), payload=(dict,), from_=(str, "0"), to=(str, "1"), on=(str, "default"))
    def put(self, key, payload, from_, to, on):
        """{ok: what upstream's put said, size, metadata, sha256}"""
        obj = payloads.make(payload)
        done, size, metadata = self.connector(on).put(from_, to, key, obj)
        try:
            digest = self.judge(OmniSerializer.serialize(obj), None)
        except Exception as error:  # then put has refused it too
            digest = {"sha256": None, "unserializable": str(error)}
        return {"ok": done, "size": size, "metadata": to_json(metadata), **digest}

    def poll(self, connector, from_, to, key, metadata, timeout, interval):
        """One get, repeated until the time is over: (what get returned, tries, start and length of the last one)."""
        end, tries = time.monotonic() + timeout, 0
        while True:
            tries += 1
            start = time.monotonic_ns()
            got = connector.get(from_, to, key, metadata)
            spent = time.monotonic_ns() - start
            if got is not None or time.monotonic() >= end:
                return got, tries, start, spent
            if interval > 0:
                time.sleep(min(interval, max(end - time.monotonic(), 0)))

    @command(key=(str,), from_=(str, "0"), to=(str, "1"), metadata=(None, None), timeout=(float, 0.0), interval=(float, 0.001),
             compare=(dict, None), out=(str, None), on=(str, "default"))  # fmt: skip
    def get(self, key, from_, to, metadata, timeout, interval, compare, out, on):
        """{found: false, polls} or {found: true, polls, size, sha256, type}; compare: a payload, adds equal and difference.

        Tries until timeout seconds are over, interval seconds apart (upstream's stages take 0.001). out: a file for the
        object as OmniSerializer writes it again.
        """
        got, tries, _, _ = self.poll(self.connector(on), from_, to, key, from_json(metadata), timeout, interval)
        if got is None:
            return {"found": False, "polls": tries}
        data = OmniSerializer.serialize(got[0])
        if out is not None:
            with open(out, "wb") as file:
                file.write(data)
        return {"found": True, "polls": tries, "size": got[1], "type": type(got[0]).__name__, **self.judge(data, compare)}

    @command(key=(str,), on=(str, "default"))
    def cleanup(self, key, on):
        self.connector(on).cleanup(key)

    @command(on=(str, "default"))
    def health(self, on):
        """{health: upstream's dict}"""
        return {"health": to_json(self.connector(on).health())}

    @command(on=(str, "default"))
    def close(self, on):
        """Closes the connector, which may be done twice upstream, and forgets it."""
        self.connector(on).close()
        del self.connectors[on]

    @command(payload=(dict,), out=(str,))
    def serialize(self, payload, out):
        """Writes the payload as OmniSerializer does. {size, sha256}"""
        data = OmniSerializer.serialize(payloads.make(payload))
        with open(out, "wb") as file:
            file.write(data)
        return {"size": len(data), **self.judge(data, None)}

    @command(file=(str,), compare=(dict, None), out=(str, None))
    def deserialize(self, file, compare, out):
        """Reads a file as OmniSerializer does. {size of the file, type, sha256, identical}; compare and out are those of get.

        identical: the file's bytes are those which Python writes for the object.
        """
        with open(file, "rb") as source:
            raw = source.read()
        obj = OmniSerializer.deserialize(raw)
        data = OmniSerializer.serialize(obj)
        if out is not None:
            with open(out, "wb") as target:
                target.write(data)
        return {"size": len(raw), "type": type(obj).__name__, "identical": raw == data, **self.judge(data, compare)}

    @command(prefix=(str,), count=(int,), payload=(dict,), from_=(str, "0"), to=(str, "1"), lockstep=(float, 0.0), on=(str, "default"))
    def bench_put(self, prefix, count, payload, from_, to, lockstep, on):
        """Puts the payload under PREFIX0, PREFIX1, ... {size, ns: [time of each put], start_ns: [when it began]}

        lockstep: wait up to that many seconds after each put until somebody has consumed the object (not part of the time).
        """
        connector, obj = self.connector(on), payloads.make(payload)
        starts, times, size = [], [], 0
        for number in range(count):
            key = f"{prefix}{number}"
            start = time.monotonic_ns()
            done, size, _ = connector.put(from_, to, key, obj)
            times.append(time.monotonic_ns() - start)
            starts.append(start)
            if not done:
                raise RuntimeError(f"bench_put: put of {key} failed")
            end = time.monotonic() + lockstep
            while lockstep > 0 and os.path.exists(f"/dev/shm/{key}"):
                if time.monotonic() > end:
                    raise TimeoutError(f"bench_put: {key} was not consumed in {lockstep} s")
                time.sleep(0.0002)
        return {"size": size, "ns": times, "start_ns": starts}

    @command(prefix=(str,), count=(int,), from_=(str, "0"), to=(str, "1"), timeout=(float, 10.0), interval=(float, 0.0),
             compare=(dict, None), on=(str, "default"))  # fmt: skip
    def bench_get(self, prefix, count, from_, to, timeout, interval, compare, on):
        """Gets PREFIX0, PREFIX1, ... {size, ns: [time of the get that found it], start_ns, end_ns: [when it began, ended], polls}

        With compare every object is compared (not part of the time).
        """
        connector = self.connector(on)
        expected = None if compare is None else OmniSerializer.serialize(payloads.make(compare))
        starts, times, polls, size = [], [], 0, 0
        for number in range(count):
            got, tries, start, spent = self.poll(connector, from_, to, f"{prefix}{number}", None, timeout, interval)
            if got is None:
                raise TimeoutError(f"bench_get: {prefix}{number} did not come in {timeout} s")
            starts.append(start)
            times.append(spent)
            polls, size = polls + tries, got[1]
            if expected is not None and OmniSerializer.serialize(got[0]) != expected:
                raise RuntimeError(f"bench_get: {prefix}{number} differs, {difference(expected, OmniSerializer.serialize(got[0]))}")
        return {"size": size, "ns": times, "start_ns": starts, "end_ns": [a + b for a, b in zip(starts, times)], "polls": polls}

    @command(status=(int, 0))
    def exit(self, status):
        """Answers, then ends as a Python program does. Open connectors are closed by their destructors, so unread objects go."""
        self.ended, self.status = True, status

    @command(status=(int, 0))
    def _exit(self, status):
        """Answers, then os._exit: no destructor runs. The resource tracker still unlinks what it knows of, unless --untracked."""
        self.abandon, self.status = True, status
