"""The table beside the curves, as CSV for programs and as Markdown for readers, with what its columns mean."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gqn_rl.curves.cells import ratio, show, steps_of
from gqn_rl.curves.comparison import NUM_FINAL_EVALUATIONS, Comparison
from gqn_rl.curves.measures import LEARNT, LEVELS, PIXELS, PIXELS_SHARE, Row
from gqn_rl.curves.transfer import TransferRow
from gqn_rl.runlog import write_atomic
from gqn_rl.statistics import FEW_SEEDS, Estimate


def write_csv(path: Path, rows: Sequence[Row] | Sequence[TransferRow]) -> None:
    """Writes the rows with one column for each value and each bound (`final`, `final_low`, `final_high`, ...).

    Ten digits are kept: the last ones of a mean differ between processors.
    """
    flat = [_flatten(row) for row in rows]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(flat[0]))
    writer.writeheader()
    writer.writerows(flat)
    write_atomic(path, text.getvalue())


def _flatten(row: Row | TransferRow) -> dict[str, object]:
    flat: dict[str, object] = {}
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Estimate):
            names = (field.name, f"{field.name}_low", f"{field.name}_high")
            flat |= {name: f"{number:.10g}" for name, number in zip(names, value, strict=True)}
        else:
            flat[field.name] = value
    return flat


def write_markdown(
    path: Path, comparisons: Sequence[Comparison], rows: Sequence[Row], transfers: Sequence[TransferRow] = ()
) -> None:
    """Writes one table for each comparison, followed by what its columns mean and the commands that made the runs.

    Between them stands a table of zero-shot evaluations where `transfers` holds some of the comparison.
    """
    sections = [_section(c, _rows_of(c, rows), _rows_of(c, transfers)) for c in comparisons]
    write_atomic(path, "\n\n".join(sections) + "\n")


def _rows_of(comparison: Comparison, rows: Sequence) -> list:
    return [row for row in rows if (row.env, row.agent) == (comparison.env, comparison.agent)]


def _section(comparison: Comparison, rows: list[Row], transfers: list[TransferRow]) -> str:
    score = "score" if comparison.oracle_return is not None else "return"
    header = ["camera", "repr", "seeds", "steps", "final return", f"final {score}", f"mean {score}", "success"]
    header += [f"steps to {level} %" for level in LEVELS]
    header += [f"ratio to {comparison.reference}, {level} %" for level in LEVELS]
    references = {row.camera: row for row in rows if row.repr == comparison.reference}
    body = [_cells(row, references.get(row.camera)) for row in rows]
    pixels = {row.camera: row for row in rows if row.repr == PIXELS}
    if pixels:
        header += [f"steps to {PIXELS_SHARE} % of pixels", "pixels' steps / these"]
        body = [[*cells, *_cells_of_pixels(row, pixels.get(row.camera))] for row, cells in zip(rows, body, strict=True)]
    repaid = [what for what in ("pictures", "actions") if any(not np.isnan(_repaid(row, what).value) for row in rows)]
    header += [f"{what} repaid after, agents" for what in repaid]
    body = [
        [*cells, *(show(_repaid(row, what), _agents) for what in repaid)] for row, cells in zip(rows, body, strict=True)
    ]
    lines = [f"## {comparison.env}, {comparison.agent}", "", *_table(header, body), "", *_notes(comparison, rows)]
    if transfers:
        lines += ["", *_transfer_table(transfers, score)]
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
        show(row.final_return, "{:.2f}".format),
        show(row.final, "{:.1f}".format),
        show(row.area, "{:.1f}".format),
        show(row.success, "{:.0%}".format),
        *(show(steps, steps_of(row)) for steps in (row.steps_50, row.steps_80)),
        *(ratio(getattr(row, f"ratio_{level}"), row, reference, f"steps_{level}") for level in LEVELS),
    ]


def _cells_of_pixels(row: Row, pixels: Row | None) -> list[str]:
    """Writes the two columns, the ratio as "–" where no pixels were run under the row's camera."""
    gain = ratio(row.gain_on_pixels, pixels, row, "steps_of_pixels") if pixels else "–"
    return [show(row.steps_of_pixels, steps_of(row)), gain]


def _repaid(row: Row, what: str) -> Estimate:
    return getattr(row, f"repaid_{what}")


def _agents(number: float) -> str:
    return "never" if np.isinf(number) else f"{number:.1f}"


