"""Four members of the family on the same few pictures, with equal steps: GQN, both CVAEs, DRAW.

    python benchmarks/family.py [steps=3000] [only=MEMBER] [root=runs/family] [out=results/benchmarks/family.csv]

Trains each on 1 500 Shepard-Metzler objects of 32×32 pixels for `steps` steps of 8 scenes, a quarter of an hour each on
a core, by the commands that it prints. A run that was stopped goes on, one that is finished is read as it is; with
`only`, a single member is trained and no table written, so that several can train at once. Bits a dimension are of the
bound of held-out pictures at σ = 0.7, latents from the posterior: reconstruction plus KL, with the mean over 1, 2 and 4
context views.
"""

from __future__ import annotations

import csv
import math
import pathlib
import subprocess
import sys

NUM_VALUES = 3 * 32**2
MEMBERS = {
    "gqn_small": ["recipe=gqn_small"],
    "cvae_learned": ["recipe=cvae"],
    "cvae_standard": ["recipe=cvae", "model/density=cvae_standard"],
    "draw": ["recipe=draw"],
}
HAVE_NO_CURRICULUM = ("draw",)
COMMON = (
    *("env=shepard_metzler", "env.scene.image_size=32", "data.num_scenes=1500", "data.held_out_scenes=100"),
    *("data.views_per_scene=6", "threads=1", "train.batch_size=8", "train.checkpoint_every=200"),
    *("train.eval_scenes=100", "train.probe_scenes=200"),
)


def main() -> None:
    """Trains what is not trained, prints the table and writes it."""
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    root, steps, only = (
        pathlib.Path(options.get("root", "runs/family")),
        int(options.get("steps", 3000)),
        "only" in options,
    )
    members = {name: words for name, words in MEMBERS.items() if options.get("only", name) == name}
    rows = [
        {"model": name, **measured(root, name, [*words, *schedule(name, steps)])} for name, words in members.items()
    ]
    for row in rows:
        print(row)
    if only:
        return
    with pathlib.Path(options.get("out", "results/benchmarks/family.csv")).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def schedule(name: str, steps: int) -> list[str]:
    """Returns the settings that follow the number of steps: the first third without latents, σ falls for two thirds."""
    words = [f"train.total_steps={steps}", f"train.lr_steps={steps}", f"train.lr_warmup_steps={steps // 10}"]
    words += [f"train.sigma_steps={2 * steps // 3}", f"train.eval_every={steps}"]
    return words if name in HAVE_NO_CURRICULUM else [*words, f"train.warmup_steps={steps // 3}"]


def measured(root: pathlib.Path, name: str, words: list[str]) -> dict[str, str]:
    """Trains a member, and returns its measures of held-out pictures."""
    folder = root / "runs" / name
    command = ["-m", "gqn_rl.pretrain", *COMMON, *words, f"data.root={root / 'data' / 'sm32'}", f"run_dir={folder}"]
    print("python", *command, flush=True)
    subprocess.run([sys.executable, *command], check=True)
    with (folder / "progress.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row["eval/kl"]][-1]
    kl = float(last["eval/kl"])
    bits = float(last["eval/reconstruction_bits_per_dim"]) + kl / (NUM_VALUES * math.log(2))
    return {
        "steps": last["step"],
        "bound_bits_per_dim": f"{bits:.4f}",
        "kl_nats": f"{kl:.1f}",
        "reconstruction_mse": f"{float(last['eval/reconstruction_mse']):.4f}",
        "predicted_mse_1view": f"{float(last['eval/mse_1view']):.4f}",
        "predicted_mse_4view": f"{float(last['eval/mse_4view']):.4f}",
    }


if __name__ == "__main__":
    main()
