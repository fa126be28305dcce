"""Memory that a process frees and takes again."""

import ctypes
import platform
import subprocess
import sys

import pytest

from gqn_rl import machine

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
GIBIBYTE = 2**30

ACCEPTED = f"import ctypes; m = ctypes.CDLL(None).mallopt; print(m(-1, {GIBIBYTE}), m(-3, {GIBIBYTE}))"


def test_malloc_is_told_to_keep_buffers_of_every_size_of_a_step(monkeypatch):
    """Neither the heap's top nor a single buffer below 1 GiB goes back: where they lie is malloc's affair."""
    told = {}

    class Library:
        @staticmethod
        def mallopt(parameter, value):
            told[parameter] = value

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library)
    monkeypatch.setattr(sys, "platform", "linux")
    machine.keep_freed_memory()
    assert told == {M_TRIM_THRESHOLD: GIBIBYTE, M_MMAP_THRESHOLD: GIBIBYTE}


@pytest.mark.parametrize(("platform_name", "library"), [("darwin", None), ("linux", object())])
def test_other_systems_and_c_libraries_are_left_alone(monkeypatch, platform_name, library):
    """One without mallopt is no error; elsewhere no library is even opened."""

    def open_library(name):
        assert library is not None
        return library

    monkeypatch.setattr(ctypes, "CDLL", open_library)
    monkeypatch.setattr(sys, "platform", platform_name)
    machine.keep_freed_memory()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc of other C libraries cannot be told")
def test_glibc_accepts_both_thresholds():
    """In a process of its own, since they hold for good: mallopt returns 1 for what it has set."""
    assert subprocess.run([sys.executable, "-c", ACCEPTED], capture_output=True, text=True).stdout == "1 1\n"
