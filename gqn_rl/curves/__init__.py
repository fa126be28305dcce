"""Learning curves: reads the `run.json` and `eval.csv` of agent runs and turns them into figures and a table."""

from gqn_rl.curves.comparison import Comparison, compare
from gqn_rl.curves.figures import draw_curves
from gqn_rl.curves.measures import measure
from gqn_rl.curves.runs import Run, load_runs
from gqn_rl.curves.table import write_csv, write_markdown

__all__ = ["Comparison", "Run", "compare", "draw_curves", "load_runs", "measure", "write_csv", "write_markdown"]
