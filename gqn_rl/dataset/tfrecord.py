"""TFRecord files: a row of records, each with checksums of its length and of its data; damage costs only its record.

uint64 length | uint32 masked CRC-32C of the length | data | uint32 masked CRC-32C of the data, little-endian.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gqn_rl.artefacts.files import open_regular
from gqn_rl.dataset.crc32c import masked_crc32c

_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")
_LIKE_A_LENGTH = re.compile(rb"(?=(?!\0{4})[\s\S]{4}\0{4})")
"""Where the length of a record could stand: between 1 and 2³² - 1."""
_MOST_IN_VAIN = 4
"""Bytes of damaged records that are read to find out, as a multiple of the file's size; whole files need none."""


class Record(NamedTuple):
    """One record, or a damaged stretch of the file.

    Attributes:
        offset: where it begins, in bytes.
        end: where reading goes on.
        data: its content; empty when damaged.
        fault: what is wrong with it; None when its checksums are right.
    """

    offset: int
    end: int
    data: bytes
    fault: str | None


def read_records(path: Path, start: int = 0) -> Iterator[Record]:
    """Yields the records of a file from byte `start` on, the damaged ones marked, up to the last byte.

    After damage, reading goes on at the next place with a length whose checksum is right. A file that makes this cost
    more than `_MOST_IN_VAIN` times its size (lengths that overlap, each with a right checksum) is given up from there.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:  # which cannot be mapped
            if start == 0:
                yield Record(0, 1, b"", "the file is empty, perhaps a download that failed")
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            in_vain = 0
            while start < len(content):
                record = _record_at(content, start)
                if record.fault is not None:
                    in_vain += _claimed(content, start)
                if in_vain > _MOST_IN_VAIN * len(content):
                    fault = "its lengths overlap so often that the rest of the file is given up"
                    record = Record(start, len(content), b"", fault)
                yield record
                start = record.end


def _claimed(content: mmap.mmap, offset: int) -> int:
    """Returns how many bytes were checked in vain at a damaged record."""
    length = _length_at(content, offset)
    return 0 if length is None or offset + _HEADER.size + length + _FOOTER.size > len(content) else length


def _record_at(content: mmap.mmap, offset: int) -> Record:
    length = _length_at(content, offset)
    if length is None:
        return Record(offset, _next_header(content, offset + 1), b"", "its length fails the checksum")
    begin = offset + _HEADER.size
    end = begin + length + _FOOTER.size
    if end > len(content):
        return Record(offset, _next_header(content, begin), b"", "the file ends inside it")
    data = content[begin : begin + length]
    if _FOOTER.unpack_from(content, begin + length)[0] == masked_crc32c(data):
        return Record(offset, end, data, None)
    is_in_place = end == len(content) or _length_at(content, end) is not None  # else bytes may be missing from it
    return Record(offset, end if is_in_place else _next_header(content, begin), b"", "its data fail the checksum")


def _length_at(content: mmap.mmap, offset: int) -> int | None:
    """Returns the length that stands at `offset`, None when there is none that its checksum confirms."""
    if offset + _HEADER.size > len(content):
        return None
    length, checksum = _HEADER.unpack_from(content, offset)
    return length if checksum == masked_crc32c(content[offset : offset + 8]) else None


def _next_header(content: mmap.mmap, start: int) -> int:
    """Returns the first place from `start` on where a record begins, the file's end when there is none."""
    for match in _LIKE_A_LENGTH.finditer(content, start):
        offset = match.start()
        end = offset + int.from_bytes(content[offset : offset + 4], "little")
        if end < len(content) and _length_at(content, offset) is not None:
            return offset
    return len(content)
