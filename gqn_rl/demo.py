"""The whole road on a small scale: pictures of Jaco scenes, a GQN, agents on three representations, and the curves.

    python -m gqn_rl.demo              # about five minutes on two free cores; the same command continues
    python -m gqn_rl.demo --quick      # about a minute: shows that everything runs, learns nothing
    python -m gqn_rl.demo --pretrain   # trains an encoder here even though one ships with the package

Every stage is a command line that is printed before it runs and can be given again by hand. What is finished is not
done again: each command finds its own results.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from gqn_rl.checkpoint import load_model
from gqn_rl.cli import errors_as_sentences
from gqn_rl.command_words import let_consoles_take_all_characters
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.interrupts import StopRequest
from gqn_rl.machine import available_cores
from gqn_rl.pretrain.pictures import picture_sheet
from gqn_rl.processes import run_command
from gqn_rl.representation import find_encoder
from gqn_rl.scene_evaluation import fixed_views
from gqn_rl.writers.pictures import write_png

SHIPPED_ENCODER = "jaco"
REPRESENTATIONS = ("pixels", "gqn", "oracle")  # the slowest first, so that two cores end together
SHEET_SCENES, SHEET_CONTEXT = 8, 3


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of everything: overrides of the command lines, and environment steps of the agents."""

    data: tuple[str, ...]
    pretrain: tuple[str, ...]
    agents: tuple[str, ...]
    steps: int


