#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""decode and encode: what people see, hostile bytes, and that `decode --json | encode` changes nothing."""
import base64
import json
import random
import struct
import unittest

from support import ToolCase


def packed(v):
    """A small msgpack writer, so that the tool is not judged by itself."""
    if v is None:
        return b"\xc0"
    if isinstance(v, bool):
        return b"\xc3" if v else b"\xc2"
    if isinstance(v, int):
        if -32 <= v < 128:
            return struct.pack("b", v)
        for low, high, mark, form in ((0, 1 << 8, 0xCC, ">B"), (0, 1 << 16, 0xCD, ">H"), (0, 1 << 32, 0xCE, ">I"), (0, 1 << 64, 0xCF, ">Q"),
                                      (-1 << 7, 0, 0xD0, ">b"), (-1 << 15, 0, 0xD1, ">h"), (-1 << 31, 0, 0xD2, ">i"), (-1 << 63, 0, 0xD3, ">q")):
            if low <= v < high:
                return bytes([mark]) + struct.pack(form, v)
    if isinstance(v, float):
        return b"\xcb" + struct.pack(">d", v)
    if isinstance(v, str):
        body = v.encode()
        return (bytes([0xA0 | len(body)]) if len(body) < 32 else b"\xd9" + bytes([len(body)])) + body
    if isinstance(v, bytes):
        return (b"\xc4" + bytes([len(v)]) if len(v) < 256 else b"\xc5" + struct.pack(">H", len(v))) + v
    if isinstance(v, tuple):  # ext
        fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
        head = bytes([fixed[len(v[1])]]) if len(v[1]) in fixed else b"\xc7" + bytes([len(v[1])])
        return head + struct.pack("b", v[0]) + v[1]
    if isinstance(v, list):
        return bytes([0x90 | len(v)]) + b"".join(map(packed, v))
    if isinstance(v, dict):
        return bytes([0x80 | len(v)]) + b"".join(packed(key) + packed(item) for key, item in v.items())
    raise TypeError(v)


def tensor(dtype, shape, data, marker="__tensor__"):
    return {marker: True, "dtype": dtype, "shape": shape, "data": data}


def random_value(rng, depth=0):
    kind = rng.randrange(11 if depth < 4 else 7)
    if kind < 7:
        return [None, True, rng.randrange(-1 << 63, 1 << 64), rng.uniform(-1e300, 1e300), "".join(rng.choices("aä\n\"\\\x1b😀", k=rng.randrange(9))),
                rng.randbytes(rng.randrange(300)), (rng.randrange(-128, 128), rng.randbytes(rng.randrange(5)))][kind]
    if kind == 7:
        return {rng.choice(["__bytes__", "__ext__", "__float__", "__map__"]): random_value(rng, depth + 1)}
    if kind == 8:
        return tensor("float32", [2], rng.choice([bytes(8), [1, 2], "x"]))
    if kind == 9:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(9))]
    return {rng.choice([str(i), i, rng.randbytes(2)]): random_value(rng, depth + 1) for i in range(rng.randrange(9))}


