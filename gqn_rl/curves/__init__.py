"""Learning curves: turns `run.json`, `eval.csv` and `transfer.csv` of agent runs into figures and tables."""

from gqn_rl.curves.attribution import attribute, write_attribution
from gqn_rl.curves.comparison import Comparison, compare
from gqn_rl.curves.figures import draw_curves
from gqn_rl.curves.measures import measure
from gqn_rl.curves.runs import Look, Run, file_name, load_runs
from gqn_rl.curves.table import write_csv, write_markdown
from gqn_rl.curves.transfer import TransferRow, measure_transfer

__all__ = [
    "Comparison",
    "Look",
    "Run",
    "TransferRow",
    "attribute",
    "compare",
    "draw_curves",
    "file_name",
    "load_runs",
    "measure",
    "measure_transfer",
    "write_attribution",
    "write_csv",
    "write_markdown",
]
