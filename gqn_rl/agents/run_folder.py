"""A run's folder: what was asked for (`run.json`), evaluations (`eval.csv`, `transfer.csv`), agents."""

from __future__ import annotations

import csv
import io
import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from gqn_rl import runlog
from gqn_rl.agents.checkpoint import CHECKPOINTS, OLD_CHECKPOINT, last_checkpoint_step
from gqn_rl.artefacts.documents import MapOf, read_json
from gqn_rl.runlog import write_atomic

RUN_FILE, EVAL_FILE, TRANSFER_FILE, PROGRESS_FILE = "run.json", "eval.csv", "transfer.csv", "progress.csv"
BEST_FILE, FINAL_FILE = "best_model.safetensors", "final_model.safetensors"
REPLAY_FILE = "replay.safetensors"  # what an off-policy agent remembers while its run is unfinished
ROLLOUT_FILE, MONITOR_FOLDER = "rollout.gif", "monitor"
STEP_COLUMN = "env_steps"
REMEDY = "restore it, give another `run_dir`, or begin anew with overwrite=true"

_NAMES = {"agent_settings": "agent", "repr_settings": "repr", "told": "repr.features", "scene": "env.scene"}
"""What entries of `run.json` are called on the command line, where that is something else."""
_RENAMED = {"falling": "annealed"}
"""Settings of an agent that had another name in earlier versions."""
_RETIRED = ("agent.encoding_server",)
"""Settings of earlier versions that decided nothing of what is learnt."""
_SHOWN = 5
"""Of the settings that differ."""
_OURS = {
    ".": (RUN_FILE, EVAL_FILE, TRANSFER_FILE, PROGRESS_FILE, "*_model.safetensors", "*_model.zip", OLD_CHECKPOINT,
          REPLAY_FILE, ROLLOUT_FILE, "config.yaml", "met_states.npz", "versions.json"),
    CHECKPOINTS: ("step-*.safetensors",),
    MONITOR_FOLDER: ("*.monitor.csv*",),
    "tensorboard": ("events.*",),
}  # fmt: skip
"""The files of a run, by their folder."""


def zip_of(name: str) -> str:
    """Returns what the same model is called as Stable-Baselines3's file."""
    return name.replace(".safetensors", ".zip")


def last_evaluated_step(folder: pathlib.Path) -> int:
    """Returns the environment step of the last evaluation, -1 when there is none."""
    return max((int(step) for step in _column(folder / EVAL_FILE, STEP_COLUMN)), default=-1)


def best_mean_return(folder: pathlib.Path) -> float:
    """Returns the best mean return so far, minus infinity when there is none."""
    return max(_column(folder / EVAL_FILE, "mean_return"), default=-float("inf"))


def transferred_to(folder: pathlib.Path) -> set[str]:
    """Returns the cameras from which the model of the last evaluated step has been evaluated."""
    step = str(last_evaluated_step(folder))
    return {row.get("camera", "") for row in _rows(folder / TRANSFER_FILE) if row.get(STEP_COLUMN) == step}


def processor_seconds_until(folder: pathlib.Path) -> float:
    """Returns the processor seconds of the run and its workers at its last evaluation, 0 where none is written."""
    return max((float(row.get("processor_s") or 0.0) for row in _rows(folder / EVAL_FILE)), default=0.0)


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
    has_model = any((folder / name).exists() for name in (FINAL_FILE, zip_of(FINAL_FILE)))
    return has_model and last_evaluated_step(folder) >= total_steps


def has_learnt(folder: pathlib.Path) -> bool:
    """Tells whether there is anything in the folder that was learnt: a row or a checkpoint beyond the first step."""
    steps = [last_checkpoint_step(folder), last_evaluated_step(folder), *_column(folder / PROGRESS_FILE, "step")]
    return max(steps) > 0 or (folder / OLD_CHECKPOINT).exists()


def refuse_rows(folder: pathlib.Path) -> None:
    """Makes sure that a run which begins in the folder overwrites no rows.

    Raises:
        ValueError: it holds rows, and the checkpoint that belongs to them is missing.
    """
    if has_learnt(folder):
        raise ValueError(
            f"`{folder}` holds a run of {last_evaluated_step(folder)} environment steps whose checkpoint is missing; "
            f"{REMEDY}."
        )


