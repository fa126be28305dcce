"""Where the time of a GQN training step goes: shares of convolutions, pointwise operations, copies and Adam.

    python -m benchmarks.training_profile [threads=1] [batch=8] [rounds=3] [out=results/benchmarks]

Self time by torch.profiler of `Trainer.update` on the paper's model, medians over rounds. Prints the table and writes
`training_profile.csv`.
"""

from __future__ import annotations

import itertools
import pathlib
import statistics
import sys
from collections import defaultdict

import torch
from torch.profiler import profile

from benchmarks.training import Step, machine, ours, settings_of, write

KINDS = {
    "convolutions, forward": ("aten::mkldnn_convolution", "aten::convolution"),
    "convolutions, backward": ("aten::convolution_backward",),
    "matrix products of weights": ("aten::bmm", "aten::mm", "aten::mkldnn_linear"),
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


def main() -> None:
    """Prints the table and writes it."""
    args = settings_of(sys.argv[1:], threads=1, batch=8, rounds=3, out="results/benchmarks")
    torch.set_num_threads(args["threads"])
    rows = []
    for shared, precision in itertools.product((True, False), ("float32", "bf16")):
        step = ours(args["batch"], precision, shared_cores=shared)
        step()
        found = [shares(step) for _ in range(args["rounds"])]
        medians = {kind: round(statistics.median(each[kind] for each in found), 3) for kind in found[0]}
        rows.append({"cores": "shared" if shared else "unshared", "precision": precision, **medians})
        print(rows[-1], flush=True)
    command = f"python -m benchmarks.training_profile threads={args['threads']} batch={args['batch']}"
    write(pathlib.Path(args["out"]) / "training_profile.csv", rows, f"{command} rounds={args['rounds']}; {machine()}")


if __name__ == "__main__":
    main()