class Decode(ToolCase):
    def shown(self, v):
        return self.ok("decode", stdin=packed(v)).decode()

    def test_plain_values(self):
        for v, text in ((None, "nil"), (True, "true"), (-7, "-7"), ((1 << 64) - 1, "18446744073709551615"), (1.0, "1.0"), (0.1, "0.1"), ("ab", '"ab"'), (b"", "bin of 0 bytes"),
                        (b"\x01", "bin of 1 byte: 01"), (bytes(range(20)), "bin of 20 bytes: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f ..."),
                        ((5, b"xy"), "ext 5 of 2 bytes: 78 79"), ([], "list of 0"), ([1, "a"], 'list of 2: [1, "a"]'), ({}, "map of 0")):
            self.assertEqual(self.shown(v), text + "\n")
        self.assertEqual(self.ok("decode", stdin=b"\xca" + struct.pack(">f", 0.1)), b"0.1\n")

    def test_nesting(self):
        self.assertEqual(self.shown({"a": [[1], {"b": None}], 3: "x"}), 'map of 2\n  "a": list of 2\n    - list of 1: [1]\n    - map of 1\n      "b": nil\n  3: "x"\n')

    def test_tensors(self):
        for dtype, data, text in (("float32", struct.pack("<3f", 1, -2.5, float("inf")), "1 -2.5 inf"), ("float64", struct.pack("<3d", 0.1, 2, 3), "0.1 2 3"),
                                  ("int8", b"\xff\x00\x7f", "-1 0 127"), ("uint8", b"\xff\x00\x7f", "255 0 127"), ("bool", b"\x01\x00\x01", "true false true"),
                                  ("float16", struct.pack("<3e", 1.5, -65504, 2.0 ** -24), "1.5 -65504 5.9604645e-08"), ("bfloat16", b"\x80\x3f\x20\xc1\x00\x00", "1 -10 0"),
                                  ("complex64", struct.pack("<6f", 1, 2, 3, 4, 5, 6), "(1,2) (3,4) (5,6)"), ("float8_e5m2", b"\x00\x3c\xff", "0x00 0x3c 0xff")):
            self.assertEqual(self.shown(tensor(dtype, [3], data)), f"tensor {dtype} [3]: {text}\n")
        self.assertEqual(self.shown(tensor("int32", [], struct.pack("<i", 7))), "tensor int32 []: 7\n")
        self.assertEqual(self.shown(tensor("int32", [0, 3], b"")), "tensor int32 [0, 3]:\n")
        self.assertEqual(self.shown(tensor("uint8", [3, 4], bytes(range(12)))), "tensor uint8 [3, 4]: 0 1 2 3 4 5 6 7 ...\n")
        self.assertEqual(self.shown(tensor(">i2", [2], b"\x00\x01\x02\x00", "__ndarray__")), 'ndarray ">i2" [2]: 1 512\n')
        self.assertEqual(self.shown(tensor("<U1", [1], "ä".encode("utf-32-le"), "__ndarray__")), 'ndarray "<U1" [1]: 4 bytes: e4 00 00 00\n')
        self.assertEqual(self.shown({"__pil_image__": True, "mode": "RGB", "shape": [1, 1, 3], "data": b"\x01\x02\x03"}), 'image "RGB" [1, 1, 3]: 3 bytes: 01 02 03\n')

    def test_what_only_looks_like_a_tensor_is_shown_as_it_is(self):
        for wrong in (tensor("float32", [3], bytes(8)), tensor("float7", [2], bytes(8)), tensor("float32", [-1], b""), {**tensor("uint8", [1], b"1"), "__tensor__": 1}):
            self.assertTrue(self.shown(wrong).startswith("map of 4\n"), wrong)
        self.assertEqual(self.shown({**tensor("uint8", [1], b"\x01"), "more": 2}), 'tensor uint8 [1]: 1\n  "more": 2\n')

    def test_nothing_moves_the_cursor(self):
        out = self.ok("decode", stdin=packed({"\x1b[2J\r\n\x07": "\x9b1m\x7f"})).decode()
        self.assertTrue(all(c == "\n" or c.isprintable() for c in out), repr(out))
        self.assertIn('"\\x1b[2J\\x0d\\n\\x07"', out)
        self.assertIn('"\\xff\\xfe"', self.ok("decode", stdin=b"\xa2\xff\xfe").decode())  # no UTF-8
        self.assertIn("... (250 bytes)", self.shown("x" * 250))

    def test_hostile_bytes(self):
        for payload, kind, words in ((b"", "malformed", "is empty"), (b"\x92\x01", "malformed", "claims more"), (b"\x92\x01\xd1\x00", "malformed", "ends in the middle"), (b"\x01\x02", "malformed", "bytes follow"), (b"\xc1", "malformed", "0xc1"),
                                     (b"\xdd\xff\xff\xff\xff", "malformed", "claims more"), (b"\xdf\xff\xff\xff\xff" + bytes(9), "malformed", "claims more"),
                                     (b"\x91" * 2000 + b"\xc0", "too_large", "max_depth"), (b"\xc6\xff\xff\xff\xff", "malformed", "ends in the middle")):
            for more in ([], ["--json"]):
                done = self.fails(kind, words, "decode", *more, stdin=payload)
                self.assertEqual(done.stdout, b"")

    def test_random_bytes_never_do_harm(self):
        rng = random.Random(7)
        for _ in range(150):
            payload = bytearray(packed(random_value(rng)) or b"\0")
            for _ in range(rng.randrange(4)):
                payload[rng.randrange(len(payload))] = rng.randrange(256)
            done = self.run_tool("decode", stdin=bytes(payload))
            self.assertIn(done.returncode, (0, 16, 17), (bytes(payload), done.stderr))


