# SPDX-License-Identifier: Apache-2.0
"""Objects to send: made from a JSON description, the same ones for the same description on every machine.

A description has exactly one of these:

    {"seed": 7, "bytes": 65536}       a random nested dict of about that many bytes (0 to 128 MiB, 16384 by default), of which half or
                                      more is a single bytes, str or tensor. From 1024 bytes, any 20 seeds in a row have every dtype.
    {"blob": 4096, "seed": 7}         that many random bytes as a bare `bytes` object
    {"tensor": [2, 3], "dtype": "bfloat16", "seed": 7}
                                      {"data": <random tensor of that shape>}; the dtype is float32 if none is named
    {"file": "/path"}                 what OmniSerializer makes of the file's MessagePack
    {"base64": "gaFhAQ=="}            the same, the MessagePack given inline
    {"json": ...}                     the JSON value as it is

Only documented calls of torch, numpy and PIL are used, so that the real torch would do as well as the stub.
"""
import base64
import datetime
import math
import random
import struct

import peer_env  # noqa: F401  before torch
import numpy as np
import torch
from PIL import Image
from vllm.outputs import CompletionOutput, RequestOutput
from vllm_omni.distributed.omni_connectors.utils.serialization import OmniSerializer
from vllm_omni.outputs import OmniRequestOutput

LIMIT = 128 << 20
DEFAULT_BYTES = 16384
TENSOR_DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "bfloat16", "float32", "float64",
    "complex64", "complex128", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
)  # fmt: skip
NDARRAY_DTYPES = (
    "|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8", "<c8", "<c16", ">i2", ">i4", ">f8", ">c8",
    "<M8[s]", "<m8[ns]",
)  # fmt: skip
# "1", "I" and "F" are left out: the connector writes them, but PIL refuses what it reads back.
IMAGE_CHANNELS = {"L": 1, "LA": 2, "P": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "YCbCr": 3, "HSV": 3}
INTEGERS = (0, 1, -1, 127, 128, -32, -33, -128, -129, 255, 256, 65535, 65536, -32768, -32769, 2**31, -(2**31), -(2**31) - 1, 2**32 - 1,
            2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1)  # fmt: skip
NAN_WITH_PAYLOAD = struct.unpack("<d", struct.pack("<Q", 0x7FF80000DEADBEEF))[0]
FLOATS = (0.0, -0.0, 1.0, -1.5, 0.1, math.nan, NAN_WITH_PAYLOAD, math.inf, -math.inf, 5e-324, 2.2250738585072014e-308,
          1.7976931348623157e308)  # fmt: skip
SHAPES = ((), (0,), (1,), (0, 4), (4, 0), (2, 0, 3), (7,), (2, 3), (3, 1, 5), (2, 2, 2, 2), (1, 1, 1, 1, 1, 1), (257,))
LENGTHS = (0, 1, 15, 16, 31, 32, 255, 256, 1000, 65535, 65536)  # the edges between MessagePack's headers, and one in between
WORDS = ("hidden_states", "codes.audio", "meta", "ids", "latent", "größe", "音声", "🔊", "", " ", "a\0b", "x" * 31, "x" * 32, "\u200d",
         "\U0010ffff")  # fmt: skip


class DescriptionError(ValueError):
    pass


