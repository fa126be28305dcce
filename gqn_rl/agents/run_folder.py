"""A run's folder: what was asked for (`run.json`), evaluations (`eval.csv`, `transfer.csv`), agents."""

from __future__ import annotations

import csv
import io
import json
import pathlib
from typing import Any

from gqn_rl.runlog import write_atomic

RUN_FILE, EVAL_FILE, TRANSFER_FILE = "run.json", "eval.csv", "transfer.csv"
CHECKPOINT_FILE, BEST_FILE, FINAL_FILE = "checkpoint.zip", "best_model.zip", "final_model.zip"
REPLAY_FILE = "replay_buffer.pkl"  # what an off-policy agent remembers while its run is unfinished
ROLLOUT_FILE, MONITOR_FOLDER = "rollout.gif", "monitor"
STEP_COLUMN = "env_steps"
_MAY_CHANGE = ("command", "random_return")
"""Entries of `run.json` that need not be the same when a run continues."""


def last_evaluated_step(folder: pathlib.Path) -> int:
    """Returns the environment step of the last evaluation, -1 when there is none."""
    return max((int(row[STEP_COLUMN]) for row in _rows(folder / EVAL_FILE)), default=-1)


def best_mean_return(folder: pathlib.Path) -> float:
    """Returns the best mean return so far, minus infinity when there is none."""
    return max((float(row["mean_return"]) for row in _rows(folder / EVAL_FILE)), default=-float("inf"))


def transferred_to(folder: pathlib.Path) -> set[str]:
    """Returns the cameras from which the model of the last evaluated step has been evaluated."""
    step = str(last_evaluated_step(folder))
    return {row["camera"] for row in _rows(folder / TRANSFER_FILE) if row[STEP_COLUMN] == step}


def add_transfer(folder: pathlib.Path, row: dict[str, Any]) -> None:
    """Adds a row, an evaluation from another camera, to `transfer.csv`."""
    rows = [*_rows(folder / TRANSFER_FILE), row]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(folder / TRANSFER_FILE, text.getvalue())


def is_finished(folder: pathlib.Path, total_steps: int) -> bool:
    """Tells whether the run ended with at least `total_steps` environment steps."""
    return (folder / FINAL_FILE).exists() and last_evaluated_step(folder) >= total_steps


def read_run(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what `run.json` holds, nothing when it is missing."""
    file = folder / RUN_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def write_run(folder: pathlib.Path, facts: dict[str, Any]) -> None:
    """Writes `run.json` after making sure that a run begun earlier in this folder had the same settings.

    Raises:
        ValueError: a setting differs; continuing would silently mix two runs in one curve.
    """
    earlier = read_run(folder)
    for name in facts.keys() & earlier.keys():
        if name not in _MAY_CHANGE and facts[name] != earlier[name]:
            raise ValueError(
                f"`{folder}` was begun with {name}={earlier[name]}, got {facts[name]}; "
                "give another `run_dir`, or remove that folder to start over."
            )
    write_atomic(folder / RUN_FILE, json.dumps({**earlier, **facts}, indent=2) + "\n")


def _rows(file: pathlib.Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with open(file, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
