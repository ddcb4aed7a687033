"""A small reader of GGUF files, version 2 and 3: metadata, and tensors as dequantised arrays.

It exists so that the reference of a model shares no code with the engine that it checks. Layout
after the GGUF specification in the ggml repository (docs/gguf.md); block formats after ggml's
`block_q4_0`, `block_q4_1` and `block_q8_0`. Only the tensor types named in `_BLOCKS` and plain
floats are read; any other type is an error.
"""

import math
import struct

import numpy as np

_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_PLAIN = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 28: np.dtype("<f8")}
_BLOCK = 32
_Q4_0, _Q4_1, _Q8_0 = 2, 3, 8
_BLOCKS = {
    _Q4_0: np.dtype([("d", "<f2"), ("q", "u1", 16)]),
    _Q4_1: np.dtype([("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)]),
    _Q8_0: np.dtype([("d", "<f2"), ("q", "i1", 32)]),
}


class GgufFile:
    """A memory-mapped GGUF file; `metadata` maps its keys to Python values."""

    def __init__(self, path):
        self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
        self._at = 0
        if self._take(4) != b"GGUF":
            raise ValueError(f"{path}: not a GGUF file")
        version = self._scalar("<I")
        if version not in (2, 3):
            raise ValueError(f"{path}: GGUF version {version}, expected 2 or 3")
        tensors, entries = self._scalar("<Q"), self._scalar("<Q")
        self.metadata = {}
        for _ in range(entries):
            key = self._string()
            self.metadata[key] = self._value(self._scalar("<I"))
        self._tensors = {}
        for _ in range(tensors):
            name = self._string()
            # GGUF lists the fastest axis first; NumPy wants it last.
            shape = tuple(self._scalar("<Q") for _ in range(self._scalar("<I")))[::-1]
            kind = self._scalar("<I")
            self._tensors[name] = (shape, kind, self._scalar("<Q"))
        alignment = self.metadata.get("general.alignment", 32)
        self._data = -(-self._at // alignment) * alignment

    def names(self):
        """The names of all tensors, in file order."""
        return list(self._tensors)

    def tensor(self, name, dtype=np.float32):
        """The named tensor as a dense array; quantised blocks are expanded in `dtype`."""
        shape, kind, offset = self._tensors[name]
        start, count = self._data + offset, math.prod(shape)
        if kind in _PLAIN:
            plain = _PLAIN[kind]
            return (
                self._bytes[start : start + count * plain.itemsize]
                .view(plain)
                .reshape(shape)
                .astype(dtype)
            )
        if kind not in _BLOCKS:
            raise ValueError(f"{name}: tensor type {kind} is not read here")
        block = _BLOCKS[kind]
        raw = np.asarray(self._bytes[start : start + count // _BLOCK * block.itemsize]).view(block)
        scale = raw["d"].astype(dtype)[:, None]
        if kind == _Q8_0:
            values = scale * raw["q"].astype(dtype)
        else:
            # The low nibbles hold the first half of a block and the high nibbles the second.
            q = np.concatenate([raw["q"] & 15, raw["q"] >> 4], axis=1).astype(dtype)
            values = (
                scale * (q - 8) if kind == _Q4_0 else scale * q + raw["m"].astype(dtype)[:, None]
            )
        return values.reshape(shape)

    def _take(self, count):
        if self._at + count > len(self._bytes):
            raise ValueError("GGUF file is truncated")
        self._at += count
        return self._bytes[self._at - count : self._at].tobytes()

    def _scalar(self, form):
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _string(self):
        return self._take(self._scalar("<Q")).decode("utf-8")

    def _value(self, kind):
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            item, count = self._scalar("<I"), self._scalar("<Q")
            return [self._value(item) for _ in range(count)]
        return self._scalar(_SCALARS[kind])