FULL = Size(
    data=("num_scenes=3000", "held_out_scenes=250", "views_per_scene=8"),
    pretrain=(
        "model=gqn_quick",
        "train.total_steps=1500",
        "train.lr_steps=1500",
        "train.sigma_steps=1300",
        "train.warmup_steps=1300",
        "train.eval_every=750",
    ),
    agents=("eval_every=5000",),
    steps=80_000,
)
QUICK = Size(
    data=("num_scenes=64", "held_out_scenes=16", "views_per_scene=5"),
    pretrain=("model=gqn_debug", "train.total_steps=20"),
    agents=("eval_every=2048", "eval_episodes=2"),
    steps=2048,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the stages one after the other, then says where the results lie and how long each stage took."""
    let_consoles_take_all_characters()
    options = _parser().parse_args(arguments)
    out = options.out or Path("demo/quick" if options.quick else "demo")
    with errors_as_sentences():
        run_stages(out, QUICK if options.quick else FULL, options.pretrain)


def run_stages(out: Path, size: Size, pretrain: bool) -> None:
    """Makes pictures, an encoder unless one ships, agents and curves in the folder `out`."""
    seconds: dict[str, float] = {}
    started = time.monotonic()

    def stage(title: str, **commands: list[str]) -> None:
        print(f"\n== {title}", flush=True)
        begun = time.monotonic()
        run_side_by_side(commands)
        seconds[title] = time.monotonic() - begun

    stage("Pictures of random scenes", data=_module("generate_data", f"root={out}/data", *size.data))
    encoder = None if pretrain else shipped_encoder()
    if encoder is None:
        encoder = out / "pretrain"
        places = (f"data.root={out}/data", f"run_dir={encoder}")
        stage("A scene model that predicts views", pretrain=_module("pretrain", *places, *size.pretrain))
    else:
        print(f"\n== Pretraining is skipped: {encoder} ships with the package (--pretrain trains one here).")
    draw_sheet(out / "predicted_views.png", encoder, out / "data")
    agents = {name: agent_command(out, name, encoder, size) for name in REPRESENTATIONS}
    stage("Agents with a moving camera", **agents)
    stage("Learning curves", plot=_module("plot", f"runs={out}/agents", f"out={out}/figures"))
    print(summary(out, seconds, time.monotonic() - started))


def agent_command(out: Path, representation: str, encoder: Path, size: Size) -> list[str]:
    """Returns the command line that trains one agent, on a core of its own: others train beside it."""
    is_oracle = representation == "oracle"
    words = ["env=jaco", f"repr={representation}"] + ["camera=moving"] * (not is_oracle) + ["agent=ppo"]
    words += [f"encoder={encoder}"] * (representation == "gqn")
    words += [f"total_steps={size.steps}", *size.agents, "threads=1", "workers=0"]
    return _module("train_agent", *words, f"run_dir={_run_folder(out, representation)}")


def shipped_encoder() -> Path | None:
    """Returns the file of the encoder that ships with the package, None when there is none."""
    try:
        return find_encoder(SHIPPED_ENCODER)
    except ValueError:
        return None


def draw_sheet(path: Path, encoder: Path, data: Path) -> None:
    """Draws what the scene model predicts of held-out scenes beside the truth."""
    heldout = MultiViewDataset(data, "heldout")
    model, _ = load_model(find_encoder(encoder))
    scenes = np.arange(min(SHEET_SCENES, heldout.num_scenes))
    num_context = min(SHEET_CONTEXT, heldout.views_per_scene - 1)
    context, query = fixed_views(heldout, scenes, num_context)
    write_png(path, picture_sheet(model.eval(), context.to_torch(), query.to_torch()))


def run_side_by_side(commands: Mapping[str, list[str]]) -> None:
    """Prints and runs named commands, as many at a time as there are cores; a failure ends the demo with its status.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the commands have saved what they have.
    """
    run = _run if len(commands) == 1 else _run_with_name
    with StopRequest() as stop, ThreadPoolExecutor(max_workers=min(len(commands), available_cores())) as pool:
        statuses = list(pool.map(run, commands.keys(), commands.values(), itertools.repeat(stop)))
    if stop.signal_name is not None:
        raise KeyboardInterrupt(stop.signal_name)
    if any(statuses):
        print("\nThis stage failed. Once the cause is gone, the same command goes on from here.", file=sys.stderr)
        sys.exit(max(128 - status if status < 0 else status for status in statuses))  # as a shell counts signals


def _run(name: str, command: list[str], stop: StopRequest) -> int:
    print("$ " + shlex.join(["python", *command[1:]]), flush=True)
    return run_command(command, stop)


def _run_with_name(name: str, command: list[str], stop: StopRequest) -> int:
    """Runs a command whose lines mix with those of others, so each begins with its name."""
    print(f"[{name}] $ " + shlex.join(["python", *command[1:]]), flush=True)
    return run_command(command, stop, on_line=lambda line: print(f"[{name}] {line}", end="", flush=True))


def summary(out: Path, seconds: dict[str, float], total_s: float) -> str:
    """Returns what was made, how to read it, and how long it took."""
    lines = [
        "",
        "What to look at:",
        f"  {out}/figures/jaco_ppo_steps.png (and .svg; table.md)",
        "      return over environment steps, random agent = 0, oracle = 100. One seed and a short run each:",
        "      differences may be chance, and 100 is only what this short oracle run reached.",
        f"  {out}/predicted_views.png",
        "      held-out scenes, a row each: the views that the model was given, the true view from a new place, what",
        "      it predicts of it, three samples, and what is left of the true view when the model has seen it.",
        *(f"  {_run_folder(out, name)}/rollout.gif" for name in ("gqn", "pixels", "oracle")),
        "      three evaluation episodes of each agent, and below them what it sees.",
        "",
        *(f"  {name:<36} {taken:6.0f} s" for name, taken in seconds.items()),
        f"  {'altogether':<36} {total_s:6.0f} s",
    ]
    return "\n".join(lines)


def _module(name: str, *overrides: str) -> list[str]:
    return [sys.executable, "-m", f"gqn_rl.{name}", *overrides]


def _run_folder(out: Path, representation: str) -> Path:
    return out / "agents" / "jaco" / f"{representation}_moving_ppo_seed0"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gqn_rl.demo", description=str(__doc__).split("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="about a minute; shows that everything runs, learns nothing"
    )
    parser.add_argument("--pretrain", action="store_true", help="train an encoder here even though one ships")
    parser.add_argument("--out", type=Path, help="folder for everything it makes (demo, or demo/quick)")
    return parser


if __name__ == "__main__":
    main()
