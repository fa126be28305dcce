"""tf.Example: as much of the protobuf wire format as it takes to read a record's named lists of bytes and of floats.

Example {Features features = 1}, Features {map<string, Feature> feature = 1}, a map being entries {key = 1, value = 2},
Feature {BytesList bytes_list = 1 | FloatList float_list = 2 | Int64List int64_list = 3}, a list {repeated value = 1}.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_VARINT, _EIGHT_BYTES, _LENGTH_GIVEN, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10
_BYTES_LIST, _FLOAT_LIST = 1, 2


def parse_example(record: bytes) -> dict[str, list[bytes] | np.ndarray]:
    """Returns the features of a serialized tf.Example by name: lists of bytes, and float32 arrays.

    Lists of integers are left out. Floats may be packed or not, as protobuf demands of a reader.

    Raises:
        ValueError: the record is no such message.
    """
    features: dict[str, list[bytes] | np.ndarray] = {}
    for example_field, feature_map in _fields(memoryview(record)):
        if example_field != 1:
            continue
        for map_field, entry in _fields(feature_map):
            if map_field == 1:
                parts = dict(_fields(entry))
                name = bytes(parts.get(1, b"")).decode("utf-8", "replace")
                for kind, values in _fields(parts.get(2, memoryview(b""))):
                    if kind == _BYTES_LIST:
                        features[name] = [bytes(value) for field, value in _fields(values) if field == 1]
                    elif kind == _FLOAT_LIST:
                        floats = b"".join(value for field, value in _fields(values) if field == 1)
                        features[name] = _floats(floats)
    return features


def _floats(packed: bytes) -> np.ndarray:
    if len(packed) % 4:
        raise ValueError("a list of floats in it has a broken length")
    return np.frombuffer(packed, "<f4").astype(np.float32)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields (number, content) of a message's fields."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind, begin = tag & 7, place
        if kind == _VARINT:
            _, end = _varint(message, begin)
        elif kind == _LENGTH_GIVEN:
            size, begin = _varint(message, begin)
            end = begin + size
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            end = begin + (8 if kind == _EIGHT_BYTES else 4)
        else:
            raise ValueError(f"it is no tf.Example (wire type {kind})")
        if end > len(message):
            raise ValueError("it is no tf.Example (a field reaches beyond its end)")
        yield tag >> 3, message[begin:end]
        place = end


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Returns the number that begins at `place`, seven bits a byte and the lowest first, and where it ends."""
    value = 0
    for number, byte in enumerate(message[place : place + _LONGEST_VARINT]):
        value |= (byte & 127) << 7 * number
        if byte < 128:
            return value, place + number + 1
    raise ValueError("it is no tf.Example (a number has no end)")
