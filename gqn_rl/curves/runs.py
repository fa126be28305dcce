"""Agent runs as the plots see them: what `run.json` says a run is, `eval.csv` and `transfer.csv` what it reached."""

from __future__ import annotations

import dataclasses
import glob
import json
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gqn_rl.artefacts.documents import Anything, Number, OrNull, Record, Schema, Text, read_json
from gqn_rl.artefacts.tables import read_csv

NUMERIC_COLUMNS = ("env_steps", "wall_clock_s", "mean_return")
"""Columns of `eval.csv` that every evaluation fills; `success_rate` and `returns` may be empty."""
MEMORY = "_lstm"
"""Ending of the names of agents that are another agent with a memory of its own."""
ADVICE = "train the agent again or leave its folder out"

_NAME = Text(pattern=r"(?!.*\.\.)[^\s\W][\w.+:/ -]{0,99}", words="a name that stays within a folder")
"""Of what figures are called by: ids of environments may hold `/` and `:`, but no name leads out of a folder."""
_LABEL = Text(pattern=r"[^\x00-\x1f]{1,100}", words="a short text")
_COLOUR = Text(pattern=r"#[0-9A-Fa-f]{6}", words="a colour of the form #rrggbb")
_LINE = Text(pattern=r"-|--|-\.|:", words="a line style of -, --, -. and :")
_COUNT = Number(least=0, most=2**53, integer=True)
_FACTS = Record(
    {
        **{"env": _NAME, "agent": _NAME, "camera": _LABEL, "repr": _LABEL},
        "seed": Number(integer=True),
        "random_return": Number(),
    },
    {
        "action_repeat": Number(least=1, most=2**31, integer=True),
        "command": Text(),
        "pretraining": OrNull(Text()),
        "encoder": OrNull(Text()),
        "experience": OrNull(Record({"pictures": OrNull(_COUNT), "actions": OrNull(_COUNT)})),
        "agent_settings": Anything(),
        "repr_settings": Anything(),
        "curve": OrNull(Record({"label": _LABEL, "colour": _COLOUR, "line": _LINE})),
    },
)
_STEPS = Number(least=0, most=2**53)
_EVALUATION: dict[str, Schema] = {
    **{name: Number() for name in NUMERIC_COLUMNS},
    "env_steps": _STEPS,
    "success_rate": OrNull(Number(least=0, most=1)),
    "returns": Text(),
}
_LATER_COLUMNS: dict[str, Schema] = {"processor_s": OrNull(Number(least=0))}
_TRANSFER: dict[str, Schema] = {"env_steps": _STEPS, "camera": _LABEL, "mean_return": Number()}


class Look(NamedTuple):
    """How a representation's curve is drawn: its name for readers, a colour of the form #rrggbb, and a line style."""

    label: str
    colour: str
    line: str


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run and its `T` evaluations.

    Attributes:
        folder: where it was read from.
        env, camera, repr, agent, seed: what was run, as on the command line.
        action_repeat: physics steps in one environment step.
        random_return: mean return of a random agent on the same evaluation seeds.
        command: the command line that made the run.
        pretraining: what the frozen representation cost, in words; empty when it has none.
        env_steps: environment steps before each evaluation, float64 [T], increasing.
        hours: wall-clock hours before each evaluation, float64 [T], not decreasing.
        returns: mean return of each evaluation's episodes, float64 [T].
        success: share of each evaluation's episodes that succeeded, float64 [T], in [0, 1]; NaN where the environment
            does not tell.
        num_episodes: episodes in the last evaluation.
        transfer: mean return of the model of the last evaluation seen from other cameras, by camera; often empty.
        encoder: what tells the frozen encoders of runs apart; "" where there is one for all, or none.
        pictures, actions: seen and taken before each evaluation, those of pretraining included, float64 [T]; NaN where
            what pretraining took was not counted.
        processor_hours: of the run and its workers before each evaluation, float64 [T]; NaN where nobody measured.
        network: of an agent that reads pictures, as text; "" where it is Stable-Baselines3's, or none.
        episodes: return of each evaluation's every episode, float64 [T, E]; their mean, [T, 1], where E varies.
        look: how its curve is drawn, where the run says it.
    """

    folder: Path
    env: str
    camera: str
    repr: str
    agent: str
    seed: int
    action_repeat: int
    random_return: float
    command: str
    pretraining: str
    env_steps: np.ndarray
    hours: np.ndarray
    returns: np.ndarray
    success: np.ndarray
    num_episodes: int
    transfer: dict[str, float]
    encoder: str
    pictures: np.ndarray
    actions: np.ndarray
    processor_hours: np.ndarray
    network: str
    episodes: np.ndarray
    look: Look | None = None

    @property
    def algorithm(self) -> str:
        """The agent's name without its memory: what runs that may be compared have in common."""
        return self.agent.removesuffix(MEMORY)

    @property
    def label(self) -> str:
        """What tells the runs of a comparison apart: the representation, and whether the agent has a memory."""
        return self.repr + self.agent[len(self.algorithm) :]


def load_runs(places: str | Path | Iterable[str | Path], *, setting: str = "runs", distinct: bool = True) -> list[Run]:
    """Loads every run in the given folders or glob patterns, however deep it lies.

    A folder with `run.json` but without `eval.csv` has not been evaluated yet and is left out with a warning.

    Args:
        places: folders or patterns.
        setting: what the user calls them, for the error.
        distinct: refuse two folders that hold the same run and seed.

    Raises:
        ValueError: no run was found, two folders hold the same run, or a file cannot be read; it is named.
    """
    places = [places] if isinstance(places, str | Path) else list(places)
    runs = []
    for folder in sorted(set(_run_folders(places))):
        if (folder / "eval.csv").exists():
            runs.append(load_run(folder))
        else:
            warnings.warn(f"`{folder}` has no eval.csv yet and is left out.", stacklevel=2)
    if not runs:
        where = ", ".join(map(str, places))
        raise ValueError(f"`{setting}` must hold folders with run.json and eval.csv, found none in {where}.")
    if distinct:
        _refuse_duplicates(runs)
        _refuse_mixed_networks(runs)
    return runs


