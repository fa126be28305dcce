"""A study's plan: parts, and the runs that each of them stands for.

A part names a command of the package, words that all its runs have, and what is varied: `cases` are named lists of
words, `settings` named lists of words of which tuning is to find the best, `grid` settings with their values, which
become words, and `over` values that only fill places in words. `{name}` in a word or folder stands for a case's
`case`, a setting's `setting`, or a value of `grid` or `over`; `{root}` for the study's folder. The braces of Hydra's
dictionaries are written twice: `task={{looks: random}}`.

    tune:
      command: train_agent
      cases: {r: [repr=gqn], pixels: [repr=pixels]}
      settings: {usual: [], slow: [agent.settings.learning_rate=2e-4]}
      grid: {seed: [1000, 1001]}
      folder: tune/{case}_{setting}_seed{seed}
    test:
      command: train_agent
      cases: {r: [repr=gqn], pixels: [repr=pixels]}
      best_of: tune
      grid: {seed: [0, 1, 2, 3, 4]}
      folder: test/{case}_seed{seed}
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COMMANDS = {"generate_data": "root", "pretrain": "run_dir", "train_supervised": "run_dir", "train_agent": "run_dir"}
"""Commands that a part may name, and the setting that takes the folder."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a study, as its YAML has it; see the module.

    Attributes:
        command: one of `COMMANDS`.
        folder: of each run, below the study's.
        words: of every run.
        cases, settings, grid, over: what is varied.
        needs: parts that must be finished before.
        best_of: a part with `settings`: each run has those that came out best there for its case.
        keep: whether the runs' small files are among the results.
    """

    command: str
    folder: str
    words: Sequence[str] = ()
    cases: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    grid: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    over: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    needs: Sequence[str] = ()
    best_of: str = ""
    keep: bool = False

    def __post_init__(self) -> None:
        if self.command not in COMMANDS:
            raise ValueError(f"`command` of a part must be one of {', '.join(COMMANDS)}, got {self.command!r}.")


@dataclasses.dataclass(frozen=True)
class Run:
    """One command of a study.

    Attributes:
        part: the name of its part.
        case, setting: of what is varied; "" where nothing is.
        folder: that it writes, below the study's.
        words: of its command line, but for the folder and what tuning finds.
    """

    part: str
    case: str
    setting: str
    folder: str
    words: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """All parts of a study, in order, and their runs."""

    name: str
    parts: dict[str, Part]
    runs: tuple[Run, ...]

    def of_part(self, name: str) -> list[Run]:
        """Returns the runs of one part."""
        return [run for run in self.runs if run.part == name]

    def waits_for(self, run: Run) -> list[Run]:
        """Returns the runs that must be finished before `run`: those of parts that it needs, and of its tuning."""
        part = self.parts[run.part]
        tuned = [other for other in self.of_part(part.best_of) if other.case == run.case]
        return [*(other for name in part.needs for other in self.of_part(name)), *tuned]


def make_plan(name: str, parts: Mapping[str, Mapping[str, Any]], root: Path) -> Plan:
    """Returns the plan of a study.

    Args:
        name: of the study.
        parts: what its YAML says, by name.
        root: its folder.

    Raises:
        ValueError: a part has an unknown setting, command, part or place, or two runs have one folder.
    """
    known = {key: _part(key, facts) for key, facts in parts.items()}
    for key, part in known.items():
        unknown = [other for other in (*part.needs, *filter(None, [part.best_of])) if other not in known]
        if unknown:
            raise ValueError(f"part `{key}` needs {unknown[0]}, which is not a part; there are {', '.join(known)}.")
    runs = tuple(run for key, part in known.items() for run in _runs(key, part, root))
    folders = [run.folder for run in runs]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise ValueError(f"two runs of the study would write `{twice}`; name what differs in `folder`.")
    return Plan(name, known, runs)


def _part(name: str, facts: Mapping[str, Any]) -> Part:
    fields = [field.name for field in dataclasses.fields(Part)]
    unknown = [key for key in facts if key not in fields]
    missing = [key for key in ("command", "folder") if key not in facts]
    if unknown or missing:
        wrong = f"`{unknown[0]}` is not a setting" if unknown else f"`{missing[0]}` is missing"
        raise ValueError(f"part `{name}`: {wrong}; there are {', '.join(fields)}.")
    return Part(**facts)


def _runs(name: str, part: Part, root: Path) -> list[Run]:
    """Returns a run for every combination of what a part varies."""
    varied = {**part.grid, **part.over}
    runs = []
    for case, setting in itertools.product(part.cases or {"": ()}, part.settings or {"": ()}):
        for values in itertools.product(*varied.values()):
            places = {"root": root, "case": case, "setting": setting, **dict(zip(varied, values, strict=True))}
            words = [*part.words, *part.cases.get(case, ()), *part.settings.get(setting, ())]
            words += [f"{key}={places[key]}" for key in part.grid]
            try:
                filled = tuple(str(word).format_map(places) for word in words)
                folder = part.folder.format_map(places)
            except KeyError as error:
                raise ValueError(f"part `{name}`: nothing is called {error}; there are {', '.join(places)}.") from None
            runs.append(Run(name, case, setting, folder, filled))
    return runs
