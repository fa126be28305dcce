"""What is known of a study's runs on disk: which are finished and by which words, and the settings that were chosen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gqn_rl.artefacts.documents import ListOf, MapOf, Number, OrNull, Record, Text, read_json
from gqn_rl.artefacts.tables import read_csv
from gqn_rl.runlog import write_atomic
from gqn_rl.study.plan import Plan, Run

STATE_FOLDER, DONE_FILE, LOG_FILE, CHOSEN_FILE = ".study", "done.json", "log.txt", "chosen.json"
NUM_FINAL_EVALUATIONS = 3
"""Evaluations whose mean return decides what came out best."""


_REMEDY = "restore it, or remove it and give the same command again"
_DONE = Record({"words": OrNull(ListOf(Text())), "processor_s": Number()})
_CHOSEN = MapOf(Record({"setting": Text(), "words": ListOf(Text()), "tried": MapOf(Number())}))


class State:
    """The finished runs of one study.

    Args:
        root: the study's folder.
        plan: its plan.
    """

    def __init__(self, root: Path, plan: Plan):
        self.root, self.plan = root, plan

    def folder(self, run: Run) -> Path:
        """Returns the folder of what the runner knows of a run, apart from the run's own."""
        return self.root / STATE_FOLDER / run.folder.replace("/", "__")

    def done(self, run: Run) -> dict[str, Any] | None:
        """Returns what was noted when a run was finished, None when it is not.

        Raises:
            ValueError: it was finished with other words than the plan has now.
        """
        file = self.folder(run) / DONE_FILE
        if not file.exists():
            return None
        facts = read_json(file, _DONE, _REMEDY)
        words = self.words(run)
        if words is not None and facts["words"] != words:
            differs = sorted(set(facts["words"] or []) ^ set(words))
            raise ValueError(
                f"`{self.root / run.folder}` was finished with other words than the study has ({', '.join(differs)}); "
                "give the study another `root`, or remove that folder and its note in "
                f"`{self.folder(run)}` to make it anew."
            )
        return facts

    def note_done(self, run: Run, processor_s: float) -> None:
        """Notes that a run is finished, and the processor seconds of its last session."""
        facts = {"words": self.words(run), "processor_s": round(processor_s, 1)}
        write_atomic(self.folder(run) / DONE_FILE, json.dumps(facts, indent=2) + "\n")

    def words(self, run: Run) -> list[str] | None:
        """Returns the words of a run with those that tuning found; None while it has not."""
        tuning = self.plan.parts[run.part].best_of
        if not tuning:
            return list(run.words)
        found = self.chosen(tuning, run.case)
        return None if found is None else [*run.words, *found["words"]]

    def chosen(self, tuning: str, case: str) -> dict[str, Any] | None:
        """Returns the settings that came out best for a case: they are written once, and frozen from then on.

        None while runs of the case are unfinished.
        """
        file = self.root / STATE_FOLDER / f"{tuning}.{CHOSEN_FILE}"
        known = read_json(file, _CHOSEN, _REMEDY) if file.exists() else {}
        if case not in known:
            runs = [run for run in self.plan.of_part(tuning) if run.case == case]
            if not runs or any(self.done(run) is None for run in runs):
                return None
            known[case] = choose(self.root, runs, self.plan.parts[tuning].settings)
            write_atomic(file, json.dumps(known, indent=2) + "\n")
        return known[case]


def choose(root: Path, runs: Sequence[Run], settings: Any) -> dict[str, Any]:
    """Returns the setting with the best mean return over its runs' last evaluations, and what all of them had.

    Returns:
        "setting" and its "words", and "tried": the return of each setting; the first of equals is taken.
    """
    returns: dict[str, list[float]] = {}
    for run in runs:
        returns.setdefault(run.setting, []).append(final_return(root / run.folder))
    tried = {setting: float(np.mean(values)) for setting, values in returns.items()}
    best = max(tried, key=lambda setting: tried[setting])
    return {"setting": best, "words": [str(word) for word in settings[best]], "tried": tried}


def final_return(folder: Path) -> float:
    """Returns the mean return of a run's last evaluations."""
    rows = read_csv(folder / "eval.csv", {"mean_return": Number()}, _REMEDY)
    returns = [row["mean_return"] for row in rows]
    if not returns:
        raise ValueError(f"`{folder / 'eval.csv'}` holds no evaluation.")
    return float(np.mean(returns[-NUM_FINAL_EVALUATIONS:]))
