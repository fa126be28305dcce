"""Lists, makes, resumes and collects every run of a study, on one machine or on several that share its folder.

python -m gqn_rl.study study=quick                          # a whole comparison in minutes, for a test
python -m gqn_rl.study study=jaco                           # makes what is missing; the same command again continues
python -m gqn_rl.study study=jaco do=list                   # what is finished, what was chosen, what it has cost
python -m gqn_rl.study study=jaco do=commands parts=[test]  # the commands, for a cluster's own queue
python -m gqn_rl.study study=jaco parts=[data,encoders]
python -m gqn_rl.study study=jaco do=collect                # small files to results/, then figures and tables

Start the same command on as many machines, or as many times on one, as are to work side by side.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gqn_rl.cli import command
from gqn_rl.study.collect import collect
from gqn_rl.study.plan import Plan, make_plan
from gqn_rl.study.runner import command_line, describe, run_study
from gqn_rl.study.state import State

ACTIONS = ("run", "list", "commands", "collect")


@command("study")
def main(cfg: DictConfig) -> None:
    """Does with a study what `do` says."""
    if cfg.do not in ACTIONS:
        raise ValueError(f"`do` must be one of {', '.join(ACTIONS)}, got {cfg.do!r}.")
    root = Path(cfg.root)
    study: Any = OmegaConf.to_container(cfg.study, resolve=True)
    plan = make_plan(study["name"], study["parts"], root)
    parts = list(plan.parts) if cfg.parts is None else list(cfg.parts)
    unknown = [name for name in parts if name not in plan.parts]
    if unknown:
        raise ValueError(f"`parts` must be of {', '.join(plan.parts)}, got {unknown[0]}.")
    if cfg.do == "collect":
        for name, number in collect(plan, root, Path(cfg.results)).items():
            print(f"{name}: {number} runs in {cfg.results}")
        return
    if cfg.do == "commands":
        print_commands(plan, root, parts)
        return
    if cfg.do == "run":
        failed = run_study(plan, root, parts, wait_s=cfg.wait_s, say=_say)
        if failed:
            raise ValueError(f"{len(failed)} runs failed, the first in `{root / failed[0].folder}`; see above.")
    for line in describe(plan, root, parts):
        print(line)


def print_commands(plan: Plan, root: Path, parts: list[str]) -> None:
    """Prints the command of every unfinished run; those whose settings are not chosen yet as comments."""
    state = State(root, plan)
    for run in plan.runs:
        if run.part in parts and state.done(run) is None:
            known = state.words(run) is not None
            print(shlex.join(command_line(run, state)) if known else f"# {run.folder}: its settings are not chosen yet")


def _say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
