# SPDX-License-Identifier: Apache-2.0
"""As much of torch as vLLM-Omni's shared-memory connector and serializer touch, on numpy arrays.

Only bytes matter here: no arithmetic, no devices. Types that numpy lacks lie in unsigned integers of their size
(bfloat16 in uint16, float8 in uint8). Where torch raises RuntimeError for a shape or type that does not fit, so does this.
An attribute that is not here is an AttributeError, as an unknown dtype name is for torch.
"""
import sys

import numpy as _np

assert sys.byteorder == "little", "the raw bytes of tensors are little-endian"


class dtype:
    def __init__(self, name, storage):
        self._name = name
        self._storage = _np.dtype(storage)
        self.itemsize = self._storage.itemsize

    def __repr__(self):
        return f"torch.{self._name}"


_DTYPES = {
    "bool": "?", "uint8": "u1", "int8": "i1", "int16": "<i2", "int32": "<i4", "int64": "<i8",
    "uint16": "<u2", "uint32": "<u4", "uint64": "<u8",
    "float16": "<f2", "bfloat16": "<u2", "float32": "<f4", "float64": "<f8", "complex64": "<c8", "complex128": "<c16",
    "float8_e4m3fn": "u1", "float8_e4m3fnuz": "u1", "float8_e5m2": "u1", "float8_e5m2fnuz": "u1",
}  # fmt: skip
for _name, _storage in _DTYPES.items():
    globals()[_name] = dtype(_name, _storage)
_HAS_NUMPY_TYPE = {name for name in _DTYPES if not name.startswith(("bfloat", "float8"))}


class Size(tuple):
    __slots__ = ()


class device:
    def __init__(self, type="cpu", index=None):
        if str(type) != "cpu":
            raise RuntimeError(f"the torch stub has no device {type}")
        self.type, self.index = "cpu", index

    def __repr__(self):
        return "device(type='cpu')"


class Tensor:
    is_cuda = False
    requires_grad = False

    def __init__(self, array, dtype):
        self._array, self.dtype = array, dtype

    @property
    def shape(self):
        return Size(self._array.shape)

    @property
    def device(self):
        return device()

    @property
    def nbytes(self):
        return self._array.nbytes

    def dim(self):
        return self._array.ndim

    def numel(self):
        return self._array.size

    def element_size(self):
        return self.dtype.itemsize

    def detach(self):
        return self

    def cpu(self):
        return self

    def is_contiguous(self):
        return self._array.flags.c_contiguous

    def contiguous(self):
        return self if self.is_contiguous() else Tensor(self._array.copy(order="C"), self.dtype)

    def transpose(self, first, second):
        return Tensor(self._array.swapaxes(first, second), self.dtype)

    def reshape(self, *shape):
        shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        try:
            return Tensor(self._array.reshape(tuple(shape)), self.dtype)
        except ValueError as error:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {self.numel()}") from error

    def view(self, what):
        if not isinstance(what, dtype):
            raise RuntimeError("the torch stub views as another dtype only; use reshape")
        try:
            return Tensor(self._array.view(what._storage), what)
        except ValueError as error:
            raise RuntimeError(f"cannot view {self.dtype} of shape {list(self.shape)} as {what}: {error}") from error

    def numpy(self):
        if self.dtype._name not in _HAS_NUMPY_TYPE:
            raise TypeError(f"Got unsupported ScalarType {self.dtype}")
        return self._array

    def __repr__(self):
        return f"tensor(shape={list(self.shape)}, dtype={self.dtype})"


def empty(*shape, dtype=globals()["float32"], device="cpu"):
    shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    return Tensor(_np.empty(tuple(shape), dtype._storage), dtype)


def frombuffer(buffer, *, dtype):
    if len(buffer) == 0:
        raise ValueError("both buffer length (0) and count (-1) must not be 0")
    return Tensor(_np.frombuffer(buffer, dtype._storage), dtype)
