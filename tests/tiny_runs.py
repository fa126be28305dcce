"""The smallest folders of agent runs, and the comparisons that are made of them."""

import json

import numpy as np

from gqn_rl.curves import compare, load_runs, measure

HEADER = "env_steps,wall_clock_s,mean_return,std_return,mean_final_distance,success_rate,returns,final_distances"
TRANSFER_HEADER = HEADER.replace("wall_clock_s", "camera")
RANDOM, BEST = 5.0, 25.0


def write_run(root, repr_name, returns, *, camera="moving", seed=0, steps=None, seconds_per_step=0.01, **facts):
    """Writes a run folder whose evaluations had the given mean returns, every 1000 steps; returns the folder."""
    folder = root / f"{repr_name}_{camera}_ppo_seed{seed}"
    folder.mkdir(parents=True)
    known = {"env": "jaco", "repr": repr_name, "camera": camera, "agent": "ppo", "seed": seed, "action_repeat": 10}
    known |= {"random_return": RANDOM, "command": f"python -m gqn_rl.train_agent repr={repr_name} seed={seed}"}
    (folder / "run.json").write_text(json.dumps(known | facts))
    steps = 1000 * np.arange(len(returns)) if steps is None else steps
    rows = [f"{k},{k * seconds_per_step},{r},1.0,0.2,0.5,{r};{r},0.2;0.2" for k, r in zip(steps, returns, strict=True)]
    (folder / "eval.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return folder


def write_transfer(folder, returns, step=3000):
    """Writes what the run's model reached from other cameras, by camera."""
    rows = [f"{step},{camera},{value},1.0,0.2,0.5,{value};{value},0.2;0.2" for camera, value in returns.items()]
    (folder / "transfer.csv").write_text("\n".join([TRANSFER_HEADER, *rows]) + "\n")


def the_comparison(root, background=None):
    """Returns the only comparison in a folder of runs, before the runs of another."""
    others = load_runs(background, setting="background", distinct=False) if background else []
    (comparison,) = compare(load_runs(root), others)
    return comparison


def rows_of(root):
    """Returns the measured rows by representation."""
    return {row.repr: row for row in measure(the_comparison(root), seed=0)}
