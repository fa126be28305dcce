"""The table beside the curves, as CSV for programs and as Markdown for readers, with what its columns mean."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gqn_rl.curves.comparison import FEW_SEEDS, NUM_FINAL_EVALUATIONS, Comparison
from gqn_rl.curves.measures import LEVELS, Row
from gqn_rl.curves.statistics import Estimate


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes the rows with one column for each value and each bound (`final`, `final_low`, `final_high`, ...)."""
    flat = [_flatten(row) for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)


def _flatten(row: Row) -> dict[str, object]:
    flat: dict[str, object] = {}
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Estimate):
            flat |= {field.name: value.value, f"{field.name}_low": value.low, f"{field.name}_high": value.high}
        else:
            flat[field.name] = value
    return flat


def write_markdown(path: Path, comparisons: Sequence[Comparison], rows: Sequence[Row]) -> None:
    """Writes one table for each comparison, followed by what its columns mean and the commands that made the runs."""
    sections = [
        _section(comparison, [row for row in rows if (row.env, row.agent) == (comparison.env, comparison.agent)])
        for comparison in comparisons
    ]
    path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _section(comparison: Comparison, rows: list[Row]) -> str:
    score = "score" if comparison.oracle_return is not None else "return"
    header = ["camera", "repr", "seeds", "steps", "final return", f"final {score}", f"mean {score}", "success"]
    header += [f"steps to {level} %" for level in LEVELS] + [
        f"ratio to {comparison.reference}, {level} %" for level in LEVELS
    ]
    references = {row.camera: row for row in rows if row.repr == comparison.reference}
    lines = [f"## {comparison.env}, {comparison.agent}", "", _line(header), _line(["---"] * len(header))]
    lines += [_line(_cells(row, references.get(row.camera))) for row in rows]
    lines += ["", *_notes(comparison, rows)]
    commands = sorted({run.command for run in comparison.runs if run.command})
    if commands:
        lines += ["", "Made by:", "", *(f"    {command}" for command in commands)]
    return "\n".join(lines)


def _cells(row: Row, reference: Row | None) -> list[str]:
    return [
        row.camera,
        row.repr,
        str(row.seeds),
        f"{row.num_steps:,}",
        _show(row.final_return, "{:.2f}".format),
        _show(row.final, "{:.1f}".format),
        _show(row.area, "{:.1f}".format),
        _show(row.success, "{:.0%}".format),
        *(_show(steps, _steps) for steps in (row.steps_50, row.steps_80)),
        _ratio(row.ratio_50, row.num_steps, reference.steps_50.value if reference else None),
        _ratio(row.ratio_80, row.num_steps, reference.steps_80.value if reference else None),
    ]


def _show(estimate: Estimate, write: Callable[[float], str]) -> str:
    """Writes `value [low, high]`, without the bounds where there are none or all agree; "–" for what is undefined."""
    if np.isnan(estimate.value):
        return "–"
    value, low, high = (write(x) for x in estimate)
    return value if np.isnan(estimate.low) or low == value == high else f"{value} [{low}, {high}]"


def _steps(steps: float) -> str:
    return "not reached" if np.isinf(steps) else f"{steps:,.0f}"


def _ratio(ratio: Estimate, num_steps: int, reference_steps: float | None) -> str:
    """Writes a ratio of steps; one that is infinite because the budget ran out is at least budget / reference."""
    if np.isinf(ratio.value) and reference_steps:
        return f"> {num_steps / reference_steps:.2f}"
    return _show(ratio, lambda x: "∞" if np.isinf(x) else f"{x:.2f}")


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _notes(comparison: Comparison, rows: list[Row]) -> list[str]:
    """Returns the sentences that a reader needs to judge the table."""
    notes = [
        "Interquartile mean over seeds (lowest and highest quarter cut; up to three seeds: the mean); in brackets the "
        "95 % interval of a stratified bootstrap over seeds, which a single seed does not have."
    ]
    if comparison.oracle_return is None:
        notes.append("No usable oracle run: returns are not normalised, steps to a share of the oracle undefined.")
    else:
        notes.append(
            f"Score 0 is the random agent's return ({comparison.random_return:.2f}), 100 the oracle's final return "
            f"({comparison.oracle_return:.2f}); steps count to the first crossing of the interquartile mean curve."
        )
    episodes = sorted({run.num_episodes for run in comparison.runs})
    repeats = sorted({run.action_repeat for run in comparison.runs})
    notes.append(
        f"Final: mean of the last {NUM_FINAL_EVALUATIONS} evaluations of {_either(episodes)} episodes. Mean: area "
        "under the curve over the steps that every row of the camera has. One environment step is "
        f"{_either(repeats)} physics steps."
    )
    if min(row.seeds for row in rows) < FEW_SEEDS:
        notes.append(f"Fewer than {FEW_SEEDS} seeds in some rows: their intervals are too narrow to rely on.")
    costs = {(run.label, run.pretraining) for run in comparison.runs if run.pretraining}
    notes += [f"Pretraining of {name}, not in the steps: {cost}" for name, cost in sorted(costs)]
    return [f"- {note}" for note in notes]


def _either(numbers: list[int]) -> str:
    return " or ".join(map(str, numbers))