def read_run(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what `run.json` holds, nothing when it is missing."""
    file = folder / RUN_FILE
    return read_json(file, MapOf(), REMEDY) if file.exists() else {}


def check_settings(folder: pathlib.Path, asked: Mapping[str, Any]) -> None:
    """Refuses to continue a run that was begun with other settings; a start that learnt nothing binds nobody.

    Args:
        folder: the run folder.
        asked: entries of `run.json`; those that an earlier version did not write are not compared.

    Raises:
        ValueError: some differ; they are named as on the command line.
    """
    if not has_learnt(folder):
        return
    earlier = _with_present_names(read_run(folder))
    asked = _with_present_names(json.loads(json.dumps(asked)))
    found = [
        f"{name}={_word(old)} (now {_word(new)})"
        for key in asked
        if key in earlier
        for name, old, new in _differences(_NAMES.get(key, key), earlier[key], asked[key])
        if name not in _RETIRED
    ]
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ValueError(
            f"`{folder}` was begun with other settings: {', '.join(found[:_SHOWN])}{more}; give another `run_dir`, or "
            "begin anew with overwrite=true."
        )


def begin_run(folder: pathlib.Path, facts: dict[str, Any]) -> None:
    """Writes `run.json`; further entries of a run that has learnt something stay, those of a start that failed do not.

    `check_settings` comes before it.
    """
    add_to_run(folder, facts, {} if not has_learnt(folder) else read_run(folder))


def add_to_run(folder: pathlib.Path, facts: dict[str, Any], earlier: dict[str, Any] | None = None) -> None:
    """Adds entries to `run.json`, or to `earlier` ones in its place."""
    earlier = read_run(folder) if earlier is None else earlier
    write_atomic(folder / RUN_FILE, json.dumps({**earlier, **facts}, indent=2) + "\n")


def clear_leftovers(folder: pathlib.Path) -> None:
    """Deletes the unfinished files that a killed process left behind."""
    for place in _OURS:
        runlog.clear_leftovers(folder / place)


def delete(folder: pathlib.Path) -> None:
    """Deletes a run's own files; whatever else is in the folder stays, and no link is followed."""
    for place, patterns in _OURS.items():
        if (folder / place).is_symlink() and place != ".":
            raise ValueError(f"`{folder / place}` is a link, and what it leads to may not be ours: remove it first.")
        for path in [path for pattern in patterns for path in (folder / place).glob(pattern)]:
            if path.is_symlink() or path.is_file():
                path.unlink()


def _with_present_names(facts: dict[str, Any]) -> dict[str, Any]:
    """Returns entries of `run.json` with settings and values called as on the command line now."""
    if facts.get("told") == "places":
        facts = facts | {"told": "positions"}
    agent = facts.get("agent_settings")
    settings = agent.get("settings") if isinstance(agent, dict) else None
    if not isinstance(agent, dict) or not isinstance(settings, dict):
        return facts
    present = {_RENAMED.get(key, key): value for key, value in settings.items()}
    return facts | {"agent_settings": {**agent, "settings": present}}


def _differences(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yields (name, old, new) for every entry that differs, descending into nested entries."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old | new:
            yield from _differences(f"{name}.{key}", old.get(key), new.get(key))
    elif old != new:
        yield name, old, new


def _word(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _column(file: pathlib.Path, name: str) -> list[float]:
    """Returns a column of numbers.

    Raises:
        ValueError: the file has no such column, or something else in it.
    """
    try:
        values = [float(row[name]) for row in _rows(file)]
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"`{file}` has no numbers in a column `{name}` ({error!r}); {REMEDY}.") from None
    if not all(map(math.isfinite, values)):
        raise ValueError(f"`{file}` holds NaN or infinity in its column `{name}`; {REMEDY}.")
    return values


def _rows(file: pathlib.Path) -> list[dict[str, str]]:
    """Returns the rows of a CSV file; a last one that was cut short is left out, and a missing file has none."""
    try:
        return runlog.read_rows(file)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"`{file}` is not a table ({error}); {REMEDY}.") from None
