"""Where the time of a GQN training step goes: shares of convolutions, pointwise operations, copies and Adam.

    python -m benchmarks.training_profile [threads=1] [batch=8] [rounds=3] [model=paper] [out=results/benchmarks]

Self time by torch.profiler of `Trainer.update` on the paper's model, medians over rounds. Prints the table and writes
`training_profile.csv`; with `model=points` on gqn_points in batches of 32, `training_profile_points.csv`. There matrix
products are mostly convolutions by minimal filtering (`gqn_rl/models/winograd.py`).
"""

from __future__ import annotations

import itertools
import pathlib
import shlex
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator

import torch
from torch.profiler import profile

from benchmarks import versions
from benchmarks.training import Step, machine, ours, settings_of, write
from gqn_rl.machine import keep_freed_memory

KINDS = {
    "convolutions, forward": ("aten::mkldnn_convolution", "aten::convolution"),
    "convolutions, backward": ("aten::convolution_backward",),
    "matrix products": ("aten::bmm", "aten::mm", "aten::mkldnn_linear"),
    "copies": ("aten::copy_", "aten::cat", "aten::clone"),
    "Adam and the gradient's norm": ("aten::_fused_adam_", "aten::_foreach_norm", "aten::_foreach_mul_"),
}
REST = "pointwise and the rest"


def shares(step: Step) -> dict[str, float]:
    """Returns the share of a step's time that each kind of operation has."""
    with profile() as recorded:
        step()
    times: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        kind = next((kind for kind, names in KINDS.items() if event.key in names), REST)
        times[kind] += event.self_cpu_time_total
    return {kind: times[kind] / sum(times.values()) for kind in (*KINDS, REST)}


def papers(batch: int) -> Iterator[tuple[dict[str, str], Step]]:
    """Yields steps of the paper's model, and what they are."""
    for shared, precision in itertools.product((True, False), ("float32", "bf16")):
        yield (
            {"cores": "shared" if shared else "unshared", "precision": precision},
            ours(batch, precision, shared_cores=shared),
        )


def points() -> Iterator[tuple[dict[str, str], Step]]:
    """Yields steps of gqn_points, and what they are."""
    keep_freed_memory()
    for name, case in versions.CASES.items():
        if case[0] == "gqn_points":
            yield {"case": name}, versions.make_step(*case)


def main() -> None:
    """Prints the table and writes it."""
    args = settings_of(sys.argv[1:], threads=1, batch=8, rounds=3, model="paper", out="results/benchmarks")
    torch.set_num_threads(args["threads"])
    rows = []
    for what, step in points() if args["model"] == "points" else papers(args["batch"]):
        step()
        found = [shares(step) for _ in range(args["rounds"])]
        medians = {kind: round(statistics.median(each[kind] for each in found), 3) for kind in found[0]}
        rows.append({**what, **medians})
        print(rows[-1], flush=True)
    file = "training_profile_points.csv" if args["model"] == "points" else "training_profile.csv"
    command = shlex.join(["python", "-m", "benchmarks.training_profile", *sys.argv[1:]])
    write(pathlib.Path(args["out"]) / file, rows, f"{command}; {machine()}")


if __name__ == "__main__":
    main()