def _transfer_table(rows: list[TransferRow], score: str) -> list[str]:
    """Returns the lines of the zero-shot table: a row for each agent, two columns for each camera."""
    cameras = sorted({row.evaluated_from for row in rows})
    header = ["trained on", "repr", "seeds", f"own camera, last {score}"]
    header += [column for camera in cameras for column in (f"from {camera}", f"from {camera}, kept")]
    body = []
    for camera, name in dict.fromkeys((row.camera, row.repr) for row in rows):
        seen = {row.evaluated_from: row for row in rows if (row.camera, row.repr) == (camera, name)}
        cells = [camera, name, _either(sorted({row.seeds for row in seen.values()}))]
        cells.append(show(next(iter(seen.values())).own, "{:.1f}".format))
        for other in cameras:
            found = seen.get(other)
            cells += [show(found.other, "{:.1f}".format), show(found.kept, "{:.0%}".format)] if found else ["–", "–"]
        body.append(cells)
    title = "### Zero-shot: trained on one camera, evaluated from another"
    note = (
        f"- The last model, evaluated once from each camera. Kept: its {score} from there divided by the same seeds' "
        f"from their own camera; – where the latter is not {LEARNT:.0f} above where they began, or not a score."
    )
    return [title, "", *_table(header, body), "", note]


def _table(header: list[str], body: list[list[str]]) -> list[str]:
    return [_line(cells) for cells in (header, ["---"] * len(header), *body)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _notes(comparison: Comparison, rows: list[Row]) -> list[str]:
    """Returns the sentences that a reader needs to judge the table."""
    notes = [
        "Interquartile mean over seeds (lowest and highest quarter cut; up to three seeds: the mean); in brackets the "
        f"95 % interval of a stratified bootstrap over seeds, which fewer than {FEW_SEEDS} seeds do not have."
    ]
    if comparison.oracle_return is None:
        notes.append("No usable oracle run: returns are not normalised, steps to a share of the oracle undefined.")
    else:
        notes.append(
            f"Score 0 is the random agent's return ({comparison.random_return:.2f}), 100 the oracle's final return "
            f"({comparison.oracle_return:.2f}{', of the runs behind' if comparison.oracle_is_background else ''}); "
            "steps count to the first crossing of the interquartile mean curve, linear between evaluations."
        )
        notes.append(
            "≤: reached at or before the first evaluation after training began, between which and the untrained agent "
            "nothing was measured. Ratios to such steps, and to those of a row that never gets there, are bounds. In "
            "brackets of a ratio, 0 and ∞ stand for resamples in which one of the two never gets there."
        )
        notes += _notes_on_pixels([row for row in rows if row.repr == PIXELS])
    episodes = sorted({run.num_episodes for run in comparison.runs})
    repeats = sorted({run.action_repeat for run in comparison.runs})
    notes.append(
        f"Final: mean of the last {NUM_FINAL_EVALUATIONS} evaluations of {_either(episodes)} episodes. Mean: area "
        "under the curve over the steps that every row of the camera has. One environment step is "
        f"{_either(repeats)} physics steps."
    )
    if comparison.nested:
        notes.append("Intervals are of encoders, the agents on each, and evaluation episodes, resampled together.")
    if min(row.seeds for row in rows) < FEW_SEEDS:
        notes.append(f"Fewer than {FEW_SEEDS} seeds in some rows: differences to them may be chance.")
    costs = {(run.label, run.pretraining) for run in comparison.runs if run.pretraining}
    notes += [f"Pretraining of {name}, not in the steps: {cost}" for name, cost in sorted(costs)]
    return [f"- {note}" for note in notes]


def _notes_on_pixels(pixels: list[Row]) -> list[str]:
    """Returns what is meant by a share of pixels' final score, and where there is no such level."""
    notes = [
        f"{PIXELS_SHARE} % of pixels: of the way from the random agent to what pixels end with under the same camera; "
        "every resample has its own level, and there is no interval where too many of them have none."
    ]
    unlearnt = [row for row in pixels if np.isnan(row.steps_of_pixels.value)]
    if unlearnt:
        ends = ", ".join(f"{row.final.value:.1f} under the {row.camera} camera" for row in unlearnt)
        notes.append(f"Pixels end at {ends}, not {LEARNT:.0f} above where they begin: they did not learn, so no level.")
    return notes if pixels else []


def _either(numbers: list[int]) -> str:
    return " or ".join(map(str, numbers))