def random_bytes(seed, count):
    """The raw stream of PCG64 is promised to stay the same in every numpy, what Generator makes of it is not."""
    return np.random.PCG64(seed).random_raw(-(-count // 8)).astype("<u8").tobytes()[:count] if count else b""


def make_tensor(seed, dtype, shape):
    kind = getattr(torch, dtype)
    count = math.prod(shape)
    if count == 0:
        return torch.empty(shape, dtype=kind)
    data = bytearray(random_bytes(seed, count * torch.empty((), dtype=kind).element_size()))
    if dtype == "bool":
        data = bytearray(byte & 1 for byte in data)
    return torch.frombuffer(data, dtype=torch.uint8).view(kind).reshape(tuple(shape))


class Maker:
    def __init__(self, seed, budget):
        self.seed = seed
        self.random = random.Random(f"omniconn {seed}")
        self.budget = budget
        self.left = budget

    def payload(self):
        """At 0 bytes the smallest objects there are; else first the parts which every seed has, then random ones, then the bulk."""
        if self.budget == 0:
            return self.random.choice([None, False, 0, "", b"", [], {}])
        top = {}
        parts = [
            ("tensor", lambda: self.tensor(TENSOR_DTYPES[self.seed % len(TENSOR_DTYPES)])),
            ("array", lambda: self.ndarray(NDARRAY_DTYPES[self.seed % len(NDARRAY_DTYPES)])),
            ("image", lambda: self.image(list(IMAGE_CHANNELS)[self.seed % len(IMAGE_CHANNELS)])),
            ("output", lambda: self.output(self.seed % 3)),
            ("integer", lambda: INTEGERS[self.seed % len(INTEGERS)]),
            ("float", lambda: FLOATS[self.seed % len(FLOATS)]),
            ("when", self.moment),
        ]
        if self.budget >= 1024:
            top = {name: make() for name, make in parts}
        nested = min(self.left, max(256, min(self.budget // 2, 1 << 16)))
        bulk, self.left = self.left - nested, nested
        while self.left > 0:
            top[self.key(top)] = self.value(5)
        if bulk > 512:
            top["bulk"] = self.bulk(bulk)
        return top

    def spend(self, count):
        self.left -= count + 8  # headers and names, about

    def length(self):
        """Mostly short; now and then one beside an edge between headers, if there is room."""
        if self.random.random() < 0.25:
            return self.random.choice([n for n in LENGTHS if n <= max(self.left, 0)] or [0])
        return min(self.random.randrange(1, 40), max(self.left, 0))

    def bulk(self, count):
        kind = self.random.randrange(3)
        if kind == 0:
            return random_bytes(self.random.getrandbits(64), count)
        if kind == 1:
            unit = self.random.choice(["a", "ß", "音", "🔊"])
            return unit * (count // len(unit.encode()))
        dtype = self.random.choice(TENSOR_DTYPES)
        return make_tensor(self.random.getrandbits(64), dtype, (count // torch.empty((), dtype=getattr(torch, dtype)).element_size(),))

    def value(self, depth):
        makers = [lambda: None, lambda: self.random.random() < 0.5, self.integer, self.floating, self.text, self.blob, self.tensor]
        makers += [self.ndarray, self.image, self.moment, lambda: slice(0, self.random.randrange(99), None)]
        makers += [lambda: self.output(self.random.randrange(3))]
        containers = [lambda: self.sequence(depth), lambda: self.mapping(depth)]
        weights = [2, 2, 5, 4, 5, 4, 4, 2, 1, 1, 1, 1] + [6, 6]
        if depth == 0 or self.left <= 0:
            containers, weights = [], weights[: len(makers)]
        self.spend(0)
        return self.random.choices(makers + containers, weights)[0]()

    def sequence(self, depth):
        if self.random.random() < 0.1:  # many small ones
            items = [self.random.choice([None, True, 7, -7])] * self.length()
            self.spend(len(items))
        else:
            items = [self.value(depth - 1) for _ in range(self.random.randrange(5))]
        return tuple(items) if self.random.random() < 0.2 else items

    def mapping(self, depth):
        made = {}
        for _ in range(self.random.choice([0, 1, 2, 3, 4, 5, 16])):
            made[self.key(made)] = self.value(depth - 1) if self.left > 0 else None
        return made

    def key(self, taken):
        while True:
            roll = self.random.random()
            if roll < 0.5:
                key = self.random.choice(WORDS)
            elif roll < 0.85:
                key = self.text()
            else:
                key = self.random.choice([self.integer(), self.raw()[:40], None, True, self.random.random(), (1, "a"), ()])
            if key not in taken:  # 1, 1.0 and True are one key in Python
                self.spend(0)
                return key

    def integer(self):
        if self.random.random() < 0.7:
            return self.random.choice(INTEGERS)
        return self.random.getrandbits(self.random.randrange(1, 65)) - (2**63 if self.random.random() < 0.3 else 0)

    def floating(self):
        return self.random.choice(FLOATS) if self.random.random() < 0.6 else self.random.gauss(0, 1e3)

    def text(self):
        count = self.length()
        self.spend(count)
        if count >= 255:  # exactly that many bytes
            return "t" * count
        planes = [(0, 128), (128, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000)]
        return "".join(chr(self.random.randrange(*planes[min(int(self.random.expovariate(1.2)), 4)])) for _ in range(count))

    def raw(self):
        count = self.length()
        self.spend(count)
        return random_bytes(self.random.getrandbits(64), count)

    def blob(self):
        return self.random.choice([bytes, bytes, bytes, bytearray, memoryview])(self.raw())

    def shape(self, item):
        return self.random.choice([shape for shape in SHAPES if math.prod(shape) * item <= max(self.left, 16)])

    def tensor(self, dtype=None):
        dtype = dtype or self.random.choice(TENSOR_DTYPES)
        shape = self.shape(torch.empty((), dtype=getattr(torch, dtype)).element_size())
        tensor = make_tensor(self.random.getrandbits(64), dtype, shape)
        self.spend(tensor.nbytes + 40)
        if len(shape) == 2 and self.random.random() < 0.3:
            tensor = tensor.transpose(0, 1)  # not contiguous
        return tensor

    def ndarray(self, dtype=None):
        if dtype is None and self.random.random() < 0.15:
            return np.array(["a", "größe", "音"]) if self.random.random() < 0.5 else np.array([b"ab", b"c"])
        kind = np.dtype(dtype or self.random.choice(NDARRAY_DTYPES))
        shape = self.shape(kind.itemsize)
        data = random_bytes(self.random.getrandbits(64), math.prod(shape) * kind.itemsize)
        if kind.kind == "b":
            data = bytes(byte & 1 for byte in data)
        array = np.frombuffer(data, kind).reshape(shape)
        self.spend(array.nbytes + 40)
        return np.asfortranarray(array) if self.random.random() < 0.2 else array

    def image(self, mode=None):
        mode = mode or self.random.choice(list(IMAGE_CHANNELS))
        width, height = self.random.randrange(1, 9), self.random.randrange(1, 9)
        count = width * height * IMAGE_CHANNELS[mode]
        self.spend(count + 40)
        return Image.frombytes(mode, (width, height), random_bytes(self.random.getrandbits(64), count))

    def moment(self):
        """Seconds that fit each of the three forms of MessagePack's timestamp."""
        seconds = self.random.choice([0, 1, 2**32 - 1, 2**32, 2**33, -1, -(2**33)])
        zero = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return zero + datetime.timedelta(seconds=seconds, microseconds=self.random.choice([0, 0, 1, 999999]))

    def output(self, kind):
        done = CompletionOutput(0, self.text(), [1, 2, 2**31], -0.5, None, finish_reason=self.random.choice([None, "stop"]))
        self.spend(300)
        if kind == 0:
            return done
        request = {"request_id": "r-1", "prompt": self.text(), "prompt_token_ids": [5, 6], "prompt_logprobs": None, "outputs": [done]}
        if kind == 1:
            made = RequestOutput(**request, finished=False, num_cached_tokens=3)
            made.multimodal_output = {"audio": self.tensor()}
            return made
        return OmniRequestOutput(**request, images=[self.image()], stage_id=1, final_output_type="audio", latents=self.tensor())


def _exactly(description, first, *others):
    unknown = set(description) - {first, *others}
    if unknown:
        raise DescriptionError(f"a payload of kind {first!r} has no field {', '.join(sorted(map(repr, unknown)))}")


def _number(description, name, default=None, limit=2**63 - 1):
    number = description.get(name, default)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= limit:
        raise DescriptionError(f"payload: {name!r} has to be an integer from 0 to {limit}, not {number!r}")
    return number


def make(description):
    """The object. DescriptionError names what is wrong with the description; other errors come from the files and the decoder."""
    if not isinstance(description, dict):
        raise DescriptionError(f"payload has to be an object such as {{\"seed\": 1}}, not {type(description).__name__}")
    if "blob" in description:
        _exactly(description, "blob", "seed")
        return random_bytes(_number(description, "seed", 0), _number(description, "blob", limit=LIMIT))
    if "tensor" in description:
        _exactly(description, "tensor", "dtype", "seed")
        shape, dtype = description["tensor"], description.get("dtype", "float32")
        if not isinstance(shape, list) or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in shape):
            raise DescriptionError(f"payload: 'tensor' has to be a list of sizes such as [2, 3], not {shape!r}")
        if dtype not in TENSOR_DTYPES:
            raise DescriptionError(f"payload: unknown dtype {dtype!r}; known: {', '.join(TENSOR_DTYPES)}")
        if math.prod(shape) * getattr(torch, dtype).itemsize > LIMIT:
            raise DescriptionError(f"payload: a tensor of more than {LIMIT} bytes")
        return {"data": make_tensor(_number(description, "seed", 0), dtype, shape)}
    if "seed" in description:
        _exactly(description, "seed", "bytes")
        return Maker(_number(description, "seed"), _number(description, "bytes", DEFAULT_BYTES, LIMIT)).payload()
    if "json" in description:
        _exactly(description, "json")
        return description["json"]
    for kind in ("file", "base64"):
        if kind in description:
            _exactly(description, kind)
            if not isinstance(description[kind], str):
                raise DescriptionError(f"payload: {kind!r} has to be a string, not {description[kind]!r}")
            return OmniSerializer.deserialize(_msgpack_of(kind, description[kind]))
    raise DescriptionError(f"payload needs one of seed, blob, tensor, file, base64, json; it has {', '.join(description) or 'nothing'}")


def _msgpack_of(kind, text):
    if kind == "base64":
        try:
            return base64.b64decode(text, validate=True)
        except ValueError as error:
            raise DescriptionError(f"payload: 'base64' is not base64: {error}") from error
    with open(text, "rb") as file:
        return file.read()
