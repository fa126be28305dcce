"""Memory that a process frees and takes again."""

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, torch
from gqn_rl.machine import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(2**22)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
handed_back = faults()
keep_freed_memory()
torch.ones(2**22)
print(handed_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc of other C libraries cannot be told")
def test_buffers_of_a_step_cost_no_page_faults():
    """Eight times 16 MiB are 32 768 pages of 4 KiB, each of which the system hands out anew unless it is kept."""
    process = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True)
    handed_back, kept = map(int, process.stdout.split())
    assert kept < 100 < handed_back
