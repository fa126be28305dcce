"""Attribution: what each part of a representation adds, as steps of a ladder of labels, with intervals.

Every rung is one label's score after training; what it adds is its difference from the rung before it. Rungs are
resampled independently of each other, but all by the same episodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gqn_rl.curves.cells import show
from gqn_rl.curves.comparison import Comparison
from gqn_rl.runlog import write_atomic
from gqn_rl.statistics import Estimate, estimate, iqm


@dataclasses.dataclass(frozen=True)
class Rung:
    """One label of the ladder under one camera.

    Attributes:
        camera, repr: what was run.
        agents, encoders: how many.
        final: score after training.
        added: to the rung before it; NaN for the first.
        share: of the way from the first rung to the last, in [0, 1] where every step is upward; NaN for the first.
    """

    camera: str
    repr: str
    agents: int
    encoders: int
    final: Estimate
    added: Estimate
    share: Estimate


def attribute(comparison: Comparison, ladder: Sequence[str], seed: int) -> list[Rung]:
    """Returns the rungs that were run, camera by camera, in the ladder's order; `seed` is the bootstrap's."""
    rungs = []
    for camera in comparison.cameras:
        cells = comparison.cells(camera)
        names = [name for name in ladder if name in cells]
        samples = {name: comparison.final_sample(cells[name]) for name in names}
        for i, name in enumerate(names):
            runs = cells[name]
            final = estimate(iqm, [samples[name]], seed)
            added = share = Estimate(np.nan, np.nan, np.nan)
            if i:
                added = estimate(_added, [samples[names[i - 1]], samples[name]], seed)
                ends = [samples[names[0]], samples[names[-1]]]
                share = estimate(_share, [samples[names[i - 1]], samples[name], *ends], seed)
            encoders = len({run.encoder for run in runs})
            rungs.append(Rung(camera, name, len(runs), encoders, final, added, share))
    return rungs


def _added(below: np.ndarray, here: np.ndarray) -> float:
    return float(iqm(here) - iqm(below))


def _share(below: np.ndarray, here: np.ndarray, first: np.ndarray, last: np.ndarray) -> float:
    whole = _added(first, last)
    return _added(below, here) / whole if whole > 0 else float("nan")


def write_attribution(path: Path, rungs: Sequence[Rung]) -> None:
    """Writes the ladder as a Markdown table."""
    lines = ["| camera | repr | agents | encoders | final score | added | share |", "|---|---|---|---|---|---|---|"]
    for rung in rungs:
        cells = [rung.camera, rung.repr, str(rung.agents), str(rung.encoders)]
        cells += [show(rung.final, "{:.1f}".format), show(rung.added, "{:+.1f}".format)]
        lines.append("| " + " | ".join([*cells, show(rung.share, "{:.0%}".format)]) + " |")
    write_atomic(path, "\n".join(lines) + "\n")
