"""What of a study's runs is kept for good: the small files from which figures and tables are drawn again."""

from __future__ import annotations

import shutil
from pathlib import Path

from gqn_rl.study.plan import Plan
from gqn_rl.study.state import CHOSEN_FILE, STATE_FOLDER, State

KEPT = ("run.json", "eval.csv", "transfer.csv", "progress.csv", "probes.csv", "manifest.json")
OF_AGENTS = ("run.json", "eval.csv", "transfer.csv")


def collect(plan: Plan, root: Path, results: Path) -> dict[str, int]:
    """Copies the small files of finished runs to `results`, each to a folder as it has in the study.

    Returns:
        The number of runs of each part that were copied.
    """
    state, counts = State(root, plan), dict[str, int]()
    for name, part in plan.parts.items():
        for run in plan.of_part(name) if part.keep else ():
            if state.done(run) is None:
                continue
            target = results / run.folder
            target.mkdir(parents=True, exist_ok=True)
            for kept in OF_AGENTS if part.command == "train_agent" else KEPT:
                if (root / run.folder / kept).is_file():
                    shutil.copyfile(root / run.folder / kept, target / kept)
            counts[name] = counts.get(name, 0) + 1
    for file in sorted((root / STATE_FOLDER).glob(f"*.{CHOSEN_FILE}")):
        results.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, results / file.name)
    return counts