def load_run(folder: Path) -> Run:
    """Loads one run folder, or raises a ValueError that names the file that is wrong."""
    facts = read_json(folder / "run.json", _FACTS, ADVICE)
    columns, episodes = _read_evaluations(folder / "eval.csv")
    spent = facts.get("experience") or ({} if facts.get("pretraining") else {"pictures": 0, "actions": 0})
    transfer = _read_transfer(folder / "transfer.csv", columns["env_steps"][-1])
    return Run(
        folder=folder,
        **{key: facts[key] for key in ("env", "camera", "repr", "agent", "seed")},
        action_repeat=facts.get("action_repeat", 1),
        random_return=float(facts["random_return"]),
        command=facts.get("command", ""),
        pretraining=facts.get("pretraining") or "",
        env_steps=columns["env_steps"],
        hours=columns["wall_clock_s"] / 3600,
        returns=columns["mean_return"],
        success=columns["success_rate"],
        num_episodes=episodes.num_last,
        transfer=transfer,
        encoder=_encoder_of(facts),
        pictures=columns["env_steps"] + _or_nan(spent.get("pictures")),
        actions=columns["env_steps"] + _or_nan(spent.get("actions")),
        processor_hours=columns["processor_s"] / 3600,
        network=_network_of(facts),
        episodes=episodes.returns,
        look=Look(**facts["curve"]) if facts.get("curve") else None,
    )


def _network_of(facts: dict) -> str:
    settings = facts.get("repr_settings")
    extractor = settings.get("extractor") if isinstance(settings, dict) else None
    return json.dumps(extractor, sort_keys=True) if extractor else ""


def _encoder_of(facts: dict) -> str:
    """Returns what tells a run's encoder from others; an untrained one is another with every seed."""
    return f"seed {facts['seed']}" if facts["repr"].startswith("random_encoder") else facts.get("encoder") or ""


def _or_nan(count: float | None) -> float:
    return float("nan") if count is None else float(count)


def _run_folders(places: list[str | Path]) -> Iterable[Path]:
    for place in places:
        for match in glob.glob(str(place), recursive=True):
            yield from (path.parent for path in Path(match).rglob("run.json"))


class _Episodes(NamedTuple):
    """Episodes of a run's evaluations: `Run.episodes`, and their number in the last one."""

    returns: np.ndarray
    num_last: int


def _read_evaluations(path: Path) -> tuple[dict[str, np.ndarray], _Episodes]:
    """Returns the columns that are numbers, float64 [T] each, and the episodes."""
    rows = read_csv(path, _EVALUATION, ADVICE, optional=_LATER_COLUMNS)
    if not rows:
        raise ValueError(f"`{path}` holds no evaluation; {ADVICE}.")
    names = (*NUMERIC_COLUMNS, "success_rate", "processor_s")
    columns = {name: np.array([row.get(name) for row in rows], float) for name in names}
    if (np.diff(columns["env_steps"]) <= 0).any() or (np.diff(columns["wall_clock_s"]) < 0).any():
        raise ValueError(f"`{path}` must go forward in `env_steps` and `wall_clock_s` from row to row; {ADVICE}.")
    return columns, _Episodes(_episodes(rows, columns["mean_return"]), len(rows[-1]["returns"].split(";")))


def _episodes(rows: list[dict[str, Any]], means: np.ndarray) -> np.ndarray:
    """Returns every episode's return, float64 [T, E], with exactly the evaluations' means; [T, 1] where E varies."""
    try:
        returns = np.array([[float(text) for text in row["returns"].split(";")] for row in rows])
    except ValueError:  # some have more than others, or none are written
        return means[:, None]
    return returns + (means - returns.mean(axis=1))[:, None]  # they are written with six digits


def _read_transfer(path: Path, last_step: float) -> dict[str, float]:
    """Returns the mean return from each camera at `last_step`; what a run had before it went on does not count."""
    if not path.exists():
        return {}
    rows = read_csv(path, _TRANSFER, ADVICE)
    if not rows:
        raise ValueError(f"`{path}` holds no evaluation; {ADVICE}.")
    return {row["camera"]: row["mean_return"] for row in rows if row["env_steps"] == last_step}


def file_name(name: str) -> str:
    """Returns what a figure of something is called: ids with `/` and `:` become harmless, all else is kept.

    >>> file_name("gymnasium_my_package:MyEnv-v0")
    'gymnasium_my_package-MyEnv-v0'
    """
    return re.sub(r"[^\w.+-]", "-", name)


def _refuse_mixed_networks(runs: list[Run]) -> None:
    """Refuses runs of one name whose networks differ: `pixels` was once Stable-Baselines3's default network."""
    seen: dict[tuple, Run] = {}
    for run in runs:
        other = seen.setdefault((run.env, run.camera, run.label), run)
        if other.network != run.network:
            raise ValueError(
                f"`{run.folder}` and `{other.folder}` are both called {run.label}, but their agents read pictures with "
                "different networks; give one of them another `repr.name`, or leave one out."
            )


def _refuse_duplicates(runs: list[Run]) -> None:
    seen: dict[tuple, Path] = {}
    for run in runs:
        key = (run.env, run.camera, run.repr, run.agent, run.encoder, run.seed)
        if key in seen:
            raise ValueError(f"`{run.folder}` and `{seen[key]}` hold the same run and seed; leave one of them out.")
        seen[key] = run.folder
