"""How many threads encode: one for a few pictures, which several would only keep waiting for each other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

SMALL_BATCH = 8
"""Pictures that one thread encodes at a time: with two, torch took up to four times the processor time for them."""


def encoding_threads(num_views: int) -> int:
    """Returns how many threads encode so many pictures: as many as torch has, or one for `SMALL_BATCH` at most."""
    return 1 if num_views <= SMALL_BATCH else torch.get_num_threads()


@contextlib.contextmanager
def computing_with(num_threads: int) -> Iterator[None]:
    """Lets torch compute with this many threads, and afterwards with as many as before.

    Torch keeps the number for every thread of the program on its own, so those that compute meanwhile keep theirs; it
    takes a third of a microsecond.
    """
    before = torch.get_num_threads()
    if before == num_threads:
        yield
        return
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
