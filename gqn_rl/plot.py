"""Draws learning curves and writes a table from runs of agents.

    python -m gqn_rl.plot runs=runs/agents/jaco out=results/figures/jaco
    python -m gqn_rl.plot 'runs="runs/agents/jaco/*_moving_*"' out=results/figures/moving
    python -m gqn_rl.plot 'runs=[runs/monday,runs/tuesday]' out=results/figures/both

Writes, for each environment and algorithm, `<env>_<algorithm>_steps` and `_hours` as .png and .svg, and
`table.md` and `table.csv` over all of them.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from gqn_rl.cli import command
from gqn_rl.curves import Comparison, compare, draw_curves, load_runs, measure, write_csv, write_markdown


@command("plot")
def main(cfg: DictConfig) -> None:
    """Reads the runs, draws two figures for each environment and algorithm, writes the table and prints the paths."""
    out = Path(cfg.out)
    rng = np.random.default_rng(cfg.seed)
    comparisons = _compare_with_plain_warnings(cfg.runs)
    out.mkdir(parents=True, exist_ok=True)
    for comparison in comparisons:
        name = f"{comparison.env}_{comparison.agent}"
        for path in draw_curves(comparison, "env_steps", out / f"{name}_steps", rng):
            print(path)
        for path in draw_curves(comparison, "hours", out / f"{name}_hours", rng):
            print(path)
    rows = [row for comparison in comparisons for row in measure(comparison, rng)]
    write_csv(out / "table.csv", rows)
    write_markdown(out / "table.md", comparisons, rows)
    print(out / "table.csv", out / "table.md", sep="\n")


def _compare_with_plain_warnings(runs: Any) -> list[Comparison]:
    """Loads and groups the runs; each warning becomes one line."""
    places: Any = OmegaConf.to_container(runs) if OmegaConf.is_list(runs) else runs
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        comparisons = compare(load_runs(places))
    for warning in caught:
        print(f"warning: {warning.message}")
    return comparisons


if __name__ == "__main__":
    main()