class Encode(ToolCase):
    def test_json_becomes_msgpack(self):
        document = {"a": [1, -1, 1.5, None, True, "ä"], "b": {"c": {}}}
        self.assertEqual(self.ok("encode", stdin=json.dumps(document).encode()), packed(document))
        self.ok("encode", self.file("x.json", json.dumps(document)), "--out", self.folder / "x.msgpack")
        self.assertEqual((self.folder / "x.msgpack").read_bytes(), packed(document))

    def test_forms_for_what_json_lacks(self):
        def form(name, content):
            return self.ok("encode", stdin=json.dumps({name: content}).encode())
        self.assertEqual(form("__bytes__", base64.b64encode(b"\x00\xff").decode()), b"\xc4\x02\x00\xff")
        self.assertEqual(form("__ext__", [-1, ""]), b"\xc7\x00\xff")
        self.assertEqual(form("__float__", "-inf"), b"\xcb\xff\xf0" + bytes(6))
        self.assertEqual(form("__map__", [[1, 2], [1, 3]]), b"\x82\x01\x02\x01\x03")

    def test_decode_json_and_encode_are_inverse(self):
        rng = random.Random(3)
        for _ in range(150):
            payload = packed(random_value(rng))
            self.assertEqual(self.ok("encode", stdin=self.ok("decode", "--json", stdin=payload)), payload)

    def test_tensors_may_list_their_elements(self):
        def made(dtype, data, **more):
            return self.ok("encode", "--tensors", stdin=json.dumps({"x": [{"__tensor__": True, "dtype": dtype, "shape": [len(data)], "data": data, **more}]}).encode())
        for dtype, data, form in (("int8", [-128, 127], "<2b"), ("uint16", [0, 65535], "<2H"), ("int32", [-1, 1], "<2i"), ("uint64", [0, (1 << 64) - 1], "<2Q"), ("float32", [0.1, 3], "<2f"), ("float64", [0.1, 3], "<2d"),
                                  ("float16", [0.1, -65504], "<2e"), ("float16", [5.9604645e-08, 1e-9], "<2e"), ("bool", [True, False], "<2?")):
            self.assertEqual(made(dtype, data), packed({"x": [tensor(dtype, [2], struct.pack(form, *data))]}), dtype)
        self.assertEqual(made("bfloat16", [1, -10.0]), packed({"x": [tensor("bfloat16", [2], b"\x80\x3f\x20\xc1")]}))
        rng = random.Random(5)
        halves = [struct.unpack("<e", struct.pack("<H", rng.randrange(0x7c00)))[0] * rng.choice((1, -1)) for _ in range(15)] + [rng.uniform(-7e4, 7e4) for _ in range(15)]
        halves = [x for x in halves if abs(x) < 65520]
        self.assertEqual(made("float16", halves)[-2 * len(halves):], struct.pack(f"<{len(halves)}e", *halves))

    def test_without_the_option_a_list_stays_a_list(self):
        document = tensor("float32", [2], [1, 2])
        self.assertEqual(self.ok("encode", stdin=json.dumps(document).encode()), packed(document))

    def test_tensors_that_cannot_be(self):
        for change, kind, words in (({"data": [1, 2, 3]}, "malformed", "shape"), ({"data": [300, 1]}, "malformed", "the integer 300, which is no uint8"), ({"data": [1.5, 1]}, "malformed", "which is no uint8"),
                                    ({"dtype": "float7"}, "malformed", "dtype"), ({"dtype": 1}, "malformed", "dtype"), ({"dtype": "complex64"}, "unsupported", "__bytes__"), ({"shape": [-2]}, "malformed", "negative")):
            self.fails(kind, words, "encode", "--tensors", stdin=json.dumps({**tensor("uint8", [2], [1, 2]), **change}).encode())

    def test_bad_json(self):
        for text, kind, words in (("", "malformed", "line 1"), ("{", "malformed", "line 1"), ('{"a": 1}\n{', "malformed", "line 2"), ('{"a":1,"a":2}', "malformed", "comes twice"), ("[" * 200 + "]" * 200, "too_large", "max_depth"),
                                  ("123456789012345678901", "too_large", "64 bits"), ('{"__bytes__": "?"}', "malformed", "__bytes__"), ("NaN", "malformed", "line 1"), ("\"\xff\"".encode("latin-1"), "malformed", "line 1")):
            done = self.fails(kind, words, "encode", stdin=text if isinstance(text, bytes) else text.encode())
            self.assertEqual(done.stdout, b"")
        old = self.file("old", "old")
        self.fails("malformed", "", "encode", "--out", old, stdin=b"{")
        self.assertEqual(old.read_text(), "old")


if __name__ == "__main__":
    unittest.main()
