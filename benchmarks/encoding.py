"""Milliseconds to encode a picture: torch beside the compiled runtimes, all of them taking turns.

    python -m benchmarks.encoding [encoder=jaco] [rounds=40] [out=results/benchmarks]

One thread, pictures of noise, batches of one environment, of the 8 that a worker has in training on two cores, and of
16 and 32. Every round gives each runtime one turn; the table has the least and the median of wall-clock and of
processor milliseconds a picture, how many times torch's speed that is, and the share of the peak: arithmetic a second
over that of a 1024² matrix product by torch, which takes its turn too. It is done twice: with glibc's malloc as it
is, as whoever calls `load_encoder` in a program of their own has it, and keeping freed memory, as this package's
commands do (`gqn_rl.machine`), which helps torch alone. Then, for each runtime in a process of its own: processor
seconds of the first picture, with the cache of exported encoders empty and full, and by how much the process grows.
bfloat16 is measured where the processor computes it. Beside other programs trust processor time and the ratios.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training import machine, settings_of, write
from gqn_rl import load_encoder
from gqn_rl.machine import keep_freed_memory
from gqn_rl.representation import SceneEncoder
from gqn_rl.runtimes import TORCH
from gqn_rl.runtimes.cache import FOLDER_VARIABLE
from gqn_rl.runtimes.onnx_file import random_views

BATCH_SIZES = (1, 8, 16, 32)
RUNTIMES = ((TORCH, "float32"), ("onnx", "float32"), ("openvino", "float32"), ("openvino", "bf16"))
PEAK_SIZE = 1024
MALLOCS = ("as it is", "keeps freed memory")


def available(name: str) -> dict[str, SceneEncoder]:
    """Loads the encoder once for every runtime and number format that this machine has."""
    found = {}
    for runtime, precision in RUNTIMES:
        try:
            found[f"{runtime}, {precision}"] = load_encoder(name, runtime=runtime, precision=precision).prepare()
        except ValueError as error:
            print(f"left out: {error}", file=sys.stderr)
    return found


def turns(encoders: dict[str, SceneEncoder], batch: int, rounds: int) -> list[dict[str, Any]]:
    """Returns a row for each runtime: milliseconds a picture, and how far its features are from torch's."""
    views = random_views(next(iter(encoders.values())).image_size, batch)
    reference = next(iter(encoders.values())).encode_views(*views)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in encoders}
    square, products = torch.randn(PEAK_SIZE, PEAK_SIZE), []
    for _ in range(rounds):
        for name, encoder in encoders.items():
            times[name].append(timed(functools.partial(encoder.encode_views, *views)))
        products.append(timed(lambda: square @ square)[1])
    peak_gflop_per_s = 2e-9 * PEAK_SIZE**3 / statistics.median(products)
    gflop, rows = gflop_of(next(iter(encoders.values()))), []
    for name, found in times.items():
        row: dict[str, Any] = {"runtime": name, "batch": batch}
        for kind, seconds in zip(("wall", "cpu"), zip(*found, strict=True), strict=True):
            row[f"{kind}_ms_min"] = round(1e3 / batch * min(seconds), 3)
            row[f"{kind}_ms_median"] = round(1e3 / batch * statistics.median(seconds), 3)
        difference = np.abs(encoders[name].encode_views(*views) - reference).max()
        rows.append(row | {"largest_difference": f"{difference:.1e}"})
    for row in rows:
        row["times_torch"] = round(rows[0]["cpu_ms_median"] / row["cpu_ms_median"], 2)
        row["share_of_peak"] = round(1e3 * gflop / row["cpu_ms_median"] / peak_gflop_per_s, 2)
        row["peak_gflop_per_s"] = round(peak_gflop_per_s, 1)
    return rows


def gflop_of(encoder: SceneEncoder) -> float:
    """Returns the arithmetic of a picture, counted while torch encodes it."""
    with FlopCounterMode(display=False) as counter:
        encoder.encode_views(*random_views(encoder.image_size, 1))
    return counter.get_total_flops() / 1e9


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Calls a function; returns seconds by the clock and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor


def speeds(name: str, malloc: str, rounds: int) -> list[dict[str, Any]]:
    """Returns the rows of every batch size in this process."""
    if malloc == MALLOCS[1]:
        keep_freed_memory()
    encoders = available(name)
    return [{"malloc": malloc, **row} for batch in BATCH_SIZES for row in turns(encoders, batch, rounds)]


def start(name: str, runtime: str, precision: str) -> list[dict[str, Any]]:
    """Returns what this process pays before and at its first picture, twice: the second finds the cache full."""
    try:
        encoder = load_encoder(name, runtime=runtime, precision=precision)
    except ValueError:
        return []
    views, before = random_views(encoder.image_size, 1), resident_mib()
    first = timed(lambda: encoder.encode_views(*views))[1]
    return [
        {"runtime": f"{runtime}, {precision}", "first_picture_cpu_s": round(first, 2)}
        | {"grows_by_mib": round(resident_mib() - before)}
    ]


def resident_mib() -> float:
    """Returns the memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def in_a_process(*words: str, **environment: str) -> list[dict[str, Any]]:
    """Runs a function of this file in a process of its own, with one thread; returns its rows."""
    command = [sys.executable, "-m", "benchmarks.encoding", "--one", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return json.loads(answer.strip().splitlines()[-1])


def one(what: str, name: str, *words: str) -> list[dict[str, Any]]:
    """Measures one thing in this process."""
    torch.set_num_threads(1)
    return speeds(name, words[0], int(words[1])) if what == "speeds" else start(name, *words)


def main() -> None:
    """Prints the tables and writes them."""
    args = settings_of(sys.argv[1:], encoder="jaco", rounds=40, out="results/benchmarks")
    name, rounds, out = args["encoder"], args["rounds"], pathlib.Path(args["out"])
    command = f"python -m benchmarks.encoding encoder={name} rounds={rounds}; {machine()}"
    rows = [row for malloc in MALLOCS for row in in_a_process("speeds", name, malloc, str(rounds))]
    starts = []
    for runtime, precision in RUNTIMES:
        with tempfile.TemporaryDirectory() as cache:
            for state in ("empty", "full"):
                found = in_a_process("start", name, runtime, precision, **{FOLDER_VARIABLE: cache})
                starts += [{"cache": state, **row} for row in found]
    for table, file in ((rows, "encoding.csv"), (starts, "encoding_start.csv")):
        for row in table:
            print("  ".join(f"{value!s:>20}" for value in row.values()))
        write(out / file, table, command)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(*sys.argv[2:])))
    else:
        main()
