#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/msgpack_corpus/: hostile MessagePack files, each named <expected>-<what it is>.

<expected> is the error kind which a decoder has to give, or `value` where it has to give one. The test reads the names;
the fuzzer starts from the files. Run it again after adding one: files of the same content keep their names.
"""
import pathlib
import struct

TENSOR = bytes.fromhex("84aa5f5f74656e736f725f5fc3a56474797065a4696e7438a57368617065920203a464617461c406000102030405")


def text(s):
    return bytes([0xA0 + len(s)]) + s.encode()


def tensor(dtype="int8", shape=b"\x92\x02\x03", data=b"\xc4\x06" + bytes(6)):
    return b"\x84" + text("__tensor__") + b"\xc3" + text("dtype") + text(dtype) + text("shape") + shape + text("data") + data


FILES = {
    "malformed-empty": b"",
    "malformed-never_used": b"\xc1",
    "malformed-never_used_inside": b"\x93\x01\xc1\x02",
    "malformed-array_of_96_gb": b"\xdd\xff\xff\xff\xff",
    "malformed-map_of_192_gb": b"\xdf\xff\xff\xff\xff",
    "malformed-array_of_2_31": b"\xdd\x80\x00\x00\x00" + b"\xc0" * 40,
    "malformed-nested_huge_arrays": b"\xdd\x00\x00\x00\xff" * 50,
    "malformed-str_of_4_gb": b"\xdb\xff\xff\xff\xff" + b"x" * 20,
    "malformed-bin_of_4_gb": b"\xc6\xff\xff\xff\xff" + b"x" * 20,
    "malformed-ext_of_4_gb": b"\xc9\xff\xff\xff\xff\x01" + b"x" * 20,
    "malformed-str_one_short": b"\xa5abcd",
    "malformed-bin16_one_short": b"\xc5\x00\x10" + b"x" * 15,
    "malformed-ext8_without_type": b"\xc7\x00",
    "malformed-fixext_short": b"\xd8\x01" + b"x" * 15,
    "malformed-half_a_double": b"\xcb\x3f\xf0\x00\x00",
    "malformed-map_without_item": b"\x81\xa1a",
    "malformed-trailing_byte": b"\x90\x00",
    "malformed-two_documents": TENSOR + TENSOR,
    "malformed-tensor_truncated": TENSOR[:-1],
    "malformed-million_nils_and_a_lie": b"\xdd\x00\x01\x00\x00" + b"\xc0" * 65535,
    "too_large-deep_arrays": b"\x91" * 5000 + b"\xc0",
    "too_large-deep_maps": b"\x81\xc0" * 5000 + b"\xc0",
    "too_large-deep_keys": b"\x81" * 300 + b"\xc0" * 301,
    "too_large-deep_unclosed": b"\x91" * 5000,
    "value-deep_as_allowed": b"\x91" * 128 + b"\xc0",
    "value-empty_containers": b"\x93\x90\x80\x92\x80\x90",
    "value-keys_of_any_kind": b"\x86\xc0\x01\x90\x02\x80\x03\xcb" + struct.pack(">d", 1.5) + b"\x04\xc4\x01k\x05\xd4\x01e\x06",
    "value-repeated_keys": b"\x83\xa1a\x01\xa1a\x02\xa1a\x03",
    "value-tensor_that_is_none": b"\x81" + text("__tensor__") + b"\xc3",
    "value-tensor_unknown_dtype": tensor(dtype="int9"),
    "value-tensor_negative_dimension": tensor(shape=b"\x92\xfe\xfd"),
    "value-tensor_overflowing_shape": tensor(shape=b"\x92" + b"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff" * 2),
    "value-tensor_too_many_dimensions": tensor(shape=b"\xdc\x00\x20" + b"\x01" * 32),
    "value-tensor_shape_is_not_its_bytes": tensor(shape=b"\x92\x02\x04"),
    "value-tensor_shape_of_floats": tensor(shape=b"\x91\xcb" + struct.pack(">d", 6.0)),
    "value-text_that_is_not_utf8": b"\xa4\xff\xfe\xc0\x80",
    "value-signalling_nan": b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x01",
    "value-timestamp_96": b"\xc7\x0c\xff" + bytes(12),
}


def main():
    folder = pathlib.Path(__file__).resolve().parent / "msgpack_corpus"
    folder.mkdir(exist_ok=True)
    for name, content in FILES.items():
        (folder / f"{name}.bin").write_bytes(content)


if __name__ == "__main__":
    main()
