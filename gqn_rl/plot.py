"""Draws learning curves and writes a table from runs of agents.

    python -m gqn_rl.plot runs=runs/agents/jaco out=results/figures/jaco
    python -m gqn_rl.plot 'runs="runs/agents/jaco/*_moving_*"' out=results/figures/moving
    python -m gqn_rl.plot 'runs=[runs/monday,runs/tuesday]' out=results/figures/both
    python -m gqn_rl.plot runs=runs/agents/jaco background=results/agents out=figures/mine
    python -m gqn_rl.plot runs=runs/agents/jaco background=runs/agents/grid out=figures/grid

Writes, for each environment and algorithm, `<env>_<algorithm>_steps` as .png and .svg, with `axes=[env_steps,pictures]`
also `_pictures` (those of pretraining included; likewise `actions`, `processor_hours` and `hours`, wall-clock hours,
which compare only runs that had the machine to themselves), and `table.md` and
`table.csv` over all of them; `transfer.csv` too where runs were evaluated from other cameras.

With `ladder=[random_encoder,autoencoder,gqn_views,gqn,supervised]` it also writes `<env>_<algorithm>_attribution.md`,
what each of these representations adds to the one before it.

Runs of `background` are drawn dotted behind the curves and counted nowhere: published curves behind one's own (whose
score the published oracle scales where there is no other), or, as in the paper's Fig. 5, agents with other
hyper-parameters.
"""

from __future__ import annotations

import importlib.resources
import warnings
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gqn_rl.cli import command
from gqn_rl.curves import (
    Comparison,
    Look,
    attribute,
    compare,
    draw_curves,
    file_name,
    load_runs,
    measure,
    measure_transfer,
    write_attribution,
    write_csv,
    write_markdown,
)

_ENDINGS: dict[str, str] = {
    "env_steps": "steps",
    "pictures": "pictures",
    "actions": "actions",
    "hours": "hours",
    "processor_hours": "processor_hours",
}
"""Of a figure's name, by its axis."""


@command("plot")
def main(cfg: DictConfig) -> None:
    """Reads the runs, draws the figures of each environment and algorithm, writes the table and prints the paths."""
    out = Path(cfg.out)
    if (out / "run.json").exists():
        raise ValueError(f"`out` must not be a run's folder, whose transfer.csv it could overwrite, got {out}.")
    if unknown := [axis for axis in cfg.axes if axis not in _ENDINGS]:
        raise ValueError(f"`axes` must be a list of {', '.join(_ENDINGS)}, got {', '.join(map(str, unknown))}.")
    comparisons = _compare_with_plain_warnings(cfg.runs, cfg.background, cfg.nested)
    out.mkdir(parents=True, exist_ok=True)
    looks = published_looks()
    for comparison in comparisons:
        name = file_name(f"{comparison.env}_{comparison.agent}")
        for axis in cfg.axes:
            for path in draw_curves(comparison, axis, out / f"{name}_{_ENDINGS[axis]}", cfg.seed, looks):
                print(path)
    rows = [row for comparison in comparisons for row in measure(comparison, cfg.seed)]
    write_csv(out / "table.csv", rows)
    transfers = [row for comparison in comparisons for row in measure_transfer(comparison, cfg.seed)]
    write_markdown(out / "table.md", comparisons, rows, transfers)
    print(out / "table.csv", out / "table.md", sep="\n")
    for comparison in comparisons if cfg.ladder else ():
        path = out / f"{file_name(f'{comparison.env}_{comparison.agent}')}_attribution.md"
        write_attribution(path, attribute(comparison, list(cfg.ladder), cfg.seed))
        print(path)
    if transfers:
        write_csv(out / "transfer.csv", transfers)
        print(out / "transfer.csv")


def published_looks() -> dict[str, Look]:
    """Returns how the curves of all representations under `configs/repr` are drawn, by their names."""
    folder = importlib.resources.files("gqn_rl.configs") / "repr"
    configs: list[Any] = [OmegaConf.create(file.read_text(encoding="utf-8")) for file in folder.iterdir()]
    return {config.name: Look(**config.curve) for config in configs}


def _compare_with_plain_warnings(runs: Any, background: Any, nested: bool) -> list[Comparison]:
    """Loads and groups the runs; each warning becomes one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        others = load_runs(_places(background), setting="background", distinct=False) if background else []
        comparisons = compare(load_runs(_places(runs)), others, nested)
    for warning in caught:
        print(f"warning: {warning.message}")
    return comparisons


def _places(setting: Any) -> Any:
    return OmegaConf.to_container(setting) if OmegaConf.is_list(setting) else setting


if __name__ == "__main__":
    main()
