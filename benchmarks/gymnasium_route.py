"""The route of a user's own environment, from command to curve, with the time that each command takes.

python benchmarks/gymnasium_route.py folder=/tmp/route                       # Reacher with bold geoms, then Pusher
python benchmarks/gymnasium_route.py folder=/tmp/route routes=reacher agents=oracle,gqn,pixels

Given again, it goes on; what was finished takes no time then. Times are of this call.
"""

from __future__ import annotations

import csv
import os
import pathlib
import resource
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
BOLD = "bold_reacher.xml"
ROUTES = {
    "reacher": ["env.id=Reacher-v5"],
    "bold_reacher": ["env.id=Reacher-v5", "env.name=bold_reacher", f"+env.scene.kwargs.xml_file=./{BOLD}"],
    "pusher": ["env.id=Pusher-v5"],
}
NAMES = {"reacher": "gymnasium_Reacher-v5", "bold_reacher": "bold_reacher", "pusher": "gymnasium_Pusher-v5"}
AGENT = ["total_steps=80000", "eval_every=8000"]


def main(
    folder: str = "route", routes: str = "bold_reacher,pusher", agents: str = "oracle,gqn", seed: str = "0"
) -> None:
    """Goes each route and prints a table of times and the probes of each encoder."""
    place = pathlib.Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    run(place, [str(REPOSITORY / "examples" / "bold_reacher.py"), BOLD])
    rows = []
    for route in routes.split(","):
        name, env = NAMES[route], ["env=gymnasium", *ROUTES[route]]
        encoder = f"runs/pretrain/{name}_gqn_quick_seed{seed}"
        commands = {"pretrain": ["-m", "gqn_rl.pretrain", *env, "model=gqn_quick", f"seed={seed}"]}
        for repr in agents.split(","):
            words = [*env, f"repr={repr}", *AGENT, f"seed={seed}"]
            words += [f"encoder={encoder}"] if repr.startswith(("gqn", "random_encoder")) else []
            commands[f"train_agent repr={repr}"] = ["-m", "gqn_rl.train_agent", *words]
        commands["plot"] = ["-m", "gqn_rl.plot", f"runs=runs/agents/{name}", f"out=figures/{name}"]
        rows += [(name, what, *run(place, words)) for what, words in commands.items()]
        rows.append((name, "**all**", *(sum(row[i] for row in rows if row[0] == name) for i in (2, 3))))
        print_probes(place / encoder / "probes.csv")
    print("| environment | command | seconds | CPU seconds |\n|---|---|---|---|")
    for name, what, wall_s, cpu_s in rows:
        print(f"| {name} | {what} | {wall_s:.0f} | {cpu_s:.0f} |")


def run(place: pathlib.Path, words: list[str]) -> tuple[float, float]:
    """Gives a command in `place`; returns its seconds by the clock and of CPU time, its workers' too."""
    start, before = time.monotonic(), cpu_seconds()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, *words], cwd=place, env=environment, check=True)
    return time.monotonic() - start, cpu_seconds() - before


def cpu_seconds() -> float:
    """Returns the CPU time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_probes(path: pathlib.Path) -> None:
    """Prints the last R² of every entry that varies, from one view and from four."""
    with path.open(encoding="utf-8", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    print(f"| {path.parent.name}, step {last['step']} | R², 1 view | 4 views |\n|---|---|---|")
    for key, value in last.items():
        if key.endswith("_1view") and value not in ("", "nan"):
            print(f"| {key[:-6]} | {float(value):.2f} | {float(last[key[:-6] + '_4view']):.2f} |")


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
